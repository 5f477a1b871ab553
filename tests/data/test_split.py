"""Splitters agree with the naive way, wherever the blocks are cut."""

import csv
import io
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuiwb.data.split import ArraySplitter, CsvSplitter, LineSplitter, Splitter

# Few characters, and those that mean something to a splitter.
HARD = st.text(alphabet='ab"\\[]{},:\n\r\t é😀', max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | HARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HARD, inner, max_size=3),
    max_leaves=8,
)


def split(splitter: Splitter, content: bytes, block: int) -> tuple[list[bytes], list[int]]:
    """The rows and their lines, as a store would cut them."""
    starts: list[int] = []
    lines: list[int] = []
    end = 0
    for at in range(0, len(content), block):
        found = splitter.feed(content[at : at + block], at)
        starts += found.starts.tolist()
        lines += found.lines.tolist()
        end = found.end
    found = splitter.finish(len(content))
    starts += found.starts.tolist()
    lines += found.lines.tolist()
    end = found.end or end
    return [content[a:b] for a, b in itertools.pairwise([*starts, end])], lines


@given(
    lines=st.lists(st.text(alphabet="ab \t\r\u00a0é", max_size=6), max_size=12),
    last=st.booleans(),
    block=st.integers(1, 40),
)
def test_lines_are_those_that_are_not_blank(lines: list[str], last: bool, block: int) -> None:
    content = ("\n".join(lines) + ("\n" if last else "")).encode()
    expected = [(n, line) for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    rows, numbers = split(LineSplitter(), content, block)
    assert [row.split(b"\n")[0] for row in rows] == [line for _, line in expected]
    assert numbers == [number for number, _ in expected]


@given(values=st.lists(JSON, max_size=6), indent=st.none() | st.integers(0, 2), escaped=st.booleans(), data=st.data())
def test_elements_of_an_array(values: list[Any], indent: int | None, escaped: bool, data: st.DataObject) -> None:
    content = json.dumps(values, indent=indent, ensure_ascii=escaped).encode()
    splitter = ArraySplitter()
    rows, lines = split(splitter, content, data.draw(st.integers(1, len(content) + 1)))
    assert [json.loads(row.strip().removesuffix(b",")) for row in rows] == values
    assert splitter.faults() == []
    # A row's line is that of its separator, and the white space behind it is counted when it is read.
    true = [line + row[: len(row) - len(row.lstrip())].count(b"\n") for row, line in zip(rows, lines, strict=True)]
    at = 0
    for row, line in zip(rows, true, strict=True):
        at = content.index(row, at)
        assert line == content[: at + len(row) - len(row.lstrip())].count(b"\n") + 1
        at += len(row)


@given(
    records=st.lists(st.lists(HARD, min_size=2, max_size=3), min_size=1, max_size=6),
    newline=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 60),
)
def test_csv_records(records: list[list[str]], newline: str, block: int) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows(records)
    rows, _ = split(CsvSplitter(","), file.getvalue().encode(), block)
    assert [next(csv.reader(io.StringIO(row.decode(), newline=""))) for row in rows] == records


def test_csv_lines_are_those_of_the_records_begin() -> None:
    content = b'a,b\n1,"x\ny\n"\n\n2,z\n'
    rows, lines = split(CsvSplitter(","), content, 7)
    assert lines == [1, 2, 6]
    assert rows[1] == b'1,"x\ny\n"\n\n'


def test_a_quote_that_is_never_closed_costs_its_line_alone() -> None:
    content = b'a,b\n1,"open\n2,fine\n3,fine\n'
    rows, lines = split(CsvSplitter(","), content, 1000)
    assert lines == [1, 2, 3, 4]
    assert rows[3] == b"3,fine\n"


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b'[{"a": 1},\n {"a": 2', "array_not_closed", 2),
        (b"[1,\n2]\n\nmore", "after_array", 4),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_faults_of_an_arrays_frame(content: bytes, code: str, line: int, block: int) -> None:
    splitter = ArraySplitter()
    rows, _ = split(splitter, content, block)
    assert len(rows) == 2
    assert [(fault[0], fault[2]) for fault in splitter.faults()] == [(code, line)]


@pytest.mark.parametrize("content", [b"[]", b"[ \n ]", b"[1,]", b"[1 , \n]"])
def test_nothing_before_the_closing_bracket_is_no_row(content: bytes) -> None:
    rows, _ = split(ArraySplitter(), content, 2)
    assert len(rows) == content.count(b"1")
