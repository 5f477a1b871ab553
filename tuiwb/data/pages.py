"""Rows of a parquet row group without the rest of it, which pyarrow would decode from its beginning.

A column's pages are found by their headers, and those that hold the rows are given to pyarrow as a file of one column
and one row group. That works where every row is one value of each column: no lists and no structures.

Sources: the file format (https://parquet.apache.org/docs/file-format/) and thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), in which headers are written.
"""

import bisect
import functools
import itertools
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

_MAGIC = b"PAR1"
_HEADERS = (512, 64 << 10)
"""Bytes that the header of a page has at most: as a rule, and with long statistics."""

_FOOTER = 1 << 20
"""Bytes; by then a footer has described its columns."""

_KEPT = 16 << 20
"""Bytes of pages that are kept unpacked."""

_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6}
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_CODED = (2, 8)
"""Encodings by places in a dictionary."""

_REPEATED = 2
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_DEEPEST = 16
"""Structures within structures: the format has six."""


class _Page(NamedTuple):
    start: int
    size: int
    """Bytes with its header."""
    rows: int
    coded: bool
    """Whether its values are places in the dictionary."""


class _Column(NamedTuple):
    """A column of a row group: the page of its dictionary, if any, its pages, and the row after the last of each."""

    dictionary: tuple[_Page, ...]
    pages: tuple[_Page, ...]
    ends: tuple[int, ...]


class Pages:
    """See the top of this file."""

    def __init__(self, path: Path, file: Any) -> None:
        """
        Args:
            file: the `pyarrow.parquet.ParquetFile` of that path.

        Raises:
            ValueError: a column is a list or a structure, or the footer is written in a way that is not known here.
            OSError: the file cannot be read.
        """
        self._metadata = file.metadata
        self._schema = file.schema_arrow
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._columns = self._described()
        except BaseException:
            self.close()
            raise
        self._found = functools.lru_cache(maxsize=4096)(self._find)
        self._unpacked: OrderedDict[tuple[int, int, int], Any] = OrderedDict()

    def close(self) -> None:
        """Reading ends."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()

    def read(self, group: int, first: int, count: int, name: str | None = None, *, keep: bool = True) -> Any:
        """An arrow table of `count` rows of a row group from its row `first`, all columns or one.

        Args:
            keep: the pages are unpacked whole, and kept for the rows that follow; not so for a single row. One thread
                at a time.

        Raises:
            ValueError: the pages are not as they should be.
            OSError: they cannot be read.
        """
        import pyarrow as pa

        wanted = [number for number, each in enumerate(self._schema.names) if name in (None, each)]
        if keep:
            columns = [self._kept(group, number, first, count) for number in wanted]
        else:  # somebody waits for it: the largest column here, the others beside it
            largest = max(wanted, key=lambda number: sum(page.size for page in self._found(group, number).pages))
            others = [number for number in wanted if number != largest]
            later = _helper().submit(lambda: {number: self._read(group, number, first, count) for number in others})
            found = {largest: self._read(group, largest, first, count), **later.result()}
            columns = [found[number] for number in wanted]
        return pa.table(columns, schema=pa.schema([self._schema.field(number) for number in wanted]))

    def _kept(self, group: int, number: int, first: int, count: int) -> Any:
        """As `_read`, page by page."""
        import pyarrow as pa

        found, parts = self._found(group, number), []
        for at in range(bisect.bisect_right(found.ends, first), bisect.bisect_left(found.ends, first + count) + 1):
            start, size = found.ends[at] - found.pages[at].rows, found.pages[at].rows
            key = (group, number, at)
            if key not in self._unpacked:
                self._unpacked[key] = self._read(group, number, start, size)
                while len(self._unpacked) > 1 and sum(page.nbytes for page in self._unpacked.values()) > _KEPT:
                    self._unpacked.popitem(last=False)
            self._unpacked.move_to_end(key)
            parts.append(self._unpacked[key].slice(max(first - start, 0), first + count - max(start, first)))
        return pa.chunked_array(parts)

    def _read(self, group: int, number: int, first: int, count: int) -> Any:
        """Some rows of a column."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        dictionary, pages, ends = self._found(group, number)
        begin, end = bisect.bisect_right(ends, first), bisect.bisect_left(ends, first + count) + 1
        first -= ends[begin - 1] if begin else 0
        pages = pages[begin:end]
        dictionary = dictionary if any(page.coded for page in pages) else ()
        whole = self._alone(group, number, (*dictionary, *pages))
        # What follows the rows in their last page is not decoded.
        batches = pq.ParquetFile(pa.BufferReader(whole)).iter_batches(first + count, use_threads=False)
        values = next(batches).column(0).slice(first, count)
        if len(values) != count:
            raise ValueError("pages hold fewer rows than their headers say")
        kind = self._schema.field(number).type
        return values if values.type == kind else values.cast(kind)

    def _alone(self, group: int, number: int, pages: tuple[_Page, ...]) -> Any:
        """A parquet file, in memory, of these pages of a column, the first of which may be its dictionary."""
        import pyarrow as pa

        column = self._metadata.row_group(group).column(number)
        kind, element = self._columns[number]
        size = sum(page.size for page in pages)
        rows, at = sum(page.rows for page in pages), len(_MAGIC)
        dictionary = 0 if pages[0].rows else pages[0].size
        described = [
            _number(1, _I32, kind),
            _several(2, _I32, [_zigzag(0), _zigzag(3), _zigzag(8)]),
            _several(3, _BINARY, [_binary(column.path_in_schema.encode())]),
            _number(4, _I32, _CODECS[column.compression]),
            _number(5, _I64, rows),
            _number(6, _I64, size),
            _number(7, _I64, size),
            _number(9, _I64, at + dictionary),
            *([_number(11, _I64, at)] if dictionary else []),
        ]
        chunk = [_number(2, _I64, at), _field(3, _STRUCT) + b"".join(described) + b"\0"]
        of_rows = [_several(1, _STRUCT, [b"".join(chunk) + b"\0"]), _number(2, _I64, size), _number(3, _I64, rows)]
        footer = b"".join(
            [
                _number(1, _I32, 2),
                _several(2, _STRUCT, [_ROOT, element]),
                _number(3, _I64, rows),
                _several(4, _STRUCT, [b"".join(of_rows) + b"\0"]),
                b"\0",
            ]
        )
        end = footer + len(footer).to_bytes(4, "little") + _MAGIC
        whole = pa.allocate_buffer(at + size + len(end))
        view = memoryview(whole).cast("B")
        view[:at], view[at + size :] = _MAGIC, end
        for page in pages:
            if os.preadv(self._file, [view[at : at + page.size]], page.start) < page.size:
                raise ValueError("the file has become shorter since it was opened")
            at += page.size
        return whole

    def _described(self) -> list[tuple[int, bytes]]:
        """The type of each column, and its description as it stands in the footer."""
        end = os.fstat(self._file).st_size
        size = int.from_bytes(os.pread(self._file, 4, end - 8), "little")
        reader = _Reader(os.pread(self._file, min(size, _FOOTER), end - 8 - size))
        for field, kind in reader.fields():
            if (field, kind) == (2, _LIST):
                break
            reader.value(kind)
        else:
            raise ValueError("the footer describes no columns")
        found: list[tuple[int, bytes]] = []
        for number in range(reader.size_of_list()[1]):
            start = reader.at
            element = reader.value(_STRUCT)
            if number and (element.get(5) or element.get(3) == _REPEATED or 1 not in element):
                raise ValueError("a column is a list or a structure")
            if number:
                found.append((element[1], reader.data[start : reader.at]))
        if len(found) != len(self._schema):
            raise ValueError("there are other columns than pyarrow finds")
        if self._metadata.num_row_groups:
            first = self._metadata.row_group(0)
            if any(first.column(number).compression not in _CODECS for number in range(len(found))):
                raise ValueError("a column is packed in a way that is not known here")
        return found

    def _find(self, group: int, number: int) -> _Column:
        column = self._metadata.row_group(group).column(number)
        at = column.data_page_offset
        if column.has_dictionary_page and column.dictionary_page_offset:
            at = min(at, column.dictionary_page_offset)
        stop = at + column.total_compressed_size
        dictionary: list[_Page] = []
        pages: list[_Page] = []
        while at < stop:
            page, kind = self._page(at)
            if kind == _DICTIONARY:
                dictionary.append(page)
            elif kind in (_DATA, _DATA_2):
                pages.append(page)
            at += page.size
        ends = tuple(itertools.accumulate(page.rows for page in pages))
        if not ends or ends[-1] != self._metadata.row_group(group).num_rows:
            raise ValueError("the pages of a column hold other rows than its row group")
        return _Column(tuple(dictionary), tuple(pages), ends)

    def _page(self, at: int) -> tuple[_Page, int]:
        """The page at this place, and of which kind it is."""
        reader, header = self._header(at)
        try:
            kind, size = header[1], reader.at + header[3]
            rows, coded = 0, False
            if kind in (_DATA, _DATA_2):
                told = header[5 if kind == _DATA else 8]
                rows, coded = told[1], told[2 if kind == _DATA else 4] in _CODED
            if header[3] < 0 or rows < 0:
                raise ValueError("a header is damaged")
        except (KeyError, TypeError) as error:  # a number is missing, or is none
            raise ValueError("a header is damaged") from error
        return _Page(at, size, rows, coded), kind

    def _header(self, at: int) -> "tuple[_Reader, dict[int, Any]]":
        """The header of the page at this place, and the reader behind it."""
        for size in _HEADERS:
            reader = _Reader(os.pread(self._file, size, at))
            try:
                return reader, reader.value(_STRUCT)
            except ValueError:
                if size == _HEADERS[-1]:
                    raise
        raise AssertionError("unreachable")


@functools.cache
def _helper() -> ThreadPoolExecutor:
    """One thread: each keeps memory of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="tuiwb pages")


class _Reader:
    """Values in thrift's compact protocol; whatever is damaged is a `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a structure; the caller reads its value before the next."""
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            yield field, head & 15

    def value(self, kind: int, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise ValueError("a header is damaged")
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, _I32, _I64):
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind in (_LIST, 10):
            inner, size = self.size_of_list()
            return [self.value(3 if inner in (1, 2) else inner, depth + 1) for _ in range(size)]
        if kind == _STRUCT:
            return {field: self.value(inner, depth + 1) for field, inner in self.fields()}
        raise ValueError("a header is damaged")

    def size_of_list(self) -> tuple[int, int]:
        """Type of the values and how many follow."""
        head = self._byte()
        return head & 15, self._unsigned() if head >> 4 == 15 else head >> 4

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        if len(found) < size:
            raise ValueError("a header is cut off")
        self.at += size
        return found

    def _unsigned(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7

    def _signed(self) -> int:
        found = self._unsigned()
        return (found >> 1) ^ -(found & 1)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _zigzag(value: int) -> bytes:
    return _varint(value << 1)


def _field(number: int, kind: int) -> bytes:
    return bytes([kind]) + _zigzag(number)


def _number(number: int, kind: int, value: int) -> bytes:
    return _field(number, kind) + _zigzag(value)


def _binary(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _several(number: int, kind: int, values: list[bytes]) -> bytes:
    return _field(number, _LIST) + bytes([0xF0 | kind]) + _varint(len(values)) + b"".join(values)


_ROOT = _field(4, _BINARY) + _binary(b"schema") + _number(5, _I32, 1) + b"\0"
"""The description of a table with one column."""
