"""Thinning a series to what a screen has room for, without losing a spike."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bucket:
    """The points of one column: where it is, the least and the greatest value, and the first and the last one."""

    x: float
    low: float
    high: float
    first: float
    last: float


def thin(xs: Sequence[float], ys: Sequence[float], count: int, start: float, end: float) -> list[Bucket]:
    """The points between `start` and `end` in at most `count` buckets of equal width; empty ones are left out.

    The least and the greatest value of all points in range are those of the buckets. Costs the time of `min` and `max`.

    Args:
        xs: never decreasing.
        ys: finite, as many as `xs`.
        count: at least 1.
    """
    return _thin(xs, ys, count, start, end, bisect_left(xs, start), 0)[0]


class Thinned:
    """A series that grows, thinned again and again: while the range stays, only what is new and the last bucket are
    looked at. A million points cost 30 ms each time otherwise, for each curve and each step."""

    def __init__(self) -> None:
        self._how: tuple[object, ...] = ()
        self._buckets: list[Bucket] = []
        self._at = 0

    def buckets(
        self, generation: object, xs: Sequence[float], ys: Sequence[float], count: int, start: float, end: float
    ) -> list[Bucket]:
        """As `thin`.

        Args:
            generation: another one says that points which were there before have changed.
        """
        how = (generation, count, start, end)
        known = self._buckets if how == self._how and start < end and self._at < len(xs) else []
        if known:
            number = min(max(int((xs[self._at] - start) / (end - start) * count), 0), count - 1)
            # Rounding may tell the bucket before: its number must not come after that of the last point in it.
            while number > 0 and xs[self._at] < start + number * ((end - start) / count):
                number -= 1
            more, self._at = _thin(xs, ys, count, start, end, self._at, number)
            self._buckets = [*known[:-1], *more]
        else:
            self._buckets, self._at = _thin(xs, ys, count, start, end, bisect_left(xs, start), 0)
        self._how = how
        return self._buckets


def _thin(
    xs: Sequence[float], ys: Sequence[float], count: int, start: float, end: float, at: int, first: int
) -> tuple[list[Bucket], int]:
    """The buckets from that of number `first` on, whose first point is at the position `at`; and the position of the
    first point of the last bucket."""
    width = (end - start) / count if end > start else 0.0
    buckets = []
    stop, last = len(xs), at
    for number in range(first, count):
        if at >= stop or xs[at] > end:
            break
        if number == count - 1 or width == 0.0:
            # The last bucket has both its ends.
            until = _after(xs, end, at)
        else:
            until = bisect_left(xs, start + (number + 1) * width, at)
        if until > at:
            values = ys[at:until]
            x = xs[at] if width == 0.0 else start + (number + 0.5) * width
            buckets.append(Bucket(x, min(values), max(values), values[0], values[-1]))
            last = at
        at = until
    return buckets, last


def _after(xs: Sequence[float], end: float, at: int) -> int:
    """The position after the last point that is at most `end`."""
    until = bisect_left(xs, end, at)
    while until < len(xs) and xs[until] <= end:
        until += 1
    return until
