"""Conversion keeps what it can: untouched rows byte by byte, conversations through any format that holds them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb import data
from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.data.convert import convert

# Text as it is in the wild, control and bidirectional characters too, but no lone surrogates: they are no UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = TEXT.filter(lambda text: text.strip() != "")
PLAIN_TURNS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3).map(
    lambda pairs: [
        turn
        for asked, said in pairs
        for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]
)
CELL = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.lists(TEXT, max_size=2)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, rows: list[Any], *, array: bool = False) -> Path:
    encoded = [orjson.dumps(row) for row in rows]
    path.write_bytes(b"[\n" + b",\n".join(encoded) + b"\n]" if array else b"\n".join(encoded) + b"\n")
    return path


def examples(path: Path) -> list[Any]:
    with data.open(path) as view:
        return list(view.examples())


@given(
    rows=st.lists(st.fixed_dictionaries({"messages": PLAIN_TURNS, "meta": CELL}), min_size=1, max_size=5),
    array=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_untouched_rows_keep_every_byte(tmp_path: Path, rows: list[Any], array: bool) -> None:
    source = write(tmp_path / "in", rows, array=array)
    with data.open(source) as view:
        assert convert(view, "messages", tmp_path / "out.jsonl", force=True).written == len(rows)
    written = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [sha(line) for line in written] == [sha(orjson.dumps(row)) for row in rows]


@given(
    turns=st.lists(PLAIN_TURNS, min_size=1, max_size=4),
    way=st.permutations(["sharegpt", "alpaca", "prompt_completion"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_conversations_survive_a_tour_of_formats(tmp_path: Path, turns: list[Any], way: list[Any]) -> None:
    path = write(tmp_path / "0.jsonl", [{"messages": conversation} for conversation in turns])
    for number, target in enumerate([*way, "messages"], 1):
        with data.open(path) as view:
            done = convert(view, target, tmp_path / f"{number}.jsonl", force=True)
        assert (done.written, done.left_out) == (len(turns), ())
        path = tmp_path / f"{number}.jsonl"
    assert [example.messages for example in examples(path)] == turns


def test_tools_and_calls_survive_sharegpt(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    turns = [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "2", "train": False},
    ]
    path = write(tmp_path / "in.jsonl", [{"messages": turns, "tools": tools}])
    with data.open(path) as view:
        convert(view, "sharegpt", tmp_path / "out.jsonl")
    (example,) = examples(tmp_path / "out.jsonl")
    assert (example.messages, example.tools) == (turns, tools)


def test_a_pair_becomes_two_judged_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b", "source": "x"}])
    with data.open(path) as view:
        assert convert(view, "kto", tmp_path / "out.jsonl").written == 2
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows == [
        {"prompt": "p", "completion": "a", "label": True, "source": "x"},
        {"prompt": "p", "completion": "b", "label": False, "source": "x"},
    ]


def test_what_the_format_cannot_hold_is_left_out_and_counted(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    fit, unfit = {"messages": [user, answer]}, {"messages": [user, user, answer]}
    path = write(tmp_path / "in.jsonl", [fit, unfit, fit])
    with data.open(path) as view:
        done = convert(view, "alpaca", tmp_path / "out.json")
    assert (done.read, done.written) == (3, 2)
    assert [(problem.code, problem.count, problem.row) for problem in done.left_out] == [("cannot_convert", 1, 1)]
    assert json.loads((tmp_path / "out.json").read_text()) == [{"instruction": "q", "input": "", "output": "a"}] * 2


def test_what_a_row_has_lost_is_said(tmp_path: Path) -> None:
    said = [{"type": "text", "text": "hi"}, {"type": "image", "url": "x"}]
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": "yo"}]
    path = write(
        tmp_path / "in.jsonl", [{"messages": turns}, {"messages": [{"role": "user", "content": "q"}, turns[1]]}]
    )
    with data.open(path) as view:
        found = convert(view, "sharegpt", tmp_path / "out.jsonl")
    assert (found.written, found.left_out) == (2, ())
    assert [(one.code, one.count, one.row) for one in found.lost] == [("parts_ignored", 1, 0)]


def test_question_prompt_and_dialogue(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    chat = write(tmp_path / "chat.jsonl", [{"messages": turns, "n": 1}, {"messages": turns * 2, "n": 2}])
    with data.open(chat) as view:
        asked = convert(view, "qa", tmp_path / "qa.jsonl")
        assert (asked.written, asked.left_out[0].count) == (1, 1)
        assert convert(view, "prompt_only", tmp_path / "prompts.jsonl").written == 2
    assert orjson.loads((tmp_path / "qa.jsonl").read_bytes()) == {"question": "2+2?", "answer": "4", "n": 1}
    with data.open(tmp_path / "prompts.jsonl") as view:
        assert view.format.name == "prompt_only"
        assert view.row(0).value == {"prompt": turns[:1], "solution": "4", "n": 1}
    pairs = write(tmp_path / "pairs.jsonl", [{"prompt": turns[:1], "chosen": turns[1:], "rejected": turns[1:]}])
    with data.open(pairs) as view:
        assert convert(view, "hh_rlhf", tmp_path / "hh.jsonl").written == 1
    with data.open(tmp_path / "hh.jsonl") as view:
        again = view.translate(view.row(0))
    assert view.format.name == "hh_rlhf"
    assert (again.prompt, again.chosen) == (turns[:1], turns[1:])


def test_the_source_and_other_files_are_not_written_over(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [{"text": "t"}])
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    other = write(tmp_path / "other.jsonl", [])
    with data.open(path) as view:
        for output in (path, link):
            with pytest.raises(UsageFault, match="source itself"):
                convert(view, "text", output, force=True)
        with pytest.raises(UsageFault, match="--force"):
            convert(view, "text", other)
        with pytest.raises(InputFault, match="not one row can be written as preference"):
            convert(view, "preference", other, force=True)
    assert other.read_bytes() == b"\n"
    assert path.read_bytes() == b'{"text":"t"}\n'
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix == ".tmp") == []
