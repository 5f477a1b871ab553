"""Rows of binary tables, which know their own rows: parquet, and arrow as datasets' `save_to_disk` writes it."""

import bisect
import contextlib
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.tasks import Task
from tuiwb.data import arrow_file
from tuiwb.data.needle import Needle, Places, joined
from tuiwb.data.pages import Pages
from tuiwb.data.rows import MISSING, Row
from tuiwb.data.spill import Spilled

_KEPT = 3
"""Decoded pieces that are kept for the next page, and row groups that are kept in a file."""

_MOST = 16 << 20
"""Bytes of decoded pieces; as many as that holds are kept too."""

_PIECE = 1000
"""Rows that are decoded at a time within a large row group."""

_FEW = 100
"""Rows that are fewer than those of a page, as a rule."""

_BUFFER = 1 << 20
"""Bytes of a column that are read at a time."""

_BATCH = 64 << 20
"""Bytes; a record batch that has no more is read whole."""

_SPILLED = 4 << 30
"""Bytes; a row group that has more when it is unpacked is not kept in a file."""

_GROUP = 16 << 20
"""Bytes; a row group that has no more when it is unpacked is decoded whole, and kept so."""


_DAMAGED = (ValueError, KeyError, NotImplementedError, MemoryError)
"""What pyarrow raises for content that is not as it should be."""


class TableStore:
    """See `rows.RowStore`. A table is read in pieces, each some rows long."""

    def __init__(self, path: Path, kind: str, lengths: list[int], names: list[str]) -> None:
        self.path = path
        self.kind = kind
        self.address: dict[str, Any] | None = {"path": str(path)}
        self.nbytes = path.stat().st_size
        self._names = names
        self._ends = list(itertools.accumulate(lengths))
        self._pieces: OrderedDict[tuple[int, str | None], Any] = OrderedDict()
        self._reading = threading.Lock()
        self._indexed = False
        """Every row is known from the start; being asked for all of them makes rows from anywhere worth their time."""

    @property
    def packed(self) -> bool:
        return True

    @property
    def known(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def complete(self) -> bool:
        return self._indexed

    def index(self, task: Task | None = None) -> None:
        self._indexed = True
        if task:
            task.step("indexing", self.known, self.known, "rows")

    def row(self, number: int) -> Row:
        if not 0 <= number < self.known:
            raise IndexError(f"row {number} of {self.known}")
        return self.rows(number, 1)[0]

    def rows(self, start: int, count: int) -> list[Row]:
        return [
            Row(at + n, None, value)
            for at, part in self._parts(start, min(start + count, self.known))
            for n, value in enumerate(self._values(part, range(at, at + len(part))))
        ]

    def pick(self, numbers: Sequence[int]) -> Iterator[Row]:
        at = 0
        while at < len(numbers):
            piece = bisect.bisect_right(self._ends, numbers[at])
            end, first = bisect.bisect_left(numbers, self._ends[piece], at), self._ends[piece - 1] if piece else 0
            some, at = numbers[at:end], end
            values = self._values(self._piece(piece, None).take([number - first for number in some]), some)
            yield from (Row(number, None, value) for number, value in zip(some, values, strict=True))

    def raw(self, number: int, limit: int | None = None) -> bytes:
        raw = orjson.dumps(self.row(number).value, default=str, option=orjson.OPT_NON_STR_KEYS)
        return raw if limit is None else raw[:limit]

    def scan(self, task: Task | None = None, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        end = self.known if stop is None else min(stop, self.known)
        for at in range(start, end, _PIECE):
            yield from self.rows(at, min(_PIECE, end - at))
            if task:
                task.step("reading", min(at + _PIECE, end), end, "rows")

    def holding(self, needle: Needle, start: int, stop: int) -> Places:
        from tuiwb.data.arrow_words import holding

        return joined([holding(part, needle).moved(at) for at, part in self._parts(start, stop)])

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        if name not in self._names or "." in name:  # parquet takes a point for a way into a structure
            rows = self.rows(start, stop - start)
            return [row.value.get(name, MISSING) for row in rows]
        parts = self._parts(start, stop, name)
        return [value for at, part in parts for value in self._values(part.column(name), range(at, at + len(part)))]

    def file_of(self, number: int) -> Path:
        return self.path

    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def columns(self) -> list[str]:
        return self._names

    def faults(self) -> list[tuple[str, str, int | None]]:
        return []

    def close(self) -> None:
        self._pieces.clear()

    def _parts(self, start: int, stop: int, name: str | None = None) -> Iterator[tuple[int, Any]]:
        """Tables or batches that hold the rows from `start` up to `stop`, each with the number of its first row."""
        while start < stop:
            piece = bisect.bisect_right(self._ends, start)
            first = self._ends[piece - 1] if piece else 0
            count = min(stop, self._ends[piece]) - start
            yield start, self._piece(piece, name).slice(start - first, count)
            start += count

    def _piece(self, number: int, name: str | None) -> Any:
        """The arrow table or batch of a piece, all columns or one, read or from the few that are kept. Only the rows
        that are asked for become Python values, which is what takes time."""
        with self._reading:
            known = self._pieces.get((number, None)) or self._pieces.get((number, name))
            if known is not None:
                self._pieces.move_to_end((number, None) if (number, None) in self._pieces else (number, name))
                return known
            try:
                found = self._decode(number, name)
            except OSError as error:
                why = self._gone() or f"cannot be read ({error.strerror or _first_line(error)})"
                raise EnvironmentFault(why, file=self.path) from error
            except _DAMAGED as error:
                if gone := self._gone():
                    raise EnvironmentFault(gone, file=self.path) from error
                raise InputFault(f"a part of the file cannot be decoded ({error})", file=self.path) from error
            self._pieces[number, name] = found
            while len(self._pieces) > _KEPT and sum(piece.nbytes for piece in self._pieces.values()) > _MOST:
                self._pieces.popitem(last=False)
            return found

    def _values(self, found: Any, numbers: Sequence[int]) -> list[Any]:
        """The Python values of an arrow table, batch or column of these rows."""
        try:
            values: list[Any] = found.to_pylist()
        except (ValueError, OverflowError) as error:  # text that is no UTF-8, or a date that Python does not know
            for at, number in enumerate(numbers):
                try:
                    found.slice(at, 1).to_pylist()
                except (ValueError, OverflowError) as first:
                    why = f"row {number + 1} holds a value that cannot be read ({_first_line(first)})"
                    raise InputFault(why, file=self.path) from error
            raise
        return values

    def _gone(self) -> str:
        """What is said where the file, or its end, is missing now."""
        with contextlib.suppress(FileNotFoundError):
            return arrow_file.SHORTER if self.path.stat().st_size < self.nbytes else ""
        return "the file has vanished since it was opened"

    def _has(self, number: int) -> bool:
        """Whether a piece is kept with all its columns."""
        with self._reading:
            return (number, None) in self._pieces

    def _decode(self, number: int, name: str | None) -> Any:
        raise NotImplementedError


class ParquetStore(TableStore):
    """A small row group is decoded whole. A large one is decoded in pieces of some rows: by its pages where they can be
    told apart, else front to back and once, into a file from which its pieces are read again."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputFault: this is no readable parquet file.
        """
        import pyarrow.parquet as pq

        self._pages: Pages | None = None
        try:
            # Not mapped: what was read of a map counts as ours, and a file that shrinks would end the process.
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER)
            names = list(self._file.schema_arrow.names)
            with contextlib.suppress(ValueError):
                self._pages = Pages(path, self._file)
        except (OSError, *_DAMAGED) as error:
            raise InputFault(f"this parquet file cannot be read ({_first_line(error)})", file=path) from error
        metadata = self._file.metadata
        lengths: list[int] = []
        self._place: list[tuple[int, int | None]] = []  # piece -> row group, and piece within it if that is not all
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if metadata.row_group(group).total_byte_size <= _GROUP:
                parts = [rows] if rows else []
                self._place += [(group, None)] * len(parts)
            else:
                parts = [min(_PIECE, rows - at) for at in range(0, rows, _PIECE)]
                self._place += [(group, part) for part in range(len(parts))]
            lengths += parts
        self._batches: dict[str | None, tuple[int, int, Iterator[Any]]] = {}
        self._spilled: OrderedDict[int, Spilled] = OrderedDict()
        self._may_spill = True
        self._asked = -1
        """The piece of which a few rows were asked for last."""
        super().__init__(path, "parquet", lengths, names)

    def rows(self, start: int, count: int) -> list[Row]:
        """The first few rows of a piece that are asked for are read alone; with the next, it is worth decoding. So is
        the beginning, to which everybody comes back."""
        piece = bisect.bisect_right(self._ends, start)
        if 0 < count <= _FEW and start > 0 and start + count <= self.known and start + count <= self._ends[piece]:
            before, self._asked = self._asked, piece
            if piece != before and not self._has(piece):
                group, part = self._place[piece]
                first = start - (self._ends[piece - 1] if piece else 0) + (part or 0) * _PIECE
                found = self._by_pages(group, first, count, keep=False)
                if found is not None:
                    return [
                        Row(start + n, None, value)
                        for n, value in enumerate(self._values(found, range(start, start + count)))
                    ]
        return super().rows(start, count)

    def close(self) -> None:
        super().close()
        for spilled in self._spilled.values():
            spilled.close()
        self._file.close()
        if self._pages is not None:
            self._pages.close()

    def _decode(self, number: int, name: str | None) -> Any:
        group, part = self._place[number]
        columns = None if name is None else [name]
        if part is None:
            return self._file.read_row_group(group, columns=columns, use_threads=False)
        rows = self._ends[number] - (self._ends[number - 1] if number else 0)
        if (found := self._by_pages(group, part * _PIECE, rows, name)) is not None:
            return found
        if name is None and (kept := self._kept(group, part)) is not None:
            return kept
        before, at, batches = self._batches.get(name, (-1, 0, iter(())))
        if before != group or at > part:
            at = 0
            batches = self._file.iter_batches(_PIECE, row_groups=[group], columns=columns, use_threads=False)
        for _ in range(part - at):
            next(batches)
        batch = next(batches)
        self._batches[name] = (group, part + 1, batches)
        while len(self._batches) > _KEPT:
            self._batches.pop(next(iter(self._batches)))
        return batch

    def _kept(self, group: int, part: int) -> Any:
        """A piece of a row group that is decoded once and kept in a file; None where it cannot be, then never again:
        what is wrong is said by who reads the row group without one."""
        if self._may_spill and self._file.metadata.row_group(group).total_byte_size <= _SPILLED:
            try:
                if group not in self._spilled:
                    batches = self._file.iter_batches(_PIECE, row_groups=[group], use_threads=False)
                    self._spilled[group] = Spilled(self._file.schema_arrow, batches)
                    while len(self._spilled) > _KEPT:
                        self._spilled.popitem(last=False)[1].close()
                self._spilled.move_to_end(group)
                return self._spilled[group].batch(part)
            except (OSError, *_DAMAGED):
                self._may_spill = False
                self._spilled.clear()
        return None

    def _by_pages(self, group: int, first: int, count: int, name: str | None = None, *, keep: bool = True) -> Any:
        """See `Pages.read`; None where it cannot be done, and then never again. What is wrong with the file is said by
        who reads the row group."""
        pages = self._pages
        if pages is not None:
            try:
                return pages.read(group, first, count, name, keep=keep)
            except (ValueError, OSError, NotImplementedError, KeyError):
                self._pages = None
        return None


class ArrowStore(TableStore):
    """Arrow IPC, the file format and the stream format. Its record batches are read one by one; a file of large ones,
    or of one with dictionaries, is mapped, and some rows at a time are taken out of it."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputFault: this is no readable arrow file.
        """
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._schema = arrow_file.schema_of(path)
            names = list(self._schema.names)
            found = arrow_file.batches(self._file)
            self._batches = None if found is None or any(batch.size > _BATCH for batch in found) else found
            self._table: Any = None
            if self._batches is None:
                self._table = arrow_file.mapped(path)
        except (OSError, *_DAMAGED) as error:
            self._release()
            raise InputFault(f"this arrow file cannot be read ({_first_line(error)})", file=path) from error
        if self._batches is not None:
            lengths = [batch.rows for batch in self._batches]
        else:
            rows = self._table.num_rows
            lengths = [min(_PIECE, rows - at) for at in range(0, rows, _PIECE)]
        super().__init__(path, "arrow", lengths, names)

    def close(self) -> None:
        super().close()
        self._release()

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _decode(self, number: int, name: str | None) -> Any:
        if self._batches is not None:
            return arrow_file.read(self._file, self._batches[number], self._schema)
        if os.fstat(self._file).st_size < self.nbytes:  # reading where a map has no file would end the process
            raise ValueError(arrow_file.SHORTER)
        rows = self._ends[number] - number * _PIECE
        self._table.slice(number * _PIECE, rows).validate(full=True)  # as in `arrow_file.read`
        return self._table.take(list(range(number * _PIECE, number * _PIECE + rows)))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
