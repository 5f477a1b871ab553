"""Smoothing: an exponential moving average that knows how far apart its points are."""

from collections.abc import Sequence


class Ema:
    """The average of what was added, where a point weighs half as much for every `half_life` that x has gone on since.

    Points that are unevenly spaced are weighed by their distance, not by their number, and the first ones are not drawn
    to zero (the weights are normalised), so a constant stays what it is.

    Args:
        half_life: in units of x; 0 does not smooth.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self._x = 0.0
        self._sum = self._weight = 0.0

    def add(self, x: float, y: float) -> float:
        """Take a point (x never goes back) and return the average there."""
        if self.half_life <= 0:
            return y
        kept = 0.5 ** (max(x - self._x, 0.0) / self.half_life) if self._weight else 0.0
        self._x = x
        self._sum = self._sum * kept + y
        self._weight = self._weight * kept + 1.0
        return self._sum / self._weight


def ema(xs: Sequence[float], ys: Sequence[float], half_life: float) -> list[float]:
    """The average at each point; see `Ema`."""
    state = Ema(half_life)
    return [state.add(x, y) for x, y in zip(xs, ys, strict=True)]
