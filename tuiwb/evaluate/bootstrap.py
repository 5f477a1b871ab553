"""Intervals by the paired bootstrap: rows are drawn again with replacement, the same rows for every subject."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def draws(rows: int, resamples: int, seed: int) -> "Array":
    """Row numbers of each resample, int64 `(resamples, rows)`."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, rows, size=(resamples, rows))


def ratio(total: "Array", weight: "Array", drawn: "Array") -> tuple[float, "Array"]:
    """`sum(total) / sum(weight)` over all rows, and of each resample: a mean of rows where the weights are 1, a loss
    per token where they are tokens."""
    value = float(total.sum() / weight.sum())
    return value, total[drawn].sum(axis=1) / weight[drawn].sum(axis=1)


def summed(counts: "Array", of: "Callable[[list[int]], float]", drawn: "Array") -> tuple[float, "Array"]:
    """A function of the added counts of rows `(rows, k)`, over all rows and of each resample."""
    import numpy as np

    value = of(counts.sum(axis=0).tolist())
    return value, np.array([of(counts[rows].sum(axis=0).tolist()) for rows in drawn])


def estimate(value: float, resampled: "Array") -> Estimate:
    """A value with the percentiles of its resamples."""
    import numpy as np

    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
