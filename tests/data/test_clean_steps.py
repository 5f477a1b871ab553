"""Each step judges as its description says, and a list of steps says what is wrong with it."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb import data
from tuiwb.base.errors import InputFault
from tuiwb.data.clean import lists, measures, patterns, pii
from tuiwb.data.clean.run import clean
from tuiwb.data.clean.steps import RowStep
from tuiwb.data.clean.texts import texts
from tuiwb.data.clean.write import write
from tuiwb.data.example import Example

HAS_LIBRARIES = all(importlib.util.find_spec(name) for name in ("phonenumbers", "stdnum", "py3langid"))


def example(prompt: str, answer: str) -> Example:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return Example(id=0, messages=turns)


def judged(step: str, settings: dict[str, Any], answer: str, prompt: str = "Say something.") -> str:
    """Why the row is left out; nothing where it stays."""
    made = lists.step_of(step, settings)
    assert isinstance(made, RowStep)
    verdict = made.judge()(texts(example(prompt, answer)))
    return verdict.why() if verdict.flagged else ""


@pytest.mark.parametrize(
    ("step", "settings", "bad", "why", "good"),
    [
        ("words", {"min": 3}, "one two", "2 words, less than 3 words", "one two three"),
        ("words", {"max": 3}, "one two three four", "4 words, more than 3 words", "one two three"),
        ("words", {"of": "example", "min": 5}, "two words", "4 words, less than 5 words", "three words here"),
        ("characters", {"max": 5}, "123456", "6 characters, more than 5 characters", "12345"),
        ("urls", {}, "see https://a.org/long/path", "85.2% URLs, more than 30.0% URLs", "see " * 20 + "https://a.org"),
        ("digits", {}, "1234 abc", "57.1% digits, more than 50.0% digits", "12 and words"),
        ("digits", {}, "777777", "100.0% digits, more than 50.0% digits", "See:\n```\n1234567\n```\nabc"),
        ("symbols", {}, "# # # a b", "0.60 symbols a word, more than 0.10 symbols a word", "plain words " * 9 + "..."),
        ("refusals", {}, "I'm sorry, but I can't help.", 'refuses: "I\'m sorry, but I"', "I am sorry for your loss."),
        ("refusals", {}, "As an AI language model, no.", "refuses: 'As an AI'", "word " * 60 + "as an AI model"),
        ("regex", {"pattern": r"\bTODO\b"}, "a TODO here", "matches: 'TODO'", "nothing"),
        ("regex", {"pattern": r"^\{", "keep": True}, "no json", "does not match", "{}"),
        ("problems", {"codes": ["open_fence"]}, "```py\nx", "a code block of the answer is not closed", "```\nx\n```"),
        ("pii", {"action": "drop", "kinds": ["email"]}, "ask bob@corp.com", "holds email", "ask a@example.com"),
        ("repetition", {}, "a line\n" * 5, "80% of the characters are in repeated lines", "one\ntwo\nthree\nfour"),
    ],
)  # fmt: skip
def test_a_step_leaves_out(step: str, settings: dict[str, Any], bad: str, why: str, good: str) -> None:
    assert why in judged(step, settings, bad)
    assert judged(step, settings, good) == ""


def test_what_is_near_a_limit() -> None:
    made = lists.step_of("words", {"min": 2, "max": 10})
    assert isinstance(made, RowStep)
    judge = made.judge()
    assert judge(texts(example("", "w " * 10))).near == 1
    assert judge(texts(example("", "w " * 2))).near == 1
    assert judge(texts(example("", "w " * 5))).near == 0.5


def test_a_list_of_terms(tmp_path: Path) -> None:
    path = tmp_path / "terms.txt"
    path.write_text("# mine\ndarn\nbloody hell\n")
    assert "2 of the list, the first is 'Darn'" in judged("terms", {"file": str(path)}, "Darn it, bloody hell!")
    assert judged("terms", {"file": str(path)}, "darned if you do") == ""
    assert judged("terms", {"file": str(path), "max": 0.5}, "darn it") == ""
    with pytest.raises(InputFault, match="cannot be read"):
        judged("terms", {"file": str(tmp_path / "none")}, "x")


def test_repetition_in_runs_of_words() -> None:
    varied = " ".join(f"word{n}" for n in range(80))
    assert measures.repetition(varied)[0] == 0
    said_twice = varied + " " + varied
    share, rule = measures.repetition(said_twice)
    assert share > 1
    assert "repeated runs of 10 words" in rule
    assert measures.repetition("yes yes yes yes")[0] == 0  # too short to judge


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail bob.b+x@corp.co.uk now", "mail <EMAIL> now"),
        ("8.8.8.8 but not 127.0.0.1, 10.0.0.1 or 1.2.3", "<IP> but not 127.0.0.1, 10.0.0.1 or 1.2.3"),
        ("key sk-abcdefghijklmnopqrstuvwx here", "key <KEY> here"),
        ("nothing", "nothing"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    find = pii.finder(("email", "ip", "key"))
    assert pii.masked(text, find) == masked
    value = {"a": [{"b": text}], "n": 1}
    changed = pii.masked_value(value, find)
    assert changed["a"][0]["b"] == masked
    assert (changed is value) == (text == masked)


@pytest.mark.skipif(not HAS_LIBRARIES, reason="the extra `clean` is not installed")
def test_numbers_that_libraries_know() -> None:
    find = pii.finder(("phone", "card", "iban"))
    text = "call +1 650-253-0000, pay 4111 1111 1111 1111 or DE89 3704 0044 0532 0130 00 today; order 1234567890123456"
    assert pii.masked(text, find) == "call <PHONE>, pay <CARD> or <IBAN> today; order 1234567890123456"
    answer = "Das ist ein deutscher Satz, der ganz sicher lang genug ist, um erkannt zu werden."
    assert "looks like de" in judged("language", {"keep": ["en"]}, answer)
    assert judged("language", {"keep": ["en", "de"]}, answer) == ""
    assert judged("language", {"keep": ["en"]}, "kurz") == ""


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["refusal"], "did you mean refusals"),
        ([{"words": {"minimum": 3}}], "has no setting minimum"),
        ([{"words": {"max": "many"}}], "max: must be a number, not text"),
        ([{"words": {"of": "row"}}], "of: must be one of "),
        (["words"], "needs min or max"),
        ([{"words": {"min": 9, "max": 3}}], "no row would stay"),
        ([{"regex": {"pattern": "("}}], "is no regular expression"),
        (["regex"], "needs pattern"),
        ([{"near_duplicates": {"threshold": 2}}], "threshold: must be a number of at most 1"),
        (["contamination"], "needs against"),
        ([{"problems": {"codes": ["open_fense"]}}], "did you mean open_fence"),
        ([{"a": 1, "b": 2}], "each step is a name"),
        (["none.yaml"], "there is no such file"),
    ],
)
def test_what_is_wrong_with_a_list(items: list[Any], message: str) -> None:
    with pytest.raises(InputFault, match=message):
        lists.parse(items)


def test_a_list_is_written_and_read_again(tmp_path: Path) -> None:
    steps = lists.parse(["strict", {"near_duplicates": {"threshold": 0.75, "against": ["eval.jsonl"]}}])
    path = tmp_path / "steps.yaml"
    path.write_text(lists.dumps(steps))
    again = lists.load(path)
    assert again[:-1] == steps[:-1]
    assert lists.plain(again)[-1] == {"near_duplicates": {"against": [str(tmp_path / "eval.jsonl")], "threshold": 0.75}}
    (tmp_path / "more.yaml").write_text("- steps.yaml\n- refusals\n")
    assert len(lists.load(tmp_path / "more.yaml")) == len(steps) + 1
    path.write_text("- steps.yaml\n")
    with pytest.raises(InputFault, match="names itself"):
        lists.load(path)


def test_a_step_is_typed_and_shown_on_a_line() -> None:
    for step in lists.parse(["strict", "lima-like"]):
        assert lists.typed(lists.text_of(step)) == (step,)
    assert len(lists.typed("guides")) == 4


def test_every_preset_is_right() -> None:
    for name in lists.PRESETS:
        steps = lists.parse([name])
        assert lists.parse(lists.plain(steps)) == steps


@pytest.mark.parametrize(
    ("look", "text", "found"),
    [
        (patterns.artefact, "Sure.<|im_end|>", "<|im_end|>"),
        (patterns.artefact, "### Response:\nyes", "### Response:"),
        (patterns.artefact, "### Steps:\n[1] <b>", ""),
        (patterns.mojibake, "CafÃ© donâ€™t", "Ã©"),
        (patterns.mojibake, "Café, naïve, Ãngel", ""),
        (patterns.cut_off, "This answer ends in the middle of a sentence as the", "the middle of a sentence as the"),
        (patterns.cut_off, "This answer is a list of things, and it ends well:\n- one\n- two", ""),
    ],
)  # fmt: skip
def test_patterns(look: Any, text: str, found: str) -> None:
    assert look(text) in ({found} if look is not patterns.cut_off else {found, found[-30:]})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"prompt": "p", "completion": "cafÃ© â€œxâ€\x9d naïve"}, {"prompt": "p", "completion": "café “x” naïve"}),
        ({"text": "a\x07b\u202ec\u200bd\n\te"}, {"text": "abcd\n\te"}),
        ({"prompt": "p", "completion": "<|im_start|>assistant\nYes<|im_end|>"}, {"prompt": "p", "completion": "Yes"}),
        ({"prompt": "p", "completion": "```py\nx = 1"}, {"prompt": "p", "completion": "```py\nx = 1\n```"}),
        (
            {"instruction": "Tell me the capital of France now", "output": " Tell me the capital of France now\nParis"},
            {"instruction": "Tell me the capital of France now", "output": "Paris"},
        ),
        (
            {"messages": [
                {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
                {"role": "assistant", "content": " "}, {"role": "assistant", "content": "c"},
                {"role": "user", "content": "bye"},
            ]},
            {"messages": [{"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c"}]},
        ),
        (
            {"turns": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "gpt", "value": "c"}]},
            {"turns": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b\n\nc"}]},
        ),
    ],
)  # fmt: skip
def test_what_has_one_right_answer_is_put_right(before: dict[str, Any], after: dict[str, Any]) -> None:
    step = lists.step_of("repair", {})
    assert isinstance(step, RowStep)
    change = step.change()
    assert change is not None
    assert change(before) == after
    assert change(after) is after


def test_repair_touches_no_other_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    many = [{"prompt": f"q {n}", "completion": f"```x\n{n}\n``` née {n}"} for n in range(20)]
    many[3]["completion"] = "Ã©tude"
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in many))
    with data.open(path) as view:
        found = clean(view, [lists.step_of("repair", {})])
        assert (found.outcomes[0].changed, found.outcomes[0].altered, found.kept) == (1, (3,), 20)
        write(view, found, tmp_path / "out.jsonl")
    before, after = path.read_bytes().splitlines(), (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [at for at, (one, other) in enumerate(zip(before, after, strict=True)) if one != other] == [3]
    with data.open(path, steps=[lists.step_of("repair", {})]) as view:
        assert view.example(view.row(3)).completion == "étude"
