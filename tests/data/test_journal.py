"""Edits by hand: nothing is lost or touched besides, undo and redo are exact, two programs do no harm to each other."""

import hashlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb import data, models
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault
from tuiwb.data import edited, edits, journal
from tuiwb.data.journal import Journal, Mark
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.data.view import View
from tuiwb.recipe import DatasetEntry


def write(path: Path, count: int = 12) -> Path:
    rows = [json.dumps({"prompt": f"p{n}", "completion": f"c{n}", "odd": [None, 1.50, "é"]}) for n in range(count)]
    rows[5] = '{"prompt": "spaces" ,   "completion":"kept  as they are"}'
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl")


def raws(view: View) -> list[bytes]:
    return [view.raw(number) for number in range(len(view))]


def test_a_correction_is_seen_everywhere_and_the_source_is_not_touched(rows: Path) -> None:
    before = hashlib.sha256(rows.read_bytes()).digest()
    view = data.open(rows, editable=True)
    plain = raws(view)
    assert not (rows.parent / "rows.jsonl.edits.jsonl").exists()
    assert edits.correct(view, 3, {"prompt": "p3", "completion": "better"})
    assert view.row(3).value["completion"] == "better"
    assert view.rows(2, 3)[1].value == view.row(3).value
    assert [row.value["completion"] for row in view.scan()][3] == "better"
    assert json.loads(view.raw(3))["completion"] == "better"
    assert [raw for number, raw in enumerate(raws(view)) if number != 3] == plain[:3] + plain[4:]
    assert view.row(3).line == 4
    assert hashlib.sha256(rows.read_bytes()).digest() == before
    again = data.open(rows, journal=view.journal.path if view.journal else None)
    assert again.row(3).value["completion"] == "better"
    assert data.open(rows).row(3).value["completion"] == "c3"


def test_correcting_back_to_the_source_leaves_no_mark(rows: Path) -> None:
    view = data.open(rows, editable=True)
    edits.correct(view, 5, {"prompt": "x", "completion": "y"})
    edits.correct(view, 5, {"prompt": "spaces", "completion": "kept  as they are"})
    assert view.mark(5) is None
    assert view.raw(5) == b'{"prompt": "spaces" ,   "completion":"kept  as they are"}'


_CHANGES = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.sampled_from(["accept", "reject", "tags", "rate", "value", "undo", "redo", "reopen"]),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=_CHANGES)
def test_undo_of_everything_is_byte_identical_and_redo_brings_it_back(
    changes: list[tuple[int, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = write(tmp_path_factory.mktemp("undo") / "rows.jsonl")
    view = data.open(rows, editable=True)
    plain, digest = raws(view), view.journal.digest() if view.journal else ""
    for row, what, number in changes:
        assert view.journal is not None
        match what:
            case "accept" | "reject":
                edits.change(view, row, journal.verdict("accepted" if what == "accept" else "rejected"))
            case "tags":
                edits.change(view, row, journal.tags(tuple(f"t{each}" for each in range(number))))
            case "rate":
                edits.change(view, row, journal.rating(number or None))
            case "value":
                edits.correct(view, row, {"prompt": "p", "completion": str(number)})
            case "undo":
                view.journal.undo()
            case "redo":
                view.journal.redo()
            case "reopen":
                view = data.open(rows, editable=True)
    assert view.journal is not None
    marks, done = dict(view.journal.marks), raws(view)
    touched = {row for row, mark in marks.items() if mark.value is not None}
    assert [raw for row, raw in enumerate(done) if row not in touched] == [
        raw for row, raw in enumerate(plain) if row not in touched
    ]
    count = 0
    while view.journal.undo():
        count += 1
    assert raws(view) == plain
    assert view.journal.marks == {}
    assert view.journal.digest() == digest
    view = data.open(rows, editable=True)
    assert view.journal is not None
    for _ in range(count):
        view.journal.redo()
    assert view.journal.marks == marks
    assert raws(view) == done


def test_training_sees_the_rows_as_they_were_edited(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(tiny_model)

    def trained(entry: DatasetEntry) -> list[str]:
        made = prepare([entry], tokenizer, tokenizer.template(), PrepareSettings(), root=tmp_path / "prepared")
        return [tokenizer.decode(made.sequence(row)[0].tolist()) for row in range(len(made.rows))]

    before = trained(DatasetEntry(path=str(rows)))
    view = data.open(rows, editable=True)
    edits.correct(view, 3, {"prompt": "p3", "completion": "better"})
    edits.change(view, 4, journal.verdict("rejected"))
    edits.change(view, 6, journal.verdict("accepted"))
    assert view.journal is not None
    after = trained(DatasetEntry(path=str(rows), journal=str(view.journal.path)))
    assert len(before) == 12
    assert len(after) == 11
    assert "better" in after[3]
    assert after[:3] + after[4:] == before[:3] + before[5:]
    assert trained(DatasetEntry(path=str(rows))) == before
    found = view.verify()
    assert {problem.code: problem.count for problem in found.problems}["left_out"] == 1


def test_a_changed_source_is_not_given_the_edits_of_other_rows(rows: Path) -> None:
    view = data.open(rows, editable=True)
    edits.correct(view, 3, {"prompt": "p3", "completion": "better"})
    edits.change(view, 8, journal.verdict("rejected"))
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([lines[0], *lines[2:]]) + "\n")  # every row behind it is another one now
    again = data.open(rows, editable=True)
    assert again.row(3).value["completion"] == "c4"
    assert again.left_out(8) is None
    problem = next(one for one in again.verify().problems if one.code == "stale_edit")
    assert "2 rows" in problem.message


def test_two_programs_on_one_journal(rows: Path) -> None:
    one, two = data.open(rows, editable=True), data.open(rows, editable=True)
    edits.change(one, 1, journal.tags(("mine",)))
    edits.change(two, 1, journal.rating(4))
    assert one.journal is not None
    one.journal.refresh()
    assert one.mark(1) == two.mark(1) == Mark(one.mark(1).of, tags=("mine",), rating=4)  # type: ignore[union-attr]
    edits.correct(one, 2, {"prompt": "p2", "completion": "one"})
    seen = {"prompt": "p2", "completion": "two"}
    with pytest.raises(UsageFault, match="corrected elsewhere"):
        two.journal.change(2, two.store.hash_of(2), journal.value(seen), seen=None)  # type: ignore[union-attr,attr-defined]
    assert two.row(2).value["completion"] == "one"


def test_many_writers_lose_nothing(rows: Path) -> None:
    place = journal.place_of(rows)

    def work(name: str) -> None:
        mine = Journal(place)
        for number in range(25):
            mine.change(number % 12, "of", lambda mark, tag=f"{name}{number}": replace(mark, tags=(*mark.tags, tag)))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = Journal(place)
    assert sum(len(mark.tags) for mark in found.marks.values()) == 100
    assert found.broken == 0


def test_a_line_that_a_crash_cut_off_costs_itself_alone(rows: Path) -> None:
    view = data.open(rows, editable=True)
    edits.change(view, 1, journal.rating(1))
    place = journal.place_of(rows)
    with place.open("ab") as file:
        file.write(b'{"row": 2, "of": "x", "rat')
    again = data.open(rows, editable=True)
    edits.change(again, 3, journal.rating(3))
    last = Journal(place)
    assert sorted(last.marks) == [1, 3]
    assert last.broken == 1
    said = {problem.code: problem.message for problem in data.open(rows, editable=True).verify().problems}
    assert said["broken_journal"] == "1 of the changes in the journal of edits cannot be read"
    assert last.undo()
    assert sorted(last.marks) == [1]


def test_a_full_disk_keeps_the_journal_as_it_was(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = data.open(rows, editable=True)
    edits.change(view, 1, journal.rating(1))
    before = journal.place_of(rows).read_bytes()
    real = os.write

    def half(handle: int, what: bytes) -> int:
        return real(handle, bytes(what)[: len(what) // 2])

    monkeypatch.setattr(journal.os, "write", half)
    with pytest.raises(EnvironmentFault, match=r"was not kept.*No space left"):
        edits.change(view, 2, journal.rating(2))
    monkeypatch.setattr(journal.os, "write", real)
    assert journal.place_of(rows).read_bytes() == before
    assert view.mark(2) is None
    edits.change(view, 2, journal.rating(2))
    assert view.mark(2)


def test_in_a_folder_that_cannot_be_written_the_journal_is_elsewhere(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal.os, "access", lambda *_: False)
    view = data.open(rows, editable=True)
    edits.change(view, 1, journal.rating(1))
    assert view.journal is not None
    assert view.journal.path.is_relative_to(tmp_path / "home" / "data" / "journals")
    assert data.open(rows, editable=True).mark(1)
    assert view.journal.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["not json\n", '{"a": 1}\n', "[1]\n"])
def test_another_file_is_not_taken_for_a_journal(text: str, rows: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(text)
    with pytest.raises(InputFault, match="no journal"):
        data.open(rows, journal=other)


def test_two_answers_become_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    turns = [("q", "good"), ("q", "bad"), ("other", "x"), ("q", "good")]
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in turns
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    view = data.open(path, editable=True)
    with pytest.raises(UsageFault, match="no two answers have been compared"):
        edits.write_pairs(view, tmp_path / "pairs.jsonl")
    with pytest.raises(UsageFault, match="different prompts"):
        edits.prefer(view, 0, 2)
    with pytest.raises(UsageFault, match="the same answer"):
        edits.prefer(view, 0, 3)
    change = edits.prefer(view, 0, 1)
    assert change is not None
    assert change.words == "row 0 preferred to row 1"
    assert edits.write_pairs(view, tmp_path / "pairs.jsonl") == 1
    pairs = data.open(tmp_path / "pairs.jsonl")
    assert pairs.format.name == "preference"
    example = pairs.example(pairs.row(0))
    assert (example.chosen, example.rejected) == ([rows[0]["messages"][1]], [rows[1]["messages"][1]])
    assert view.journal is not None
    view.journal.undo()
    assert not view.journal.pairs


def test_a_row_that_is_too_long_is_marked_without_reading_it_whole(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edited, "LONGEST_ROW", 100)
    with rows.open("a") as file:
        file.write('{"prompt": "' + "x" * 5000 + '", "completion": "y"}\n')
    view = data.open(rows, editable=True)
    read: list[int] = []
    source = view.store.source  # type: ignore[attr-defined]
    raw = source.raw

    def spy(*given: Any) -> bytes:
        found: bytes = raw(*given)
        read.append(len(found))
        return found

    monkeypatch.setattr(source, "raw", spy)
    edits.change(view, 12, journal.verdict("rejected"))
    assert read == [100]
    again = data.open(rows, editable=True)
    assert again.left_out(12) == "rejected by hand"
