"""What scores sampled answers: built-in rewards, the user's functions, a reward model. Each has the form that TRL
calls: `(prompts, completions, completion_ids, **rest) -> list of numbers`, where our prompts are places in a list."""

import json
import math
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb import endpoints
from tuiwb.base.errors import RunFault
from tuiwb.base.pattern import matches
from tuiwb.data.example import Example
from tuiwb.recipe import Recipe
from tuiwb.recipe.reward_funcs import RewardFunc, parse_reward

Reward = Callable[..., list[float | None]]

PATIENCE_S = 120.0
"""How long a user's function may take for a batch: long enough to ask a server, short enough to notice a hang."""

# A batch asks a server so many times at once.
_ASKED_AT_ONCE = 8
_GRADER = (
    "You grade an answer to a question from 0 (useless) to 10 (could not be better). Being right and to the point "
    "counts, being long does not. Say why in one sentence, and end with a line `Grade: N`."
)
_GRADE = re.compile(r"grade:\s*\**\s*(\d+(?:\.\d+)?)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that is sampled from: its token ids, and the row that it came from."""

    ids: list[int]
    example: Example


def rewards_of(recipe: Recipe, asked: Sequence[Asked]) -> list[Reward]:
    """The functions that a recipe names, in their order.

    Raises:
        InputFault: one of them is none.
        RunFault: a function of the user's cannot be loaded.
    """
    return [_named(_built(parse_reward(text), asked), parse_reward(text).name) for text in recipe.reward_funcs or ()]


def model_reward(score: Callable[[Sequence[Example], Sequence[str]], list[float]], asked: Sequence[Asked]) -> Reward:
    """A reward model as a reward."""

    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
        return list(score([asked[int(prompt)].example for prompt in prompts], completions))

    return _named(reward, "reward_model")


def final_answer(text: str) -> str:
    """What an answer comes to: what is boxed last, or stands after the last `####`, or all of it."""
    if boxed := _BOXED.findall(text):
        text = boxed[-1]
    elif "####" in text:
        text = text.rpartition("####")[2]
    return " ".join(text.split()).casefold().removesuffix(".")


class UserFunction:
    """A function of the user's, in a process of its own, so that one that hangs can be ended.

    Args:
        patience_s: seconds that it may take for a batch.

    Raises:
        RunFault: the file cannot be loaded, or has no such function.
    """

    def __init__(self, file: str, function: str, *, patience_s: float = PATIENCE_S) -> None:
        self.name = f"{Path(file).name}:{function}"
        self._patience_s = patience_s
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tuiwb.workers.reward_child", file, function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._read = b""
        self._answer()

    def __call__(self, prompts: list[Any], completions: list[str], columns: dict[str, list[Any]]) -> list[float | None]:
        """The rewards of a batch.

        Raises:
            RunFault: it raised, took too long, or did not return a number (or None) for each answer.
        """
        batch = {**columns, "prompts": prompts, "completions": completions}
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(batch, default=str).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:
            raise RunFault(f"the reward function {self.name} ended by itself") from None
        found = self._answer()["rewards"]
        if len(found) != len(completions):
            raise RunFault(
                f"the reward function {self.name} returned {len(found)} rewards for {len(completions)} answers"
            )
        for number, value in enumerate(found):
            if value is not None and not math.isfinite(value):
                raise RunFault(
                    f"the reward function {self.name} returned {value} for answer {number} of a batch; return a "
                    "number, or None where it has no opinion"
                )
        return found

    def close(self) -> None:
        """End its process."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()

    def _answer(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience_s
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.close()
                    raise RunFault(
                        f"the reward function {self.name} took longer than {self._patience_s:g} s for a batch"
                    )
                block = os.read(self._child.stdout.fileno(), 1 << 16)
                if not block:
                    self.close()
                    raise RunFault(f"the reward function {self.name} ended by itself")
                self._read += block
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunFault(f"the reward function {self.name} failed ({answer['error']})")
        return answer


def _built(one: RewardFunc, asked: Sequence[Asked]) -> Reward:
    match one.kind:
        case "length":
            return _length(int(one.argument))
        case "regex":
            return _regex(one.argument)
        case "exact":
            return _exact(one.argument, asked)
        case "judge":
            return _judge(endpoints.find(one.argument), asked)
        case "python":
            return _users(UserFunction(one.argument, one.function), asked)


def _length(wanted: int) -> Reward:
    def reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
        return [max(0.0, 1.0 - abs(len(ids) - wanted) / wanted) for ids in completion_ids]

    return reward


def _regex(pattern: str) -> Reward:
    def reward(completions: Sequence[str], **_: Any) -> list[float | None]:
        return [float(matches(pattern, text, key="reward_funcs", whole=True)) for text in completions]

    return reward


def _exact(column: str, asked: Sequence[Asked]) -> Reward:
    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
        wanted = [reference(asked[int(prompt)].example, column) for prompt in prompts]
        return [
            None if right is None else float(final_answer(text) == final_answer(right))
            for text, right in zip(completions, wanted, strict=True)
        ]

    return reward


def reference(example: Example, column: str) -> str | None:
    """The right answer that a row holds: a column of it, or its own answer; None where it has none."""
    if column:
        value = example.extra.get(column)
        return None if value is None else str(value)
    turns = example.completion if example.completion is not None else example.messages
    if isinstance(turns, str):
        return turns
    if not turns:
        return None
    last = turns[-1]
    return str(last["content"]) if last["role"] == "assistant" else None


def _judge(endpoint: endpoints.Endpoint, asked: Sequence[Asked]) -> Reward:
    def grade(place: str, answer: str) -> float | None:
        shown = f"<question>\n{question(asked[int(place)].example)}\n</question>\n<answer>\n{answer}\n</answer>"
        messages = [{"role": "system", "content": _GRADER}, {"role": "user", "content": shown}]
        said = endpoints.complete(endpoint, messages, {"temperature": 0.0, "max_tokens": 512}).text
        return grade_in(said)

    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
        with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE) as pool:
            return list(pool.map(grade, prompts, completions))

    return reward


def grade_in(text: str) -> float | None:
    """The last grade that a judge wrote, as a share of the best; None where there is none."""
    found = _GRADE.findall(text)
    return min(float(found[-1]), 10.0) / 10 if found else None


def question(example: Example) -> str:
    """What is asked, for a judge: what the user said, or the whole prompt."""
    prompt = example.messages if example.prompt is None else example.prompt
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(turn["content"]) for turn in prompt or () if turn["role"] == "user")


def _users(function: UserFunction, asked: Sequence[Asked]) -> Reward:
    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
        examples = [asked[int(prompt)].example for prompt in prompts]
        names = {name: None for example in examples for name in example.extra}
        columns = {name: [example.extra.get(name) for example in examples] for name in names}
        shown = [example.messages if example.prompt is None else example.prompt for example in examples]
        return function(shown, list(completions), columns)

    return reward


def _named(reward: Reward, name: str) -> Reward:
    reward.__name__ = name
    return reward
