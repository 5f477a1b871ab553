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
    width = (end - start) / count if end > start else 0.0
    buckets = []
    at = bisect_left(xs, start)
    stop = len(xs)
    for number in range(count):
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
        at = until
    return buckets


def _after(xs: Sequence[float], end: float, at: int) -> int:
    """The position after the last point that is at most `end`."""
    until = bisect_left(xs, end, at)
    while until < len(xs) and xs[until] <= end:
        until += 1
    return until
