"""How a file is cut into rows: block by block, without parsing them.

A splitter is fed the blocks of a file in order and says which rows have become complete. It keeps what it needs of the
past itself, so blocks may be cut anywhere, inside a character or an escape too.
"""

import csv
import itertools
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tuiwb.data.offsets import Found

_NEWLINE, _RETURN = 10, 13
_NOTHING = (np.empty(0, np.int64), np.empty(0, np.uint32))

# A field may be as long as its row.
csv.field_size_limit(1 << 30)


class Splitter(Protocol):
    def feed(self, block: bytes, at: int) -> Found:
        """The rows that this block completes.

        Args:
            at: place of the block's first byte in the file.
        """

    def finish(self, size: int) -> Found:
        """The row that the end of the file completes, if there is one."""

    def faults(self) -> list[tuple[str, str, int | None]]:
        """What is wrong with the file's frame, as (problem code, detail, line)."""


class LineSplitter:
    """A row is a line that is not blank (JSON lines, plain text)."""

    def __init__(self, start: int = 0) -> None:
        """
        Args:
            start: bytes to pass over at the beginning (a byte order mark).
        """
        self._start = start
        self._line = 1
        self._blank_so_far = True

    def feed(self, block: bytes, at: int) -> Found:
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        if not len(ends):
            self._blank_so_far = self._blank_so_far and not block.strip()
            return Found(*_NOTHING, self._start)
        starts = np.empty(len(ends), np.int64)
        starts[0] = max(self._start - at, 0)
        starts[1:] = ends[:-1] + 1
        keep = self._not_blank(block, data, starts, ends)
        lines = np.arange(self._line, self._line + len(ends), dtype=np.uint32)
        first, self._start = self._start, at + int(ends[-1]) + 1
        self._line += len(ends)
        self._blank_so_far = not block[int(ends[-1]) + 1 :].strip()
        starts += at
        starts[0] = first
        return Found(starts[keep], lines[keep], self._start)

    def finish(self, size: int) -> Found:
        if self._blank_so_far:
            return Found(*_NOTHING, self._start)
        return Found(np.array([self._start], np.int64), np.array([self._line], np.uint32), size)

    def faults(self) -> list[tuple[str, str, int | None]]:
        return []

    def _not_blank(
        self, block: bytes, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        lengths = ends - starts
        first = data[np.minimum(starts, len(data) - 1)]
        keep: npt.NDArray[np.bool_] = (lengths > 1) | ((lengths == 1) & (first != _RETURN))
        # A line that begins with white space is rare, and may be nothing else.
        for number in np.flatnonzero(keep & (first <= 32)):
            keep[number] = bool(block[starts[number] : ends[number]].strip())
        keep[0] = not self._blank_so_far or bool(block[starts[0] : ends[0]].strip())
        return keep


class ArraySplitter:
    """A row is an element of a JSON array, which may be written on one line or on many.

    Only quotes, backslashes, brackets and commas are looked at, so an element that is no JSON is found broken when it
    is read, and those after it are still there, as long as its brackets and quotes match.
    """

    _CLASSES = bytes.maketrans(
        bytes(range(256)),
        bytes({34: 1, 92: 2, 91: 3, 123: 3, 93: 4, 125: 4, 44: 5}.get(byte, 0) for byte in range(256)),
    )
    _QUOTE, _BACKSLASH, _OPEN, _CLOSE, _COMMA = 1, 2, 3, 4, 5

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = 0
        self._escaping = 0
        self._line = 1
        self._row: int | None = None
        self._row_line = 1
        self._end = 0
        self._blank_so_far = True
        self._closed_line: int | None = None
        self._rest_line: int | None = None

    def feed(self, block: bytes, at: int) -> Found:
        data = np.frombuffer(block, np.uint8)
        newlines = np.flatnonzero(data == _NEWLINE)
        at_line = self._line
        self._line += len(newlines)
        if self._closed_line is not None:
            self._note_rest(block, at_line)
            return Found(*_NOTHING, self._end)
        places, depths = self._frame(data, block)
        if self._row is None:
            # The opening bracket of the array, and what is after it belongs to the first row.
            opening = np.flatnonzero(depths == 1)
            if not len(opening):
                return Found(*_NOTHING, self._end)
            self._row = at + int(places[opening[0]]) + 1
            self._row_line = at_line + int(np.searchsorted(newlines, places[opening[0]]))
            places, depths = places[opening[0] + 1 :], depths[opening[0] + 1 :]
        closing = np.flatnonzero(depths == 0)
        if len(closing):
            last = int(places[closing[0]])
            places = places[: closing[0] + 1]
            depths = depths[: closing[0] + 1]
            self._closed_line = at_line + int(np.searchsorted(newlines, last))
            self._note_rest(block[last + 1 :], self._closed_line)
        cuts = places[(depths == 1) & (data[places] == 44) | (depths == 0)]
        return self._rows(block, at, cuts, at_line + np.searchsorted(newlines, cuts))

    def finish(self, size: int) -> Found:
        if self._closed_line is not None or self._row is None or self._blank_so_far:
            return Found(*_NOTHING, self._end)
        return Found(np.array([self._row], np.int64), np.array([self._row_line], np.uint32), size)

    def faults(self) -> list[tuple[str, str, int | None]]:
        if self._closed_line is None:
            return [("array_not_closed", "the array has no closing bracket: the file was cut off", self._line)]
        if self._rest_line is not None:
            return [("after_array", "something follows the array's closing bracket, and is not read", self._rest_line)]
        return []

    def _rows(self, block: bytes, at: int, cuts: npt.NDArray[np.int64], cut_lines: npt.NDArray[np.int64]) -> Found:
        """The rows that end at `cuts`, places in the block of the commas between rows and of the closing bracket."""
        assert self._row is not None
        if not len(cuts):
            self._blank_so_far = self._blank_so_far and not block[max(self._row - at, 0) :].strip()
            return Found(*_NOTHING, self._end)
        starts = np.concatenate(([self._row], cuts[:-1] + 1 + at)).astype(np.int64)
        lines = np.concatenate(([self._row_line], cut_lines[:-1])).astype(np.uint32)
        last = int(cuts[-1])
        if self._closed_line is not None:
            begun = max(int(starts[-1]) - at, 0)
            carried = len(starts) == 1 and not self._blank_so_far
            if not carried and not block[begun:last].strip():
                # `[]`, or a comma before the closing bracket.
                starts, lines = starts[:-1], lines[:-1]
        self._row, self._row_line = at + last + 1, int(cut_lines[-1])
        self._blank_so_far = not block[last + 1 :].strip()
        # The separator belongs to the row's span and is cut off when the row is read.
        self._end = at + last
        return Found(starts, lines, self._end)

    def _frame(self, data: npt.NDArray[np.uint8], block: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of the brackets and commas outside strings, and the depth after each."""
        classes = np.frombuffer(block.translate(self._CLASSES), np.uint8)
        places = np.flatnonzero(classes != 0)  # as truth values: five times faster
        kinds = classes[places]
        quotes = self._unescaped(places, kinds, len(data))
        inside = (np.cumsum(quotes) + self._in_string) & 1
        if len(inside):
            self._in_string = int(inside[-1])
        outside = (inside == 0) & (kinds >= self._OPEN)
        places, kinds = places[outside], kinds[outside]
        steps = (kinds == self._OPEN).astype(np.int64) - (kinds == self._CLOSE)
        depths = self._depth + np.cumsum(steps)
        if len(depths):
            self._depth = int(depths[-1])
        return places, depths

    def _unescaped(
        self, places: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8], size: int
    ) -> npt.NDArray[np.bool_]:
        """Which of the places are quotes that open or close a string."""
        quotes: npt.NDArray[np.bool_] = kinds == self._QUOTE
        slashes = places[kinds == self._BACKSLASH]
        carried, self._escaping = self._escaping, 0
        if not len(slashes):
            if carried and len(quotes) and places[0] == 0:
                quotes[0] = False
            return quotes
        # Backslashes come in runs; the character after a run is escaped if the run is odd.
        new_run = np.concatenate(([True], np.diff(slashes) != 1))
        run_start = np.flatnonzero(new_run)[np.cumsum(new_run) - 1]
        length = np.arange(len(slashes)) - run_start + 1
        if carried and slashes[0] == 0:
            length[run_start == 0] += 1
        elif carried and places[0] == 0:
            quotes[0] = False
        if slashes[-1] == size - 1:
            self._escaping = int(length[-1]) & 1
        wanted = np.flatnonzero(quotes)
        before = np.minimum(np.searchsorted(slashes, places[wanted] - 1), len(slashes) - 1)
        escaped = (slashes[before] == places[wanted] - 1) & (length[before] & 1 == 1)
        quotes[wanted[escaped]] = False
        return quotes

    def _note_rest(self, rest: bytes, line: int) -> None:
        stripped = rest.lstrip()
        if stripped and self._rest_line is None:
            self._rest_line = line + rest[: len(rest) - len(stripped)].count(b"\n")


class CsvSplitter:
    """A row is a CSV record, which spans lines where a quoted field holds a newline. Blank lines are none.

    A quote that is never closed would swallow the rest of the file: its line becomes a row of its own, which is found
    broken when it is read.
    """

    LONGEST_RECORD = 32 << 20
    _SENTINEL = "\x00end of block\x00"

    def __init__(self, delimiter: str, start: int = 0) -> None:
        """
        Args:
            start: bytes to pass over at the beginning (a byte order mark).
        """
        self._delimiter = delimiter
        self._at = start
        self._rest = b""
        self._line = 1
        self._endless = False
        """Within a line that is longer than any record: it is a row, and its bytes are not kept."""

    def feed(self, block: bytes, at: int) -> Found:
        if self._endless:
            end = block.find(b"\n") + 1
            if not end:
                return Found(*_NOTHING, self._at)
            row = self._line_until(at + end)
            found = self._feed(block[end:])
            return Found(np.append(row.starts, found.starts), np.append(row.lines, found.lines), found.end)
        return self._feed(block[self._at :] if at == 0 else block)

    def finish(self, size: int) -> Found:
        return self._line_until(size) if self._endless else self._take(len(self._rest), last=True)

    def _feed(self, more: bytes) -> Found:
        self._rest += more
        if len(self._rest) > self.LONGEST_RECORD and b"\n" not in self._rest:
            self._endless, self._rest = True, b""
        return self._take(self._rest.rfind(b"\n") + 1, last=False)

    def _line_until(self, end: int) -> Found:
        found = Found(np.array([self._at], np.int64), np.array([self._line], np.uint32), end)
        self._at, self._line, self._endless = end, self._line + 1, False
        return found

    def faults(self) -> list[tuple[str, str, int | None]]:
        return []

    def _take(self, size: int, *, last: bool) -> Found:
        """The records in the first `size` bytes of what has not been given out."""
        if not size:
            return Found(*_NOTHING, self._at)
        chunk = self._rest[:size]
        ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE) + 1
        if chunk[-1] != _NEWLINE:
            ends = np.append(ends, size)
        begins = np.concatenate(([0], ends[:-1]))
        if b'"' in chunk:
            force = last or size > self.LONGEST_RECORD
            numbers, used = self._records([chunk[b:e] for b, e in zip(begins, ends, strict=True)], force=force)
        else:
            used = len(begins)
            blank = [n for n in np.flatnonzero(ends - begins <= 2) if not chunk[begins[n] : ends[n]].strip()]
            numbers = np.delete(np.arange(used), blank)
        found_starts = begins[numbers] + self._at
        found_lines = (numbers + self._line).astype(np.uint32)
        taken = int(ends[used - 1]) if used else 0
        self._rest = self._rest[taken:]
        self._at += taken
        self._line += used
        return Found(found_starts, found_lines, self._at)

    def _records(self, lines: list[bytes], *, force: bool) -> tuple[npt.NDArray[np.int64], int]:
        """First line of each record, from 0, and how many lines they take together; with `force` all of them.

        Python's reader decides. A line put behind the last one shows whether the last record is complete, because an
        open quote swallows it.
        """
        # A carriage return elsewhere than at a line's end makes the reader give up, and cuts nothing.
        texts = [line.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", " ") for line in lines]
        numbers: list[int] = []
        begin = 0
        while True:
            reader = csv.reader(itertools.chain(texts[begin:], [self._SENTINEL]), delimiter=self._delimiter)
            at, record = begin, [self._SENTINEL]
            for record in reader:
                if record and at < len(texts):
                    numbers.append(at)
                previous, at = at, begin + reader.line_num
            if record == [self._SENTINEL]:
                return np.array(numbers, np.int64), len(texts)
            if not force:
                return np.array(numbers[:-1], np.int64), previous
            begin = previous + 1
