"""What `inspect` warns of: each problem is found where it is, counted over the whole file, and nowhere else."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb import data
from tuiwb.cli.main import main
from tuiwb.data import verify
from tuiwb.data.clean.texts import texts
from tuiwb.data.example import Example
from tuiwb.data.lint import digest, lint

TORN = "stops in the midst of what the"
LONG = "Explain to me in a few words what a prime number is"


def talk(*turns: str) -> Example:
    roles = ("user", "assistant")
    return Example(id=0, messages=[{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)])


@pytest.mark.parametrize(
    ("example", "found"),
    [
        (talk("Hi", "Hello, how are you?"), {}),
        (talk("Hi", "I'm sorry, but I cannot do that."), {"refusal": "I'm sorry, but I"}),
        (talk("Hi", "```py\nprint(1)"), {"open_fence": ""}),
        (talk("Hi", "```py\nprint(1)\n```"), {}),
        (talk("Hi", "Some text, and it stops in the midst of what the"), {"truncated_answer": TORN}),
        (talk("Hi", "NaN"), {"missing_value": "NaN"}),
        (talk(LONG, f"{LONG} It has two divisors."), {"prompt_in_answer": ""}),
        (talk(LONG, "It has two divisors.", LONG, "Again: two."), {"repeated_turn": "user"}),
        (talk("Hi", "Hello<|im_end|>"), {"template_artefact": "<|im_end|>"}),
        (talk("Hi", "Hel\x07lo"), {"control_characters": "U+0007"}),
        (talk("Hi", "Hel\u202elo"), {"bidi_characters": "U+202E"}),
        (talk("Hi", "Hel\u200blo"), {"hidden_characters": "U+200B"}),
        (
            talk("Hi", "\x1bHel\u202elo\u200b"),
            {"control_characters": "U+001B", "bidi_characters": "U+202E", "hidden_characters": "U+200B"},
        ),
        (talk("Hi", "👩‍👧 family"), {}),
        (talk("Hi", "CafÃ©"), {"mojibake": "Ã©"}),
        (talk("Hi", "Café – naïve “quotes” €"), {}),
        (talk("Hi", "so long " * 20_000 + "."), {"over_long": "160,004"}),
        (Example(id=0, prompt=LONG, completion=f"{LONG}?"), {"prompt_in_answer": ""}),
        (Example(id=0, prompt=LONG, chosen="yes", rejected="</s>"), {"template_artefact": "</s>"}),
        (Example(id=0, text="A text that does not have to end like an answer, and the"), {}),
        (Example(id=0, input_ids=[1, 2, 3]), {}),
    ],
)  # fmt: skip
def test_each_problem(example: Example, found: dict[str, str]) -> None:
    assert dict(lint(example)) == found


def test_what_says_the_same() -> None:
    assert digest(texts(talk("Hi  there", "Hello"))) == digest(texts(talk("hi there", "HELLO\n")))
    assert digest(texts(talk("Hi", "Hello"))) != digest(texts(talk("Hi", "Hello!")))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("apart", [False, True])
def test_duplicates_of_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool) -> None:
    if apart:
        monkeypatch.setattr(verify, "APART_FROM", 10)
        monkeypatch.setattr(verify.os, "cpu_count", lambda: 3)
    rows = [{"prompt": f"question {n % 280}", "completion": f"answer {n % 280}"} for n in range(300)]
    rows[290] = {"prompt": "only", "completion": ""}
    with data.open(write(tmp_path / "rows.jsonl", rows)) as view:
        problems = {problem.code: problem for problem in view.verify().problems}
    assert set(problems) == {"duplicate", "empty_answer"}
    found = problems["duplicate"]
    assert (found.count, found.row, found.line) == (19, 280, 281)
    assert [case.row for case in found.examples] == [280, 281, 282, 283, 284]


def test_few_examples(tmp_path: Path) -> None:
    with data.open(write(tmp_path / "a.jsonl", [{"prompt": f"q{n}", "completion": "a"} for n in range(199)])) as view:
        (problem,) = view.verify().problems
        assert (problem.code, problem.message) == (
            "few_examples", "199 examples are few: a chat model takes some 200 or more",
        )  # fmt: skip
    with data.open(write(tmp_path / "b.jsonl", [{"text": f"text {n}"} for n in range(300)])) as view:
        assert "a base model takes some 2,000" in view.verify().problems[0].message


def test_what_only_rendering_shows(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = tmp_path / "picky.jinja"
    template.write_text(
        "{% for turn in messages %}{% for call in turn.tool_calls or [] %}{{ call.function.arguments.items() | list }}"
        "{% endfor %}{% if turn.role == 'system' %}{{ raise_exception('no system turn, please') }}{% endif %}"
        "[{{ turn.role }}]{{ turn.content }}{% endfor %}"
    )
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there, my friend"}
    call = {"function": {"name": "f", "arguments": "[1, 2]"}}
    rows = [
        {"messages": [user, answer]},
        {"messages": [{"role": "system", "content": "Be kind"}, user, answer]},
        {"messages": [user, {"role": "assistant", "content": "", "tool_calls": [call]}]},
        {"messages": [user, {"role": "assistant", "content": "long " * 300}]},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    words = ["data", "inspect", str(path), "--model", str(tiny_model), "--chat-template", str(template)]
    assert main([*words, "--max-length", "200", "--json"]) == 0
    found = {one["code"]: one for one in json.loads(capsys.readouterr().out)["problems"]}
    assert [case["row"] for case in found["unrenderable"]["examples"]] == [1, 2]
    assert "no system turn, please" in found["unrenderable"]["message"]
    assert (found["cut_off"]["count"], found["cut_off"]["row"], found["cut_off"]["line"]) == (1, 3, 4)
    assert main(words) == 0
    assert "the chat template refuses the row" in capsys.readouterr().out


def test_what_lint_finds_keeps_no_row_from_training(tmp_path: Path) -> None:
    with data.open(
        write(tmp_path / "rows.jsonl", [{"prompt": "Hi", "completion": "I'm sorry, but I can't.</s>"}])
    ) as view:
        assert [problem.code for problem in view.problems] == ["refusal", "template_artefact"]
        assert len(list(view.examples())) == 1
