"""A source with its journal laid over it: rows that were corrected are the corrected ones, all others untouched."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tuiwb.base.tasks import Task
from tuiwb.data.decode import LONGEST_ROW
from tuiwb.data.journal import Journal, Mark, hash_of
from tuiwb.data.needle import Needle, Places
from tuiwb.data.rows import MISSING, Row, RowStore


class EditedStore:
    """See `rows.RowStore`. Numbers, lines and everything that has no mark are those of the source."""

    def __init__(self, source: RowStore, journal: Journal) -> None:
        self.source = source
        self.journal = journal
        self._hashes: dict[int, str] = {}

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def nbytes(self) -> int:
        return self.source.nbytes

    @property
    def address(self) -> dict[str, Any] | None:
        where = self.source.address
        return where if where is None or not self.journal.marks else {**where, "journal": str(self.journal.path)}

    @property
    def packed(self) -> bool:
        return self.source.packed

    @property
    def known(self) -> int:
        return self.source.known

    @property
    def complete(self) -> bool:
        return self.source.complete

    def index(self, task: Task | None = None) -> None:
        self.source.index(task)

    def mark(self, number: int) -> Mark | None:
        """What was done to a row, if its bytes are still those it was done to."""
        mark = self.journal.marks.get(number)
        return mark if mark is not None and mark.of == self.hash_of(number) else None

    def hash_of(self, number: int) -> str:
        """The hash of a row of the source, by which its mark knows it again; of its beginning where it is too long."""
        if number not in self._hashes:
            raw = self.source.raw(number, LONGEST_ROW) if number < self.source.known else None
            self._hashes[number] = "" if raw is None else hash_of(raw)
        return self._hashes[number]

    def stale(self) -> list[int]:
        """Rows with a mark that is not applied, because the source has other bytes there now."""
        return [number for number in sorted(self.journal.marks) if self.mark(number) is None]

    def row(self, number: int) -> Row:
        return self._edited(self.source.row(number))

    def rows(self, start: int, count: int) -> list[Row]:
        rows = self.source.rows(start, count)
        return [self._edited(row) for row in rows] if self.journal.marks else rows

    def pick(self, numbers: Sequence[int]) -> Iterator[Row]:
        return map(self._edited, self.source.pick(numbers))

    def raw(self, number: int, limit: int | None = None) -> bytes:
        mark = self.mark(number)
        if mark is None or mark.value is None:
            return self.source.raw(number, limit)
        raw = orjson.dumps(mark.value, option=orjson.OPT_NON_STR_KEYS)
        return raw if limit is None else raw[:limit]

    def scan(self, task: Task | None = None, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        rows = self.source.scan(task, start, stop)
        return map(self._edited, rows) if self.journal.marks else rows

    def holding(self, needle: Needle, start: int, stop: int) -> Places:
        found = self.source.holding(needle, start, stop)
        corrected = np.array(self._corrected(start, stop), np.int64)
        if not len(corrected):
            return found
        return Places(np.setdiff1d(found.sure, corrected), np.union1d(found.maybe, corrected))

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        values = self.source.column(name, start, stop)
        for number in self._corrected(start, stop):
            values[number - start] = self.row(number).value.get(name, MISSING)
        return values

    def _corrected(self, start: int, stop: int) -> list[int]:
        return sorted(row for row, mark in self.journal.marks.items() if mark.value is not None and start <= row < stop)

    def file_of(self, number: int) -> Path:
        return self.source.file_of(number)

    def files(self) -> tuple[Path, ...]:
        return self.source.files()

    def columns(self) -> list[str]:
        return self.source.columns()

    def faults(self) -> list[tuple[str, str, int | None]]:
        return self.source.faults()

    def close(self) -> None:
        self.source.close()

    def _edited(self, row: Row) -> Row:
        if row.id not in self.journal.marks:
            return row
        mark = self.mark(row.id)
        return row if mark is None or mark.value is None else Row(row.id, row.line, mark.value)
