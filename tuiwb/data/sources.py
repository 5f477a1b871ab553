"""From a path to its rows: what kind of file it is, told by its bytes first and by its name second."""

import codecs
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.data import decode
from tuiwb.data.columns import transposed
from tuiwb.data.edited import EditedStore
from tuiwb.data.filestore import FileStore
from tuiwb.data.journal import Journal
from tuiwb.data.rows import RowFault, RowStore
from tuiwb.data.split import ArraySplitter, CsvSplitter, LineSplitter

_SAMPLE = 256 << 10
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_KINDS = "json, jsonl, csv, tsv, txt, parquet or arrow, plain or compressed as gz, zst or bz2"
_TEXT_ENDINGS = {".txt", ".text", ".md"}
_DELIMITERS = ",;\t|"


def open_store(path: Path, *, split: str | None = None, subset: str | None = None) -> RowStore:
    """The rows of a file, or of the files of a folder; the first of them can be read at once.

    Args:
        split, subset: which of those that a folder holds.

    Raises:
        InputFault: there is no such file, or it is none of the kinds that can be read.
        Choice: a folder holds several splits or subsets, and none was named.
        EnvironmentFault: it cannot be opened.
    """
    if path.is_dir():
        from tuiwb.data.folder import files_of
        from tuiwb.data.many import ManyStore

        found = files_of(path, split=split, subset=subset)
        address = {"path": str(path), "split": split, "subset": subset}
        return ManyStore(path, found.files, open_store, stray=found.stray, address=address)
    if split not in (None, "train") or subset is not None:
        what = "split" if subset is None else "subset"
        raise InputFault(f"this is one file, which has no {what}s", file=path, key=what)
    start, compression = _beginning(path)
    if start.startswith(b"PAR1"):
        from tuiwb.data.tables import ParquetStore

        return ParquetStore(path)
    if start.startswith(b"ARROW1") or path.suffix == ".arrow":
        from tuiwb.data.tables import ArrowStore

        return ArrowStore(path)
    if start.startswith(_UTF16) or b"\x00" in start[:4096].rstrip(b"\x00"):
        what = "text in UTF-16, convert it to UTF-8 first" if start.startswith(_UTF16) else "a binary file"
        raise InputFault(f"this is {what}; a dataset is {_KINDS}", file=path)
    return _text_store(path, start, compression)


def open_address(address: Mapping[str, Any]) -> RowStore:
    """The rows that another process has open; see `RowStore.address`."""
    store = open_store(Path(address["path"]), split=address.get("split"), subset=address.get("subset"))
    return EditedStore(store, Journal(Path(address["journal"]))) if "journal" in address else store


def _text_store(path: Path, start: bytes, compression: str | None) -> FileStore:
    mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    text = start[mark:].lstrip()
    ending = _ending(path)
    if ending in (".csv", ".tsv"):
        return _csv_store(path, start[mark:], mark, compression, ending)
    if ending in _TEXT_ENDINGS:
        return FileStore(path, "plain text", LineSplitter(mark), decode.text_row, compression=compression)
    if text.startswith(b"["):
        return FileStore(path, "JSON array", ArraySplitter(), decode.array_row, compression=compression)
    if ending == ".json" and compression is None and text.startswith(b"{") and (rows := transposed(path, text)):
        return FileStore(path, "JSON columns", LineSplitter(), decode.json_row, unpacked=rows)
    if text.startswith(b"{") or not text or ending in (".json", ".jsonl", ".ndjson"):
        _refuse_one_object(path, text, start, ending)
        return FileStore(path, "JSON lines", LineSplitter(mark), decode.json_row, compression=compression)
    raise InputFault(f"its kind cannot be told from its name or its first bytes; a dataset is {_KINDS}", file=path)


def _refuse_one_object(path: Path, text: bytes, start: bytes, ending: str) -> None:
    """A `.json` file whose first line is not a whole object holds one object on many lines, not one a line."""
    first, newline, _ = text.partition(b"\n")
    if ending != ".json" or not newline:
        return
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        if first.strip() in (b"{", b"{}") or (first.startswith(b"{") and not first.rstrip().endswith(b"}")):
            raise InputFault(
                "this is one JSON object, not rows: a dataset is an array `[{…}, {…}]` or one object a line", file=path
            ) from None


def _csv_store(path: Path, text: bytes, mark: int, compression: str | None, ending: str) -> FileStore:
    delimiter = "\t" if ending == ".tsv" else _delimiter(text)
    splitter = CsvSplitter(delimiter)
    found = splitter.feed(text, 0)
    starts = [*found.starts.tolist(), found.end]
    if len(starts) < 2:
        found = splitter.finish(len(text))
        starts = [*found.starts.tolist(), found.end]
    if len(starts) < 2:
        raise InputFault("this CSV file is empty: its first line names the columns", file=path)
    names = decode.csv_cells(text[starts[0] : starts[1]], delimiter)
    if isinstance(names, RowFault):
        raise InputFault(f"the header cannot be read: {names.message}", file=path, line=1)
    names = [name.strip() for name in names]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputFault(f"the header names the column {twice!r} twice", file=path, line=1)
    return FileStore(
        path,
        "TSV" if delimiter == "\t" else "CSV",
        CsvSplitter(delimiter, mark),
        decode.csv_row(names, delimiter),
        compression=compression,
        columns=names,
        header_rows=1,
        how=delimiter,
    )


def _delimiter(text: bytes) -> str:
    """The character that cuts the first line into most columns; the comma when none does."""
    first = text[: text.find(b"\n")] if b"\n" in text else text
    outside = b"".join(first.split(b'"')[::2])
    return max(_DELIMITERS, key=lambda character: outside.count(character.encode()))


def _beginning(path: Path) -> tuple[bytes, str | None]:
    """The first bytes, unpacked, and how they were packed."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputFault("there is no such file", file=path) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be opened ({reason_of(error)})", file=path) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputFault("this is no regular file", file=path)
    try:
        with path.open("rb") as file:
            start = os.pread(file.fileno(), _SAMPLE, 0)
    except OSError as error:
        raise EnvironmentFault(f"cannot be opened ({reason_of(error)})", file=path) from error
    for magic, compression in _COMPRESSED.items():
        if start.startswith(magic):
            return _unpacked_beginning(path, compression), compression
    return start, None


def _unpacked_beginning(path: Path, compression: str) -> bytes:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.OSFile(str(path)), compression) as stream:
            sample: bytes = stream.read(_SAMPLE)
    except OSError as error:
        raise InputFault(f"this {compression} file cannot be unpacked", file=path) from error
    return sample


def _ending(path: Path) -> str:
    """The ending that says what is inside: `.jsonl` of `rows.jsonl.gz`."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in (".gz", ".zst", ".zstd", ".bz2"):
        endings.pop()
    return endings[-1] if endings else ""
