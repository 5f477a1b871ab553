"""Each fault of an example is found, and a sound example has none."""

from typing import Any

import pytest

from tuiwb.data import Example
from tuiwb.data.checks import findings
from tuiwb.data.problems import RULES, Tally


def turn(role: str, content: str = "words", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


U, A, S, T = turn("user"), turn("assistant"), turn("system"), turn("tool")
CALL = turn("assistant", "", tool_calls=[{"function": {"name": "f", "arguments": {}}}])


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([U, A], []),
        ([S, U, A, U, A], []),
        ([U, CALL, T, A], []),
        ([U, CALL, T, T, A], []),
        ([S, U], [("no_assistant", "")]),
        ([U, {**A, "train": False}], [("nothing_trained", "")]),
        ([U, {**A, "train": False}, U, A], []),
        ([{**U, "train": True}, {**A, "train": False}], []),
        ([U, turn("assistant", " \n")], [("empty_answer", "")]),
        ([U, turn("assistant", ""), U, A], [("empty_turn", "assistant")]),
        ([turn("user", ""), A], [("empty_turn", "user")]),
        ([U, U, A], [("role_order", "two user turns in a row")]),
        ([U, A, A], [("role_order", "two assistant turns in a row")]),
        ([U, A, S, U, A], [("role_order", "a system turn comes after other turns")]),
        ([A, U, A], [("role_order", "the conversation begins with the assistant")]),
        ([U, T, A], [("role_order", "a tool turn answers no call")]),
        ([U, A, U], [("role_order", "the conversation ends with the user")]),
    ],
)
def test_conversations(turns: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    assert list(findings(Example(id=0, messages=turns))) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": "p", "completion": "c"}, []),
        ({"prompt": "p", "completion": " "}, ["empty_answer"]),
        ({"prompt": "", "completion": "c"}, ["empty_prompt"]),
        ({"prompt": [U], "completion": [turn("assistant", "")]}, ["empty_answer"]),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, []),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, ["chosen_equals_rejected"]),
        ({"prompt": [U], "chosen": [A], "rejected": []}, ["empty_answer"]),
        ({"prompt": "p", "steps": []}, ["empty_answer"]),
        ({"text": "\n"}, ["empty_text"]),
        ({"input_ids": []}, ["empty_text"]),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, ["nothing_trained"]),
    ],
)
def test_other_kinds(fields: dict[str, Any], expected: list[str]) -> None:
    assert [code for code, _ in findings(Example(id=0, **fields))] == expected


def test_the_tally_counts_and_keeps_the_first_cases() -> None:
    tally = Tally()
    for row in range(9):
        tally.add("empty_turn", "user", row, row + 10)
    tally.add("empty_answer", "", 3, 13)
    worst, other = tally.problems()
    assert (worst.code, worst.severity, worst.count) == ("empty_answer", "error", 1)
    assert (other.count, other.row, other.line, len(other.examples)) == (9, 0, 10, 5)
    assert other.message == "the user turn is empty"
    assert other.to_json()["examples"][4] == {"row": 4, "line": 14, "detail": "user"}


def test_every_rule_can_be_said() -> None:
    for code, rule in RULES.items():
        tally = Tally()
        tally.add(code, "a detail")
        (problem,) = tally.problems()
        assert "{" not in problem.message
        assert "{" not in problem.fix.replace("{column: value}", "").replace("{prompt: COLUMN}", "")
        assert rule.fix
