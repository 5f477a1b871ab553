"""Where the rows of a file start, and on which line: an array that grows while others read it, and its cache."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuiwb.base import atomic, paths
from tuiwb.base.errors import TuiwbError

ENTRY = np.dtype([("start", "<i8"), ("line", "<u4")])
"""A row's first byte and its line, from 1."""

KEEP_INDEXES = 32
"""Cached indexes; the one used longest ago goes first."""


class Found(NamedTuple):
    """Rows that a splitter found complete: `starts` (n,) int64, `lines` (n,) uint32, and where the last one ends."""

    starts: npt.NDArray[np.int64]
    lines: npt.NDArray[np.uint32]
    end: int


class _Now(NamedTuple):
    """What readers see; replaced as a whole, so that a reader never meets half an append."""

    entries: npt.NDArray[np.void]
    rows: int
    end: int


class Offsets:
    """Append-only. One thread appends, any number read."""

    def __init__(self) -> None:
        self._now = _Now(np.empty(1024, ENTRY), 0, 0)

    def __len__(self) -> int:
        return self._now.rows

    def append(self, found: Found, *, capacity: int = 0) -> None:
        """Add rows that follow the known ones.

        Args:
            capacity: rows to make room for, as far as one can tell; untouched room costs no memory.
        """
        entries, count, _ = self._now
        total = count + len(found.starts)
        if total > len(entries):
            grown = np.empty(max(total, capacity, 2 * len(entries)), ENTRY)
            grown[:count] = entries[:count]
            entries = grown
        entries["start"][count:total] = found.starts
        entries["line"][count:total] = found.lines
        self._now = _Now(entries, total, found.end)

    def span(self, first: int, count: int = 1) -> tuple[int, int]:
        """Bytes of `count` rows from `first`: start and end, the end exclusive.

        Raises:
            IndexError: there are no such rows.
        """
        entries, known, end = self._now
        last = first + count
        if not 0 <= first < last <= known:
            raise IndexError(f"rows {first} to {last - 1} of {known}")
        return int(entries["start"][first]), int(entries["start"][last]) if last < known else end

    def places(self, first: int, count: int) -> tuple[list[int], list[int]]:
        """First bytes of `count` rows from `first` and the end of the last one (count + 1), and their lines (count)."""
        _, end = self.span(first, count)
        entries = self._now.entries[first : first + count]
        return [*entries["start"].tolist(), end], entries["line"].tolist()

    def bounds(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """First bytes of `count` rows from `first` and the end of the last one, `(count + 1,)`."""
        start, end = self.span(first, count)
        places = np.empty(count + 1, np.int64)
        places[:count] = self._now.entries["start"][first : first + count]
        places[0], places[count] = start, end
        return places

    def save(self, path: Path) -> None:
        """Keep the finished index in the cache and read it from there. A cache that cannot be written is no error."""
        entries, count, end = self._now
        table = np.empty(1, ENTRY)
        table[0] = (end, 0)
        with contextlib.suppress(OSError, TuiwbError):
            paths.private_folder(path.parent)
            with atomic.replacing(path) as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": ENTRY.descr, "fortran_order": False, "shape": (count + 1,)}
                )
                file.write(entries[:count].data)
                file.write(table.data)
            self.load(path)
            _prune(path.parent)

    def load(self, path: Path) -> bool:
        """Take a cached index; False when there is none that can be used."""
        try:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
            if table.dtype != ENTRY or table.ndim != 1 or len(table) < 1:
                return False
            os.utime(path)
        except (OSError, ValueError):
            return False
        # A plain array on the mapped memory: numpy's own class for it is slow to index.
        self._now = _Now(table.view(np.ndarray), len(table) - 1, int(table["start"][-1]))
        return True


def cache_file(folder: Path, source: Path, status: os.stat_result, how: str) -> Path:
    """The name of the index of a file as it is now: path, size, time of change and the way it was split."""
    what = f"{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\0{how}"
    return folder / f"{hashlib.sha256(what.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npy"


def _prune(folder: Path) -> None:
    kept = sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in kept[KEEP_INDEXES:]:
        old.unlink(missing_ok=True)
