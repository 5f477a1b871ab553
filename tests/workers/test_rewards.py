"""What scores answers: built-in rewards, and the user's own functions however they behave. Without torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuiwb.base.errors import InputFault, RunFault
from tuiwb.data.example import Example
from tuiwb.recipe import Recipe
from tuiwb.recipe.reward_funcs import parse_reward
from tuiwb.workers.rewards import Asked, UserFunction, final_answer, rewards_of

FILE = """
import math, sys, time


def count(prompts, completions, word, **rest):
    print("printed, not answered")
    return [text.count(w) for text, w in zip(completions, word)]


def nan(completions, **rest):
    return [math.nan for _ in completions]


def few(completions, **rest):
    return [1.0]


def text(completions, **rest):
    return ["high" for _ in completions]


def silent(completions, **rest):
    return [None for _ in completions]


def hangs(completions, **rest):
    time.sleep(600)


def leaves(completions, **rest):
    sys.exit(3)
"""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Callable[..., UserFunction]]:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    made: list[UserFunction] = []

    def build(name: str, patience_s: float = 60.0) -> UserFunction:
        made.append(UserFunction(str(file), name, patience_s=patience_s))
        return made[-1]

    yield build
    for one in made:
        one.close()


def score(one: UserFunction) -> list[float | None]:
    return one(["a", "b"], ["x x", "y"], {"word": ["x", "x"]})


def test_a_user_s_function_gets_prompts_answers_and_columns(user: Callable[..., UserFunction]) -> None:
    one = user("count")
    assert score(one) == [2.0, 0.0]
    assert score(one) == [2.0, 0.0], "the same process answers again"
    assert score(user("silent")) == [None, None]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nan", "returned nan for answer 0"),
        ("few", "returned 1 rewards for 2 answers"),
        ("text", "failed .ValueError: could not convert string to float: 'high'"),
        ("leaves", "ended by itself"),
    ],
)
def test_one_that_misbehaves_is_a_sentence(user: Callable[..., UserFunction], name: str, sentence: str) -> None:
    with pytest.raises(RunFault, match=f"the reward function mine.py:{name} {sentence}"):
        score(user(name))


def test_one_that_hangs_is_ended(user: Callable[..., UserFunction]) -> None:
    one = user("hangs")
    one._patience_s = 0.5
    with pytest.raises(RunFault, match=r"took longer than 0\.5 s"):
        score(one)
    assert one._child.poll() is not None, "nothing is held"


def test_a_file_without_the_function(user: Callable[..., UserFunction]) -> None:
    with pytest.raises(RunFault, match=r"failed \(AttributeError"):
        user("nothing")


def test_built_in_rewards() -> None:
    row = Example(id=0, prompt="What is 2 + 2?", extra={"answer": "so it is #### 4"})
    own = Example(id=1, prompt="What is 2 + 2?", completion="4")
    asked = [Asked([1], row), Asked([1], own)]
    names = ("length:4", "regex:^<a>.*</a>$", "exact:answer", "exact:")
    length, pattern, column, own_answer = rewards_of(Recipe(reward_funcs=names), asked)
    assert [one.__name__ for one in (length, pattern, column, own_answer)] == ["length", "regex", "exact", "exact"]
    assert length(completion_ids=[[1] * 4, [1] * 2, [1] * 12]) == [1.0, 0.5, 0.0]
    assert pattern(completions=["<a>\n4</a>", "<a>4"]) == [1.0, 0.0]
    said = {"prompts": ["0", "0", "1"], "completions": [r"it is \boxed{4}", "5", "4"]}
    assert column(**said) == [1.0, 0.0, None]
    assert own_answer(**said) == [None, None, 1.0]
    assert final_answer("The answer\n is  Four.") == "the answer is four"


def test_a_judge_is_asked_for_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from tuiwb import endpoints
    from tuiwb.workers import rewards

    def complete(endpoint: endpoints.Endpoint, messages: list[dict[str, str]], parameters: object) -> SimpleNamespace:
        assert (endpoint.url, endpoint.model) == ("http://127.0.0.1:9/v1", "judge")
        assert "What is 2 + 2?" in messages[1]["content"]
        good = "<answer>\nfour\n</answer>" in messages[1]["content"]
        return SimpleNamespace(text="It is right. Grade: 2\n**Grade: 9**" if good else "I cannot say.")

    monkeypatch.setattr(rewards, "endpoints", SimpleNamespace(complete=complete, find=endpoints.find))
    asked = [Asked([1], Example(id=0, prompt=[{"role": "user", "content": "What is 2 + 2?"}]))]
    (judge,) = rewards_of(Recipe(reward_funcs=("judge:http://127.0.0.1:9/v1#judge",)), asked)
    assert judge.__name__ == "judge"
    assert judge(prompts=["0", "0"], completions=["four", "five"]) == [0.9, None]
    assert rewards.grade_in("Grade: 12") == 1.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("length:", "names no length"),
        ("regex:(", "is no regular expression"),
        ("mine.py", "is no reward"),
        ("best", "is no reward"),
    ],
)
def test_what_is_no_reward_says_what_is(text: str, sentence: str) -> None:
    with pytest.raises(InputFault, match=sentence):
        parse_reward(text)
    assert parse_reward("a/b.py:f").function == "f"
