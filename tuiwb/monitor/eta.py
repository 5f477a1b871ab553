"""How far a part is and how long it will still take, from tokens: steps of unequal length would mislead."""

import math
from bisect import bisect_left
from dataclasses import dataclass

from tuiwb.monitor.series import PartMetrics

WINDOW_S = 120.0
"""The rate is that of the last two minutes, or of all there is when that is less."""

_REST = 20.0
"""Where the last step alone is in the window, and took so many times the one before it, the run was at rest meanwhile:
it says nothing of the rate."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a part is.

    Args:
        step, total_steps: optimizer steps; the total is None when it is not known.
        tokens: seen so far.
        tokens_per_s: of late; None before two points.
        remaining_s: None before a rate is known.
    """

    step: int
    total_steps: int | None
    tokens: int
    tokens_per_s: float | None
    remaining_s: float | None

    @property
    def fraction(self) -> float | None:
        """0 to 1."""
        return min(self.step / self.total_steps, 1.0) if self.total_steps else None


def progress(metrics: PartMetrics) -> Progress:
    """How far `metrics` say that the part is.

    The tokens still to come are estimated from the mean tokens of the steps so far; without tokens, steps are counted.
    """
    total = metrics.last.get("total_steps")
    total = int(total) if isinstance(total, int | float) and total > 0 else None
    step = int(metrics.step)
    longest = max(metrics.series.values(), key=lambda series: len(series.values), default=None)
    rate = remaining = None
    if longest is not None and len(longest.values) > 1:
        times, tokens, steps = longest.xs["time"], longest.xs["tokens"], longest.xs["step"]
        first = min(bisect_left(times, times[-1] - WINDOW_S), len(times) - 2)
        seconds = times[-1] - times[first]
        rested = first == len(times) - 2 and first > 0 and seconds > _REST * (times[first] - times[first - 1])
        if seconds > 0 and not rested:
            rate = (tokens[-1] - tokens[first]) / seconds or None
            step_rate = (steps[-1] - steps[first]) / seconds
            if total is not None and rate and step and tokens[-1]:
                remaining = (total - step) * (tokens[-1] / step) / rate
            elif total is not None and step_rate:
                remaining = (total - step) / step_rate
    return Progress(
        step=step,
        total_steps=total,
        tokens=int(metrics.tokens),
        tokens_per_s=rate,
        remaining_s=None if remaining is None or not math.isfinite(remaining) else max(remaining, 0.0),
    )
