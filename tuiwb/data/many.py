"""Several files as one source: their rows one after the other."""

import bisect
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data.needle import Needle, Places, joined
from tuiwb.data.rows import Row, RowStore


class ManyStore:
    """See `rows.RowStore`. A file is opened when its rows are asked for or the index comes to it; one that cannot be
    read has no rows and is a fault of the source."""

    def __init__(
        self,
        path: Path,
        files: tuple[Path, ...],
        open_one: "_Open",
        *,
        stray: tuple[str, ...] = (),
        address: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            stray: files beside them that are no data.

        Raises:
            InputFault: not one of the files can be read.
        """
        self.path = path
        self._files = files
        self._address = address
        self._sizes = [file.stat().st_size for file in files]
        self.nbytes = sum(self._sizes)
        self._open_one = open_one
        self._stores: dict[int, RowStore] = {}
        self._ends: list[int] = []  # of the files that are indexed whole
        self._faults: list[tuple[str, str, int | None]] = [("stray_file", name, None) for name in stray]
        self._unread = 0
        self._why: InputFault | None = None
        self._lock = threading.RLock()
        deadline = time.monotonic() + 0.05
        while not self.complete and (not self.known or time.monotonic() < deadline):
            if not self._settle() and self.known:
                break
        if self._unread == len(files) and self._why:
            raise self._why

    @property
    def kind(self) -> str:
        kinds = sorted({store.kind for store in list(self._stores.values())})
        return f"{len(self._files)} files of {' and '.join(kinds)}" if len(self._files) > 1 else kinds[0]

    @property
    def address(self) -> dict[str, Any] | None:
        return None if any(store.address is None for store in self._stores.values()) else self._address

    @property
    def packed(self) -> bool:
        return any(store.packed for store in self._stores.values())

    @property
    def known(self) -> int:
        at, before = len(self._ends), self._ends[-1] if self._ends else 0
        store = self._stores.get(at)
        return before + (store.known if store else 0)

    @property
    def complete(self) -> bool:
        return len(self._ends) == len(self._files)

    def index(self, task: Task | None = None) -> None:
        while not self.complete:
            at = len(self._ends)
            store = self._store(at)
            if store is not None:
                store.index(_Within(task, sum(self._sizes[:at]), self.nbytes) if task else None)
            self._settle()

    def row(self, number: int) -> Row:
        part, before = self._part(number)
        return _moved(part.row(number - before), before)

    def rows(self, start: int, count: int) -> list[Row]:
        rows: list[Row] = []
        stop = min(start + count, self.known)
        while start < stop:
            part, before = self._part(start)
            found = part.rows(start - before, stop - start)
            if not found:
                break
            rows += [_moved(row, before) for row in found]
            start += len(found)
        return rows

    def pick(self, numbers: Sequence[int]) -> Iterator[Row]:
        at = 0
        while at < len(numbers):
            part, before = self._part(numbers[at])
            end = bisect.bisect_left(numbers, before + part.known, at)
            for row in part.pick([number - before for number in numbers[at:end]]):
                yield _moved(row, before)
            at = end

    def raw(self, number: int, limit: int | None = None) -> bytes:
        part, before = self._part(number)
        return part.raw(number - before, limit)

    def scan(self, task: Task | None = None, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        self.index(task)
        total = self.known if stop is None else min(stop, self.known)
        for part, before, first, last in self._parts(start, total):
            for row in part.scan(None, first - before, last - before):
                yield _moved(row, before)
            if task:
                task.step("reading", last, total, "rows")

    def holding(self, needle: Needle, start: int, stop: int) -> Places:
        return joined(
            [
                part.holding(needle, first - before, last - before).moved(before)
                for part, before, first, last in self._parts(start, stop)
            ]
        )

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        values: list[Any] = []
        for part, before, first, last in self._parts(start, stop):
            values += part.column(name, first - before, last - before)
        return values

    def files(self) -> tuple[Path, ...]:
        return self._files

    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for store in list(self._stores.values()) for name in store.columns()))

    def faults(self) -> list[tuple[str, str, int | None]]:
        found = list(self._faults)
        for at, store in sorted(self._stores.items()):
            found += [(code, f"{self._files[at].name}: {said}", line) for code, said, line in store.faults()]
        return found

    def file_of(self, number: int) -> Path:
        """The file that holds a row."""
        return self._files[bisect.bisect_right(self._ends, number)]

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    def _part(self, number: int) -> tuple[RowStore, int]:
        """The store of a known row, and the number of its first row."""
        if not 0 <= number < self.known:
            raise IndexError(f"row {number} of {self.known}")
        at = bisect.bisect_right(self._ends, number)
        store = self._store(at)
        assert store is not None  # a file without a store has no rows
        return store, self._ends[at - 1] if at else 0

    def _parts(self, start: int, stop: int) -> Iterator[tuple[RowStore, int, int, int]]:
        """Store, number of its first row, and the stretch of known rows in it, for each file of the range."""
        for at, (before, end) in enumerate(itertools.pairwise([0, *self._ends, self.known])):
            first, last = max(start, before), min(stop, end)
            if first < last and (store := self._store(at)) is not None:
                yield store, before, first, last

    def _store(self, at: int) -> RowStore | None:
        with self._lock:
            if at not in self._stores and at < len(self._files):
                try:
                    self._stores[at] = self._open_one(self._files[at])
                except InputFault as error:
                    self._why = self._why or error
                    return None
            return self._stores.get(at)

    def _settle(self) -> bool:
        """Count the file that the index is at, if it is known whole; false where it is not."""
        with self._lock:
            at = len(self._ends)
            before = self._ends[-1] if self._ends else 0
            store = self._store(at)
            if store is None:
                self._unread += 1
                self._faults.append(("unreadable_file", f"{self._files[at].name}: {self._why_of(at)}", None))
                self._ends.append(before)
            elif store.complete:
                self._ends.append(before + store.known)
            return len(self._ends) > at

    def _why_of(self, at: int) -> str:
        try:
            self._open_one(self._files[at]).close()
        except InputFault as error:
            return error.message
        return "it has changed"


_Open = Callable[[Path], RowStore]


class _Within(Task):
    """How far one file is, told as how far all are."""

    def __init__(self, whole: Task, before: int, total: int) -> None:
        super().__init__()
        self._whole, self._before, self._total = whole, before, total

    def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        if unit == "bytes":
            self._whole.step(doing, self._before + done, self._total, unit)
        else:
            self._whole.step(doing, self._before, self._total, "bytes")


def _moved(row: Row, by: int) -> Row:
    return Row(row[0] + by, row[1], row[2], row[3]) if by else row
