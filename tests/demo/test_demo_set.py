"""The demo's own data: in the form it teaches, without repeats, nothing held out that is trained."""

import json
import re
from collections import Counter

import pytest

from tuiwb.base import paths
from tuiwb.demo.form import form_fault, has_form

PAGE = "NAME: cache - a fast store\nDESCRIPTION: It saves the trip to memory.\nSEE ALSO: memory, disk, processor"
TURNS = {name: [json.loads(line)["messages"] for line in (paths.presets_folder() / "demo" / f"{name}.jsonl").open()]
         for name in ("train", "heldout")}  # fmt: skip


def _said(name: str, role: str) -> list[str]:
    return [turn["content"] for row in TURNS[name] for turn in row if turn["role"] == role]


def test_a_page_is_a_page() -> None:
    assert has_form(PAGE)
    assert has_form(f"\n {PAGE} \n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "line 1 does"),
        ("A cache is a fast store.", "line 1 does"),
        (PAGE + "\nSEE ALSO: more", "4 lines"),
        (PAGE.partition("\nSEE")[0], "line 3 does"),
        (PAGE.replace("NAME: ", "Name: "), "NAME:"),
        (PAGE.replace("NAME:", "NAME"), "NAME:"),
        (PAGE.replace("cache - a", "cache: a"), "NAME"),
        (PAGE.replace("cache - a fast store", "cache - "), "NAME"),
        (PAGE.replace("memory.\n", "memory\n"), "DESCRIPTION"),
        (PAGE.replace("It saves the trip to memory.", "."), "DESCRIPTION"),
        (PAGE.replace("memory, disk, processor", "memory, disk"), "SEE ALSO"),
        (PAGE.replace("memory, disk, processor", "memory, disk, processor, bus"), "SEE ALSO"),
        (PAGE.replace("memory, disk, processor", "memory, Memory, disk"), "SEE ALSO"),
        (PAGE.replace("memory, disk, processor", "memory, , disk"), "SEE ALSO"),
        ("\n".join(reversed(PAGE.split("\n"))), "NAME:"),
        (PAGE.replace("\n", "\u2028"), "line 2 does"),
    ],
)
def test_anything_else_is_not(answer: str, why: str) -> None:
    assert why in form_fault(answer)
    assert not has_form(answer)


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_every_answer_of_the_set_has_the_form(name: str) -> None:
    assert [(answer, fault) for answer in _said(name, "assistant") if (fault := form_fault(answer))] == []


def test_sizes() -> None:
    assert len(TURNS["train"]) >= 200
    assert len(TURNS["heldout"]) == 40


def test_turns_alternate_and_end_with_an_answer() -> None:
    for row in [*TURNS["train"], *TURNS["heldout"]]:
        assert [turn["role"] for turn in row] == ["user", "assistant"] * (len(row) // 2)


def test_no_question_occurs_twice_or_on_both_sides() -> None:
    questions = Counter(question.lower() for name in TURNS for question in _said(name, "user"))
    assert [question for question, count in questions.items() if count > 1] == []


def test_no_held_out_term_is_explained_in_the_training() -> None:
    trained = {_term(answer) for answer in _said("train", "assistant")}
    assert trained & {_term(answer) for answer in _said("heldout", "assistant")} == set()


def test_no_held_out_question_is_nearly_one_of_the_training() -> None:
    """Nearly: more than half of the words that matter are the same."""
    trained = [_words(question) for question in _said("train", "user")]
    for question in _said("heldout", "user"):
        words = _words(question)
        assert all(len(words & other) <= 0.5 * len(words | other) for other in trained), question


def test_descriptions_are_written_once() -> None:
    lines = Counter(answer.split("\n")[1] for name in TURNS for answer in _said(name, "assistant"))
    assert [line for line, count in lines.items() if count > 1] == []


def _term(answer: str) -> str:
    return answer.removeprefix("NAME: ").partition(" - ")[0].lower()


_LITTLE = re.compile(
    r"an?|and|are|as|at|be|by|does?|explain|for|from|how|i[ns]?|it|me|my|o[fnr]|th[ae]t?|to|wh(at|en|ich|y)|with"
)


def _words(question: str) -> set[str]:
    return {word for word in re.findall(r"[a-z0-9]+", question.lower()) if not _LITTLE.fullmatch(word)}
