"""Ratios with their interval: how every benchmark here reports."""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Two-sided 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ratio:
    """A geometric mean of paired ratios with its 95 % interval."""

    mean: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, {self.pairs} pairs)"


def ratio(ones: Sequence[float], others: Sequence[float]) -> Ratio:
    """`ones` over `others`, pair by pair, on the logarithm (a ratio of 2 is as far from 1 as one of a half)."""
    logs = [math.log(one / other) for one, other in zip(ones, others, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(mean), 0.0, math.inf, len(logs))
    t = _T[min(len(logs) - 1, len(_T)) - 1]
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def in_turn(one: Callable[[], float], other: Callable[[], float], pairs: int, warm_up: int = 1) -> Ratio:
    """Measure both in the order A B B A …, after a warm-up of each.

    Args:
        one, other: do the thing and return what it cost.
    """
    for _ in range(warm_up):
        one()
        other()
    ones, others = [], []
    for number in range(pairs):
        if number % 2:
            others.append(other())
            ones.append(one())
        else:
            ones.append(one())
            others.append(other())
        print(f"pair {number + 1} of {pairs}: {ones[-1]:.3f}, {others[-1]:.3f}", file=sys.stderr, flush=True)
    return ratio(ones, others)
