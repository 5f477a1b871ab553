"""Curves in braille: two by four dots a cell. Pure functions; the widget is in chart.py."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tuiwb.monitor import Bucket

# The bit of each dot of a cell, by row and column (Unicode, Braille Patterns).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass(frozen=True, slots=True)
class Trace:
    """One line of a plot: what is drawn, and the number of its tone (later ones are drawn over earlier ones)."""

    buckets: Sequence[Bucket]
    tone: int


@dataclass(frozen=True, slots=True)
class Range:
    """What the corners of a plot stand for. With `log` the y axis is logarithmic, and values up to 0 are not drawn."""

    start: float
    end: float
    low: float
    high: float
    log: bool = False

    def column(self, x: float, columns: int) -> int:
        """The column of `columns` that x falls into."""
        span = self.end - self.start
        return min(max(int((x - self.start) / span * columns), 0), columns - 1) if span > 0 else 0

    def row(self, y: float, rows: int) -> int | None:
        """The row of `rows`, 0 at the top; None for what a logarithmic axis lacks."""
        low, high, value = self.low, self.high, y
        if self.log:
            if y <= 0:
                return None
            low, high, value = math.log10(self.low), math.log10(self.high), math.log10(y)
        if high <= low:
            return rows // 2
        return min(max(round((high - value) / (high - low) * (rows - 1)), 0), rows - 1)


def plot(traces: Sequence[Trace], width: int, height: int, view: Range) -> list[list[tuple[str, int]]]:
    """Draw traces into `width` by `height` cells.

    Returns:
        for each row of cells, runs of text with the tone of their last trace (-1: empty), from left to right.
    """
    bits = [[0] * width for _ in range(height)]
    tones = [[-1] * width for _ in range(height)]
    columns, rows = width * 2, height * 4

    def dot(tone: int, column: int, row: int) -> None:
        y, x = row // 4, column // 2
        bits[y][x] |= _DOTS[row % 4][column % 2]
        tones[y][x] = tone

    for trace in traces:
        before: tuple[int, int] | None = None
        for bucket in trace.buckets:
            column = view.column(bucket.x, columns)
            first, last = view.row(bucket.first, rows), view.row(bucket.last, rows)
            top, bottom = view.row(bucket.high, rows), view.row(bucket.low, rows)
            if top is None or first is None or last is None:
                before = None
                continue
            if before is not None:
                _line(before, (column, first), partial(dot, trace.tone))
            for row in range(top, (rows - 1 if bottom is None else bottom) + 1):
                dot(trace.tone, column, row)
            before = (column, last)
    return [_runs(bits[y], tones[y]) for y in range(height)]


def _line(start: tuple[int, int], end: tuple[int, int], dot: Callable[[int, int], None]) -> None:
    """Dots from `start` to `end`, a run in each column, so that steep parts have no holes."""
    (x0, y0), (x1, y1) = start, end
    across = max(x1 - x0, 1)
    at = y0
    for step in range(across + 1):
        to = round(y0 + (y1 - y0) * step / across)
        for y in range(min(at, to), max(at, to) + 1):
            dot(min(x0 + step, x1), y)
        at = to


def _runs(bits: list[int], tones: list[int]) -> list[tuple[str, int]]:
    runs: list[tuple[str, int]] = []
    for bit, tone in zip(bits, tones, strict=True):
        character = chr(0x2800 + bit) if bit else " "
        # A blank takes the tone of what is before it, so that it needs no segment of its own.
        if runs and (runs[-1][1] == tone or not bit):
            runs[-1] = (runs[-1][0] + character, runs[-1][1])
        else:
            runs.append((character, tone))
    return runs


def nice(low: float, high: float) -> tuple[float, float]:
    """A range that holds `low` to `high` and ends on short numbers, so that it stays while values come in. At most a
    twentieth of a power of ten is added on either side."""
    if high <= low:
        pad = abs(high) * 0.05 or 1.0
        return low - pad, high + pad
    unit = 10.0 ** math.floor(math.log10(high - low)) / 20
    if not math.isfinite(unit) or unit == 0:
        return low, high
    # min and max: dividing and multiplying again may lose the last bit.
    return min(math.floor(low / unit) * unit, low), max(math.ceil(high / unit) * unit, high)


def number(value: float) -> str:
    """A value on an axis, in at most eight characters: `0.0002` is `2e-4`, `1234567` is `1.23e6`."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 1e5:
        text = f"{value:.4g}"
        return text if size < 1e4 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
