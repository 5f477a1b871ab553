"""Rows of every kind of file by number, with true lines, whatever is odd about the file."""

import bz2
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data import filestore
from tuiwb.data.filestore import FileStore
from tuiwb.data.rows import RowStore
from tuiwb.data.sources import open_store

ROWS = [{"instruction": f"question {n}", "output": f"answer {n}\nwith “two” lines"} for n in range(2500)]


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def values(store: RowStore) -> list[dict[str, Any]]:
    store.index()
    return [row.value for row in store.rows(0, store.known)]


def test_json_lines(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "rows.jsonl", jsonl(ROWS)))
    assert (store.kind, values(store)) == ("JSON lines", ROWS)
    assert store.row(7).line == 8
    assert store.raw(7) == jsonl(ROWS[7:8]).strip()
    assert [row.value for row in store.scan()] == ROWS


@pytest.mark.parametrize("indent", [None, 2])
def test_json_array(tmp_path: Path, indent: int | None) -> None:
    text = json.dumps(ROWS, indent=indent)
    store = open_store(write(tmp_path / "rows.json", text.encode()))
    assert (store.kind, values(store)) == ("JSON array", ROWS)
    assert store.row(7).line == (1 if indent is None else 7 * 4 + 2)
    assert json.loads(store.raw(2499)) == ROWS[2499]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("rows.jsonl.gz", gzip.compress),
        ("rows.jsonl.bz2", bz2.compress),
        ("rows.jsonl.zst", lambda content: pa.compress(content, "zstd", asbytes=True)),
        ("no ending at all", gzip.compress),
    ],
)
def test_compressed(tmp_path: Path, name: str, pack: Any) -> None:
    path = write(tmp_path / name, pack(jsonl(ROWS)))
    before = path.read_bytes()
    store = open_store(path)
    assert values(store) == ROWS
    assert store.row(2499).line == 2500
    assert path.read_bytes() == before
    assert not list((tmp_path / "home" / "cache" / "unpacked").iterdir())


def test_compressed_and_cut_off(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "rows.jsonl.gz", gzip.compress(jsonl(ROWS * 40))[:-2000]))
    with pytest.raises(EnvironmentFault, match="cannot be"):
        store.index()


def test_csv_with_quoted_newlines(tmp_path: Path) -> None:
    content = b'instruction,output\r\n"a, b","one\r\ntwo"\r\nplain,"say ""hi"""\r\n'
    store = open_store(write(tmp_path / "rows.csv", content))
    assert store.kind == "CSV"
    assert values(store) == [
        {"instruction": "a, b", "output": "one\r\ntwo"},
        {"instruction": "plain", "output": 'say "hi"'},
    ]
    assert [store.row(n).line for n in range(2)] == [2, 4]
    assert store.columns() == ["instruction", "output"]


@pytest.mark.parametrize(("name", "delimiter"), [("rows.tsv", "\t"), ("rows.csv", ";"), ("rows.csv", "|")])
def test_other_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    store = open_store(write(tmp_path / name, f"a{delimiter}b\n1,5{delimiter}2\n".encode()))
    assert values(store) == [{"a": "1,5", "b": "2"}]


def test_csv_record_of_the_wrong_width(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "rows.csv", b"a,b\n1,2\n1,2,3\n"))
    fault = store.row(1).fault
    assert fault is not None
    assert (fault.code, fault.message) == ("csv_columns", "3 fields where the header names 2")


def test_plain_text(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "corpus.txt", b"first [line]\r\n\n second\n"))
    assert values(store) == [{"text": "first [line]"}, {"text": " second"}]


@pytest.mark.parametrize("group", [100, 10_000])
def test_parquet(tmp_path: Path, group: int) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=group)
    store = open_store(path)
    assert (store.kind, store.known) == ("parquet", 2500)
    for number in (2400, 3, 999, 1000, 2499, 0):
        assert store.row(number).value == ROWS[number]
    assert values(store) == ROWS
    assert json.loads(store.raw(5)) == ROWS[5]


@pytest.mark.parametrize("framed", [True, False])
def test_arrow(tmp_path: Path, framed: bool) -> None:
    path = tmp_path / "rows.arrow"
    table = pa.Table.from_pylist(ROWS)
    with (pa.ipc.new_file if framed else pa.ipc.new_stream)(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    store = open_store(path)
    assert values(store) == ROWS
    assert store.row(1234).value == ROWS[1234]


def test_byte_order_mark_windows_lines_and_blank_lines(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + b"\r\n".join([b'{"a": 1}', b"", b"  \t", b'{"a": 2}', b""])
    store = open_store(write(tmp_path / "rows.jsonl", content))
    assert values(store) == [{"a": 1}, {"a": 2}]
    assert [store.row(n).line for n in range(2)] == [1, 4]


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b'{"a": 1', "broken_json", "character"),
        (b'{"a": NaN}', "broken_json", "NaN is no JSON value"),
        (b'{"a": "\xff"}', "invalid_utf8", "byte 8 of the row, 0xff"),
        (b"[1, 2]", "not_an_object", "a list"),
        (b"null", "not_an_object", "null"),
    ],
)
def test_a_bad_line_among_good_ones(tmp_path: Path, line: bytes, code: str, says: str) -> None:
    good = jsonl(ROWS[:1500])
    store = open_store(write(tmp_path / "rows.jsonl", good + line + b"\n" + good))
    store.index()
    bad = [row for row in store.scan() if row.fault]
    assert [(row.id, row.line) for row in bad] == [(1500, 1501)]
    assert bad[0].fault is not None
    assert bad[0].fault.code == code
    assert says in bad[0].fault.message
    assert store.known == 3001


def test_the_last_line_was_never_finished(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "rows.jsonl", jsonl(ROWS[:3]) + b'{"instruction": "ha'))
    fault = store.row(3).fault
    assert fault is not None
    assert fault.code == "half_written"


def test_a_broken_element_leaves_the_others(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "rows.json", b'[{"a": 1},\n{"a": oops},\n{"a": 3}]'))
    assert values(store) == [{"a": 1}, {}, {"a": 3}]
    assert (store.row(1).line, store.row(2).line) == (2, 3)


def test_a_row_that_is_too_long_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filestore, "LONGEST_ROW", 1000)
    content = jsonl([{"a": 1}, {"a": "x" * 5000}, {"a": 2}])
    store = open_store(write(tmp_path / "rows.jsonl", content))
    assert [row.fault and row.fault.code for row in store.rows(0, 3)] == [None, "row_too_long", None]
    assert len(store.raw(1, limit=100)) == 100


def test_the_first_page_comes_before_the_index(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", jsonl(ROWS) * 20)
    store = open_store(path)
    assert not store.complete
    assert 100 < store.known < 50_000
    assert store.row(50).value == ROWS[50]
    store.index()
    assert (store.complete, store.known) == (True, 50_000)
    assert store.row(49_999).line == 50_000


def test_indexing_goes_on_where_it_was_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filestore, "BLOCK", 200_000)
    store = open_store(write(tmp_path / "rows.jsonl", jsonl(ROWS) * 20))
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        store.index(task)
    assert not store.complete
    assert store.row(store.known - 1).fault is None
    store.index()
    assert store.known == 50_000


def test_reading_while_indexing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filestore, "BLOCK", 10_000)
    store = open_store(write(tmp_path / "rows.jsonl", jsonl(ROWS) * 20))
    thread = threading.Thread(target=store.index)
    thread.start()
    while not store.complete:
        last = store.known - 1
        row = store.row(last)
        assert (row.fault, row.line) == (None, last + 1)
        assert row.value == ROWS[last % 2500]
    thread.join()
    assert store.known == 50_000


def test_the_index_is_cached_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filestore, "CACHE_FROM", 1)
    path = write(tmp_path / "rows.jsonl", jsonl(ROWS) * 20)
    first = open_store(path)
    first.index()
    second = open_store(path)
    assert second.complete
    assert (second.known, second.row(49_999)) == (50_000, first.row(49_999))
    with path.open("ab") as file:
        file.write(jsonl(ROWS[:1]))
    third = open_store(path)
    assert not third.complete
    third.index()
    assert third.known == 50_001


def test_a_cache_that_cannot_be_written_or_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filestore, "CACHE_FROM", 1)
    path = write(tmp_path / "rows.jsonl", jsonl(ROWS))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").write_text("a file where the folder should be")
    store = open_store(path)
    store.index()
    assert store.known == 2500
    (tmp_path / "home" / "cache").unlink()
    open_store(path).index()
    (cached,) = (tmp_path / "home" / "cache" / "data-index").iterdir()
    cached.write_bytes(b"\x93NUMPY and nonsense")
    again = open_store(path)
    again.index()
    assert again.row(2499).value == ROWS[2499]


def test_a_file_that_vanishes_shrinks_or_grows_while_open(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", jsonl(ROWS[:10]))
    status = path.stat()
    store = open_store(path)
    with path.open("ab") as file:
        file.write(jsonl(ROWS[10:12]))
    assert (filestore.changed(path, status), store.known) == ("grew", 10)
    with path.open("r+b") as file:
        file.truncate(100)
    fault = store.row(9).fault
    assert fault is not None
    assert (filestore.changed(path, status), fault.code) == ("shrank", "file_changed")
    path.unlink()
    assert filestore.changed(path, status) == "vanished"
    assert store.row(0).value == ROWS[0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.json", b'{\n  "data": []\n}', "one JSON object, not rows"),
        ("rows.jsonl", '{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        ("rows", b"hello there", "kind cannot be told"),
        ("rows.bin", b"\x7fELF\x00\x00\x01more", "a binary file"),
        ("rows.parquet", b"PAR1 and then nothing", "parquet file cannot be read"),
        ("rows.arrow", b"ARROW1\x00\x00broken", "arrow file cannot be read"),
        ("rows.jsonl.gz", b"\x1f\x8bnot really", "cannot be unpacked"),
        ("rows.csv", b"", "is empty"),
        ("rows.csv", b"a,b,a\n1,2,3\n", "'a' twice"),
    ],
)
def test_files_that_are_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(InputFault, match=says) as caught:
        open_store(write(tmp_path / name, content))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_paths_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="no such file"):
        open_store(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputFault, match="folder"):
        open_store(tmp_path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.jsonl", jsonl(ROWS[:1]))

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filestore.os, "open", refuse)
    with pytest.raises(EnvironmentFault, match="Permission denied"):
        open_store(path)


def test_an_index_error_names_the_row(tmp_path: Path) -> None:
    store = open_store(write(tmp_path / "rows.jsonl", jsonl(ROWS[:2])))
    with pytest.raises(IndexError, match="row 2 of 2"):
        store.row(2)
    assert isinstance(store, FileStore)
    assert store.rows(2, 10) == []


@given(
    st.lists(
        st.sampled_from(
            [
                b'{"a": 1}', b'{"a": "x\\ny"}', b'{"a": 1}, {"b": 2}', b'{"a": [1', b"2]}", b"{}", b"[1]", b"3", b"",
                b"  ", b'{"a": 1}\r', b'{"a": 1},', b'{"broken', b'{"a": NaN}', b'{"a": "\xff"}', b"[", b"]", b",",
            ]
        ),
        max_size=12,
    ),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_read_together_are_those_read_one_by_one(tmp_path: Path, lines: list[bytes], end: bool) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"first": 0}\n' + b"\n".join(lines) + (b"\n" if end else b""))
    store = open_store(path)
    store.index()
    one_by_one = [store.row(number) for number in range(store.known)]
    assert store.rows(0, store.known) == one_by_one
    assert list(store.scan()) == one_by_one
    store.close()


def test_csv_line_longer_than_any_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuiwb.data import split

    monkeypatch.setattr(split.CsvSplitter, "LONGEST_RECORD", 1000)
    monkeypatch.setattr(filestore, "HEAD", 64)
    monkeypatch.setattr(filestore, "BLOCK", 64)
    path = write(tmp_path / "rows.csv", b"a,b\n1,2\n" + b"x" * 5000 + b'\n3,"4\n5"\n' + b"y" * 3000)
    store = open_store(path)
    store.index()
    assert [(row.line, row.value) for row in store.rows(0, 9) if not row.fault] == [
        (2, {"a": "1", "b": "2"}),
        (4, {"a": "3", "b": "4\n5"}),
    ]
    assert [row.line for row in store.rows(0, 9) if row.fault] == [3, 6]


NUMBERS = ["0", "-1", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809",
           "1" + "0" * 40, "1E5", "-0", "1.50", "123456789012345678901234567890.5"]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([*NUMBERS, '"a"', "null", *(f"[{n}]" for n in NUMBERS), *(f'{{"m": {n}}}' for n in NUMBERS)])
    ),
    st.booleans(),
)
def test_a_column_holds_what_its_rows_hold(tmp_path: Path, values: list[str], array: bool) -> None:
    """Numbers of more than 64 bits too."""
    lines = [f'{{"n": {value}, "other": 1}}' for value in values]
    path = tmp_path / ("rows.json" if array else "rows.jsonl")
    path.write_text(f"[{', '.join(lines)}]" if array else "".join(line + "\n" for line in lines))
    store = open_store(path)
    store.index()
    expected = [row.value["n"] for row in store.rows(0, len(lines))]
    found = store.column("n", 0, len(lines))
    assert (found, [*map(type, found)]) == (expected, [*map(type, expected)])
