"""Parquet by its pages and arrow by its batches: the same rows as pyarrow gives, whatever wrote the file."""

import contextlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuiwb.base.errors import EnvironmentFault, InputFault, TuiwbError
from tuiwb.data import pages, spill, tables
from tuiwb.data.sources import open_store

ROWS = [
    {"a": f"q {n}", "b": f"x{n} " * (n % 40) if n % 7 else None, "n": n, "f": n / 3, "t": n % 2 == 0, "": None}
    for n in range(4000)
]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"row_group_size": 700},
        {"compression": "zstd", "data_page_size": 9000, "version": "1.0"},
        {"compression": "gzip", "use_dictionary": False, "data_page_version": "2.0"},
        {"compression": "none", "data_page_size": 3000, "write_batch_size": 64, "write_page_index": True},
        {"compression": "lz4"},  # is not known to `pages`
    ],
)
def test_a_row_by_its_pages(tmp_path: Path, how: dict[str, Any], large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path, **how)
    if large:
        monkeypatch.setattr(tables, "_GROUP", 1000)
        monkeypatch.setattr(pages, "_KEPT", 20_000)
    store = open_store(path)
    assert isinstance(store, tables.ParquetStore)
    assert (store._pages is None) == (how.get("compression") == "lz4")
    pick = random.Random(1)
    for number in [*(pick.randrange(len(ROWS)) for _ in range(60)), 5, 5, 6, 5, len(ROWS) - 1]:
        assert store.row(number).value == ROWS[number]
    assert [row.value for row in open_store(path).rows(0, len(ROWS))] == ROWS
    assert [row.value for row in store.rows(3333, 64)] == ROWS[3333:3397]
    assert store.column("b", 90, 3700) == [row["b"] for row in ROWS[90:3700]]
    assert [row.id for row in store.pick([0, 999, 1000, 3999])] == [0, 999, 1000, 3999]
    with pytest.raises(IndexError):
        store.row(len(ROWS))


def test_one_row_does_not_decode_its_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path, data_page_size=2000, write_batch_size=64)
    store = open_store(path)
    assert isinstance(store, tables.ParquetStore)
    decoded: list[int] = []
    decode = store._decode

    def spy(number: int, name: str | None) -> Any:
        decoded.append(number)
        return decode(number, name)

    monkeypatch.setattr(store, "_decode", spy)
    assert store.row(3000).value == ROWS[3000]
    assert decoded == []
    assert store.row(3001).value == ROWS[3001]  # who asks for a second one goes through them
    assert store.row(3002).value == ROWS[3002]
    assert decoded == [0]


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [{"role": "user", "content": "x"}], "n": 1},
        {"meta": {"a": 1, "b": "x"}, "n": 1},
        {"when": "day", "n": 1},
        {"kind": "coded", "n": 1},
    ],
)
def test_other_columns(tmp_path: Path, value: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    rows = [{**value, "n": n} for n in range(300)]
    if "when" in value:
        rows = [{**row, "when": datetime.datetime(2026, 1, 1) + datetime.timedelta(n)} for n, row in enumerate(rows)]
    table = pa.Table.from_pylist(rows)
    if "kind" in value:
        table = table.set_column(0, "kind", table["kind"].dictionary_encode())
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    assert open_store(path).row(217).value == rows[217]
    monkeypatch.setattr(tables, "_GROUP", 100)
    assert [row.value for row in open_store(path).rows(200, 50)] == rows[200:250]


def test_damaged_pages_are_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path)
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    with pytest.raises(Exception, match="cannot be") as caught:
        open_store(path).row(2)
    assert "Traceback" not in str(caught.value)


def test_a_text_that_is_no_utf_8_is_told_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE.slice(0, 500), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"q 411", b"q \xff11"))
    store = open_store(path)
    assert len(store.rows(0, 400)) == 400
    for read in (lambda: store.row(411), lambda: list(store.scan()), lambda: list(store.pick([3, 411, 450]))):
        with pytest.raises(InputFault, match=r"rows\.parquet: row 412 holds a value that cannot be read .*utf-8"):
            read()
    with pytest.raises(InputFault, match="row 412"):
        store.column("a", 400, 500)


def _parquet(path: Path) -> None:
    pq.write_table(TABLE.slice(0, 500), path, compression="none", use_dictionary=False)


def _arrow(path: Path) -> None:
    with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE.slice(0, 500), max_chunksize=60)


@pytest.mark.parametrize(("name", "write"), [("rows.parquet", _parquet), ("rows.arrow", _arrow)])
@settings(max_examples=60)
@given(at=st.integers(0, 1 << 16), junk=st.binary(min_size=1, max_size=40) | st.just(b"\x1c" * 400))
def test_whatever_is_damaged_is_a_sentence_or_harmless(
    name: str, write: Callable[[Path], None], at: int, junk: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        content = bytearray(path.read_bytes())
        at %= len(content) - len(junk)
        content[at : at + len(junk)] = junk
        path.write_bytes(content)
        with contextlib.suppress(TuiwbError):
            store = open_store(path)
            if store.known > 499:
                store.row(499)
            list(store.rows(100, 20))


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("mapped", [True, False])
def test_arrow_batches(tmp_path: Path, framed: bool, mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.arrow"
    with (pa.ipc.new_file if framed else pa.ipc.new_stream)(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE.slice(0, 0))
        writer.write_table(TABLE, max_chunksize=777)
    monkeypatch.setattr(tables, "_BATCH", 0 if mapped else 1 << 20)
    store = open_store(path)
    assert [row.value for row in store.rows(0, len(ROWS))] == ROWS
    assert (store.row(1234).value, store.known) == (ROWS[1234], len(ROWS))
    assert store.column("n", 700, 900) == list(range(700, 900))


def test_arrow_with_dictionaries_and_packed(tmp_path: Path) -> None:
    coded = TABLE.set_column(1, "b", TABLE["b"].dictionary_encode())
    with pa.ipc.new_file(str(tmp_path / "coded.arrow"), coded.schema) as writer:
        writer.write_table(coded)
    assert open_store(tmp_path / "coded.arrow").row(3000).value == ROWS[3000]
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(tmp_path / "packed.arrow"), TABLE.schema, options=packed) as writer:
        writer.write_table(TABLE, max_chunksize=500)
    assert open_store(tmp_path / "packed.arrow").row(3000).value == ROWS[3000]


def test_arrow_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=500)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputFault, match="its end is missing"):
        open_store(path)


_SHRINKS = """
import os, sys
from tuiwb import data
from tuiwb.base.errors import TuiwbError
from tuiwb.data import tables
tables._MOST = 0
for number, path in enumerate(sys.argv[1:]):
    tables._BATCH = 0 if "mapped" in path else 1 << 20
    view = data.open(path)
    total = len(view)
    os.truncate(path, os.path.getsize(path) * 3 // 10 if "some" in path else 0)
    said = set()
    for number in range(total - 1, 0, -50):
        try:
            fault = view.row(number).fault
            said.add(fault.message if fault else "a row")
        except TuiwbError as error:
            said.add(error.message)
    try:
        view.verify()
    except TuiwbError as error:
        said.add(error.message)
    print(os.path.basename(path), view.changed(), "|".join(sorted(said)), sep="|", flush=True)
"""


def test_a_file_that_shrinks_while_open_ends_no_process(tmp_path: Path) -> None:
    """A mapped file that shrinks would end it with SIGBUS, so it is tried in one of its own."""
    plain = TABLE.select(["a", "b", "n"])
    lines = [json.dumps(row) for row in plain.to_pylist()]
    paths = []
    for left in ("some", "none"):
        paths += [tmp_path / f"{left}-{name}" for name in ("1.parquet", "2.arrow", "mapped.arrow", "3.jsonl", "4.json")]
        pq.write_table(plain, paths[-5], row_group_size=500)
        for path in paths[-4:-2]:
            with pa.ipc.new_stream(str(path), plain.schema) as writer:
                writer.write_table(plain, max_chunksize=500)
        paths[-2].write_text("\n".join(lines) + "\n")
        paths[-1].write_text("[" + ",\n".join(lines) + "]")
    child = subprocess.run(
        [sys.executable, "-c", _SHRINKS, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert (child.returncode, child.stderr) == (0, "")
    said = child.stdout.splitlines()
    assert [line.split("|")[:2] for line in said] == [[path.name, "shrank"] for path in paths]
    assert all("the file has become shorter since it was opened" in line for line in said)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("no such page")])
def test_a_table_that_is_gone_is_said(tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path)
    store = open_store(path)
    path.unlink()

    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(store, "_decode", fails)
    with pytest.raises(EnvironmentFault, match="the file has vanished since it was opened"):
        store.rows(0, 10)


@pytest.mark.parametrize("room", [True, False])
def test_a_large_row_group_of_lists_is_decoded_once(
    tmp_path: Path, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    rows = [{"turns": [{"role": "user", "content": f"{n} " * (n % 50)}], "n": n or None} for n in range(6500)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    monkeypatch.setattr(tables, "_GROUP", 1000)
    monkeypatch.setattr(tables, "_MOST", 0)
    if not room:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(spill.Spilled, "_keep", full)
    store = open_store(path)
    assert isinstance(store, tables.ParquetStore)
    begun: list[Any] = []
    decode = store._file.iter_batches

    def spy(*args: Any, **how: Any) -> Any:
        begun.append(args)
        return decode(*args, **how)

    monkeypatch.setattr(store._file, "iter_batches", spy)
    pick = random.Random(1)
    for number in [6400, 10, 5000, *(pick.randrange(6500) for _ in range(40))]:
        assert [row.value for row in store.rows(number, 64)] == rows[number : number + 64]
    assert (len(begun) == 1) == room
    assert [row.value for row in store.scan()] == rows
    store.close()
