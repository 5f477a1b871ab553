"""Rows that are stretches of a text file: JSON lines, JSON arrays, CSV, plain text, compressed or not.

The first rows can be read as soon as the file is open; the rest are found by `index`, usually in a thread. A row is
then one `pread` and one parse, however large the file is.
"""

import bisect
import contextlib
import functools
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuiwb.base import paths, settings
from tuiwb.base.errors import EnvironmentFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.decode import LONGEST_ROW, Decoder, json_column, json_lines, json_row, too_long
from tuiwb.data.needle import Kind, Needle, Places, joined
from tuiwb.data.offsets import Found, Offsets, cache_file
from tuiwb.data.rows import MISSING, Row, RowFault, Value
from tuiwb.data.split import Splitter

BLOCK = 2 << 20
HEAD = 1 << 20
"""Read when a file is opened: enough for a first page, and done in milliseconds."""

CACHE_FROM = 64 << 20
"""Smaller files are indexed faster than their index is found."""

_SCAN = 1 << 20

_FAR = 200
"""Rows; where those that are wanted are further apart, each is read by itself."""

_row: Callable[[Any], Row] = functools.partial(tuple.__new__, Row)
"""A row of its four fields, made without a call of Python's."""


class FileStore:
    """See `rows.RowStore`."""

    def __init__(
        self,
        path: Path,
        kind: str,
        splitter: Splitter,
        decode: Decoder,
        *,
        compression: str | None = None,
        unpacked: Any = None,
        columns: list[str] | None = None,
        header_rows: int = 0,
        how: str = "",
    ) -> None:
        """
        Args:
            compression: `gzip`, `zstd` or `bz2`; the file is unpacked beside the index, and gone when it is closed.
            unpacked: the rows in another form than the file's, with a `read` as files have; kept likewise.
            header_rows: records at the beginning that are no rows.
            how: what else the index depends on, for the cache (delimiter).

        Raises:
            EnvironmentFault: the file cannot be opened.
        """
        self.path = path
        self.kind = kind
        self._words_in: Kind = "json" if kind.startswith("JSON") else "text" if kind == "plain text" else "csv"
        plain = compression is None and unpacked is None
        self.address: dict[str, Any] | None = {"path": str(path)} if plain else None
        self._numbered = unpacked is None
        """Whether rows have lines in the file."""
        self._splitter = splitter
        self._decode = decode
        self._columns = columns or []
        self._header_rows = header_rows
        self._offsets = Offsets()
        self._at = 0
        self._done = False
        self._indexing = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(self._file)
        except OSError as error:
            raise EnvironmentFault(f"cannot be opened ({reason_of(error)})", file=path) from error
        self.nbytes = status.st_size
        self._stream: Any = None
        self._size: int | None = self.nbytes
        if not plain:
            self._unpack(unpacked or _unpacker(path, compression))
        self._cache = cache_file(settings.cache_root() / "data-index", path, status, f"{kind} {how}")
        if self._worth_caching() and self._offsets.load(self._cache):
            self._at, self._done = self.nbytes, True
        else:
            self._head()

    @property
    def packed(self) -> bool:
        return False

    @property
    def known(self) -> int:
        return max(len(self._offsets) - self._header_rows, 0)

    @property
    def complete(self) -> bool:
        return self._done

    def index(self, task: Task | None = None) -> None:
        with self._indexing:
            while not self._done:
                self._advance(BLOCK)
                if task:
                    task.step("indexing", self._progress(), self.nbytes, "bytes")
        if task:
            task.step("indexing", self.nbytes, self.nbytes, "bytes")

    def row(self, number: int) -> Row:
        return self.rows(number, 1)[0] if 0 <= number < self.known else self._no_row(number)

    def rows(self, start: int, count: int) -> list[Row]:
        return list(self._rows(start, count))

    def _rows(self, start: int, count: int) -> Iterable[Row]:
        """As `rows`, one by one where that is possible: thousands of tuples at a time keep the garbage collector
        busy."""
        count = min(count, self.known - start)
        if count <= 0:
            return []
        bounds, lines = self._places(start, count)
        if bounds[-1] - bounds[0] > LONGEST_ROW and count > 1:
            return [row for number in range(start, start + count) for row in self.rows(number, 1)]
        base = bounds[0]
        page = self._read(base, min(bounds[-1], base + LONGEST_ROW + 1))
        decode, array = self._decode, self.kind == "JSON array"
        whole = len(page) == bounds[-1] - base
        if whole and count > 1 and decode is json_row and (values := json_lines(page, count)) is not None:
            return map(_row, zip(range(start, start + count), lines, values, itertools.repeat(None)))
        rows: list[Row] = []
        for number, (a, b), line in zip(itertools.count(start), itertools.pairwise(bounds), lines, strict=False):
            raw = page[a - base : b - base]
            value = decode(raw) if whole else self._missing(b - a, raw)
            if array and line is not None:
                line += raw[: len(raw) - len(raw.lstrip())].count(b"\n")  # an element begins behind white space
            if type(value) is RowFault:
                rows.append(Row(number, line, {}, self._judged(value, number, raw)))
            else:
                rows.append(Row(number, line, value))  # type: ignore[arg-type]
        return rows

    def pick(self, numbers: Sequence[int]) -> Iterator[Row]:
        at = 0
        while at < len(numbers):
            first = numbers[at]
            end = bisect.bisect_left(numbers, first + self._block_of_rows(first, self.known), at)
            some, at = numbers[at:end], end
            bounds, lines = self._places(first, some[-1] - first + 1)
            if len(some) * _FAR < len(lines) or bounds[-1] - bounds[0] > LONGEST_ROW:
                yield from map(self.row, some)
                continue
            page = self._read(bounds[0], bounds[-1])
            for number in some:
                place = number - first
                value = self._decode(page[bounds[place] - bounds[0] : bounds[place + 1] - bounds[0]])
                plain = type(value) is not RowFault and self.kind != "JSON array"  # its lines want a closer look
                yield Row(number, lines[place], value) if plain else self.row(number)  # type: ignore[arg-type]

    def raw(self, number: int, limit: int | None = None) -> bytes:
        if not 0 <= number < self.known:
            self._no_row(number)
        start, end = self._offsets.span(number + self._header_rows)
        raw = self._read(start, end if limit is None else min(end, start + limit)).strip()
        return raw.removesuffix(b",").rstrip() if self.kind == "JSON array" else raw

    def scan(self, task: Task | None = None, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        self.index(task)
        end = self.known if stop is None else min(stop, self.known)
        while start < end:
            count = self._block_of_rows(start, end)
            yield from self._rows(start, count)
            start += count
            if task:
                task.step("reading", start, end, "rows")

    def holding(self, needle: Needle, start: int, stop: int) -> Places:
        found: list[Places] = []
        while start < stop:
            count = self._block_of_rows(start, stop)
            bounds = self._offsets.bounds(start + self._header_rows, count)
            if bounds[-1] - bounds[0] <= LONGEST_ROW:
                block = self._read(int(bounds[0]), int(bounds[-1]))
                found.append(needle.look(block, bounds - bounds[0], self._words_in).moved(start))
            elif count > 1:
                found += [self.holding(needle, number, number + 1) for number in range(start, start + count)]
            start += count
        return joined(found)

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        values: list[Any] = []
        while start < stop:
            count = self._block_of_rows(start, stop)
            part = self._json_column(name, start, count) if self._words_in == "json" else None
            if part is None:
                part = [row.value.get(name, MISSING) for row in self._rows(start, count)]
            values += part
            start += count
        return values

    def _json_column(self, name: str, start: int, count: int) -> list[Any] | None:
        bounds = self._offsets.bounds(start + self._header_rows, count)
        base, end = int(bounds[0]), int(bounds[-1])
        if end - base > LONGEST_ROW or len(block := self._read(base, end)) < end - base:
            return None
        array = self.kind == "JSON array"
        if not array:
            data = np.frombuffer(block, np.uint8)
            last = bounds[1:] - base - 1
            for white in b"\n\r":
                last -= data[last] == white
            if not (np.all(data[bounds[:-1] - base] == ord("{")) and np.all(data[last] == ord("}"))):
                return None
        return json_column(block, count, name, array=array)

    def file_of(self, number: int) -> Path:
        return self.path

    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def columns(self) -> list[str]:
        return self._columns

    def faults(self) -> list[tuple[str, str, int | None]]:
        return self._splitter.faults() if self._done else []

    def close(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        # A view that was left while a thread still reads is closed when that thread is done.
        if hasattr(self, "_file"):
            self.close()

    def _head(self) -> None:
        """The first page. A first row longer than a page is left to `index`."""
        with self._indexing:
            self._advance(HEAD)
            deadline = time.monotonic() + 0.05
            while not self._done and not self.known and time.monotonic() < deadline:
                self._advance(HEAD)

    def _advance(self, size: int) -> None:
        """Read and split one block."""
        block = self._next_block(size)
        if block:
            found = self._splitter.feed(block, self._at)
            self._at += len(block)
            self._take(found)
        if not block or self._at == self._size:
            self._take(self._splitter.finish(self._at))
            self._done = True
            if self._worth_caching() and not self._splitter.faults():
                self._offsets.save(self._cache)

    def _take(self, found: Found) -> None:
        expected = int(len(self._offsets) * self.nbytes / self._at * 1.1) if self._at and not self._stream else 0
        self._offsets.append(found, capacity=expected)

    def _next_block(self, size: int) -> bytes:
        try:
            if self._stream is None:
                return os.pread(self._file, min(size, self.nbytes - self._at), self._at)
            block: bytes = self._stream.read(size)
            view = memoryview(block)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=self.path) from error
        return block

    def _unpack(self, stream: Any) -> None:
        """Read another stream than the file, and keep what comes out in a file without a name."""
        folder = paths.private_folder(settings.cache_root() / "unpacked")
        self._stream = stream
        os.close(self._file)
        self._file, name = tempfile.mkstemp(dir=folder)
        Path(name).unlink()
        self._size = None

    def _worth_caching(self) -> bool:
        return self._stream is None and self.nbytes >= CACHE_FROM

    def _progress(self) -> int:
        return self._at if self._stream is None else min(self._at, self.nbytes)

    def _read(self, start: int, end: int) -> bytes:
        """The bytes; fewer when the file has become shorter."""
        try:
            return os.pread(self._file, end - start, start)
        except OSError as error:
            raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=self.path) from error

    def _block_of_rows(self, start: int, stop: int) -> int:
        """As many rows as a block holds, judged by the next few."""
        few = min(100, stop - start)
        first, last = self._offsets.span(start + self._header_rows, few)
        return max(1, min(_SCAN // max((last - first) // few, 1), stop - start, 20_000))

    def _missing(self, size: int, raw: bytes) -> Value | RowFault:
        """A row of which there are fewer bytes than its size."""
        if size > LONGEST_ROW:
            return too_long(size)
        if len(raw) < size:
            return RowFault("file_changed", "the file has become shorter since it was opened")
        return self._decode(raw)

    def _judged(self, fault: RowFault, number: int, raw: bytes) -> RowFault:
        torn = fault.code == "broken_json" and self._torn(number, raw)
        return RowFault("half_written", fault.message) if torn else fault

    def _torn(self, number: int, raw: bytes) -> bool:
        """Whether this is the last line of the file and was never finished."""
        if not self._done or number != self.known - 1:
            return False
        return bool(self._splitter.faults()) if self.kind == "JSON array" else not raw.endswith(b"\n")

    def _places(self, start: int, count: int) -> tuple[list[int], Sequence[int | None]]:
        """Where rows stand in the bytes, with the end of the last, and their lines."""
        bounds, lines = self._offsets.places(start + self._header_rows, count)
        return bounds, lines if self._numbered else [None] * count

    def _no_row(self, number: int) -> Row:
        raise IndexError(f"row {number} of {self.known}")


def _unpacker(path: Path, compression: str | None) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), compression)


def changed(path: Path, since: os.stat_result) -> str | None:
    """What happened to a file since it was opened: `grew`, `was replaced`, `shrank`, `vanished`, or None."""
    try:
        now = path.stat()
    except OSError:
        return "vanished"
    if (now.st_ino, now.st_dev) != (since.st_ino, since.st_dev):
        return "was replaced"
    if now.st_size != since.st_size:
        return "grew" if now.st_size > since.st_size else "shrank"
    return "was changed" if now.st_mtime_ns != since.st_mtime_ns else None
