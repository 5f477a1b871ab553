"""The metrics of a run as series, read from metrics.jsonl as it grows."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tuiwb.monitor.smooth import Ema
from tuiwb.monitor.thin import Bucket, thin
from tuiwb.rundir import BOOKKEEPING, JsonlTail, PartDir, RunDir

Axis = Literal["step", "tokens", "time"]
AXES: tuple[Axis, ...] = ("step", "tokens", "time")


@dataclass(slots=True)
class Series:
    """One metric of one part.

    Args:
        xs: by axis, where its points are: steps, tokens seen, seconds since the part's first line. Never decreasing.
        values: the finite values there.
        odd: (step, value) of those that are not finite.
        version: changes whenever the points do.
    """

    name: str
    xs: dict[Axis, "array[float]"] = field(default_factory=lambda: {axis: array("d") for axis in AXES})
    values: "array[float]" = field(default_factory=lambda: array("d"))
    odd: list[tuple[float, float]] = field(default_factory=list)
    version: int = 0
    _ema: Ema | None = None
    _averages: "array[float]" = field(default_factory=lambda: array("d"))

    def average(self, half_life: float) -> "array[float]":
        """The moving average at each point, by steps; only what is new since the last call is computed."""
        if self._ema is None or self._ema.half_life != half_life:
            self._ema, self._averages = Ema(half_life), array("d")
        for at in range(len(self._averages), len(self.values)):
            self._averages.append(self._ema.add(self.xs["step"][at], self.values[at]))
        return self._averages

    def add(self, where: Mapping[Axis, float], value: float) -> None:
        """Append a point. One at the step of the last point replaces it."""
        self.version += 1
        step = where["step"]
        if not math.isfinite(value):
            self.odd.append((step, value))
            return
        if self.values and self.xs["step"][-1] >= step:
            self.cut(step)
        for axis in AXES:
            xs = self.xs[axis]
            xs.append(max(where[axis], xs[-1]) if xs else where[axis])
        self.values.append(value)

    def cut(self, step: float) -> None:
        """Forget the points from `step` on: a resumed run went back."""
        at = bisect_left(self.xs["step"], step)
        if at < len(self.values):
            self.version += 1
            self._ema = None
            for column in (*self.xs.values(), self.values):
                del column[at:]
        self.odd = [(where, value) for where, value in self.odd if where < step]


@dataclass(slots=True)
class PartMetrics:
    """What one part logged.

    Args:
        series: by name, in the order of their first appearance.
        last: the newest line.
    """

    part: PartDir
    series: dict[str, Series] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0
    step: float = 0.0
    tokens: float = 0.0

    def add(self, line: dict[str, Any]) -> None:
        """Take one line of metrics.jsonl."""
        time, step = line.get("time"), line.get("current_steps")
        if isinstance(step, int | float):
            if step < self.step:
                self.cut(step)
            self.step = float(step)
        tokens = line.get("total_tokens", line.get("trained_tokens"))
        if isinstance(tokens, int | float):
            self.tokens = float(tokens)
        if isinstance(time, int | float) and not self.start:
            self.start = float(time)
        seconds = max(float(time) - self.start, 0.0) if isinstance(time, int | float) else 0.0
        where: dict[Axis, float] = {"step": self.step, "tokens": self.tokens, "time": seconds}
        for name, value in line.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in BOOKKEEPING:
                if name not in self.series:
                    self.series[name] = Series(name)
                self.series[name].add(where, float(value))
        self.last = {**self.last, **line}

    def cut(self, step: float) -> None:
        """Forget what came at `step` and later: a resumed run went back."""
        for series in self.series.values():
            series.cut(step)
        self.tokens = 0.0


class RunMetrics:
    """Follows the metrics of a run, part by part."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.parts: list[PartMetrics] = []
        self._tails: list[JsonlTail] = []
        self._restarts: list[int] = []

    def read(self) -> bool:
        """Take the lines that are new; a file that was truncated or replaced is read again.

        Returns:
            whether there were any.
        """
        for part in self.run.parts()[len(self.parts) :]:
            self.parts.append(PartMetrics(part))
            self._tails.append(JsonlTail(part.metrics_file))
            self._restarts.append(0)
        news = False
        for at, tail in enumerate(self._tails):
            lines = tail.read()
            if tail.restarts != self._restarts[at]:
                self._restarts[at] = tail.restarts
                self.parts[at] = PartMetrics(self.parts[at].part)
                news = True
            for line in lines:
                self.parts[at].add(line)
            news = news or bool(lines)
        return news

    @property
    def current(self) -> PartMetrics | None:
        """The part that logged last: the last one that logged at all."""
        return next((part for part in reversed(self.parts) if part.last), self.parts[-1] if self.parts else None)


@dataclass(frozen=True, slots=True)
class Curve:
    """A series as it is drawn.

    Args:
        buckets: the raw points, thinned.
        smooth: (x, y) of the average; empty without smoothing.
        start, end: of the x axis.
        low, high: of all finite values in range.
        last: the newest value, and `count` how many there are in all.
        odd: how many values were not finite, and the step of the first.
    """

    name: str
    axis: Axis
    buckets: tuple[Bucket, ...]
    smooth: tuple[tuple[float, float], ...]
    start: float
    end: float
    low: float
    high: float
    last: float
    count: int
    odd: tuple[int, float] | None = None


def curve(
    series: Series,
    *,
    columns: int,
    axis: Axis = "step",
    half_life: float = 0.0,
    window: tuple[float, float] | None = None,
) -> Curve:
    """A series thinned to `columns` points.

    Args:
        half_life: of the smoothing, in steps on every axis; 0 is none.
        window: of the x axis; None is all there is.
    """
    xs, ys = series.xs[axis], series.values
    start, end = window or (_least(xs), xs[-1] if xs else 1.0)
    buckets = thin(xs, ys, columns, start, end)
    smooth: list[tuple[float, float]] = []
    if half_life > 0 and ys:
        averaged = series.average(half_life)
        smooth = [(each.x, each.last) for each in thin(xs, averaged, columns, start, end)]
    return Curve(
        name=series.name,
        axis=axis,
        buckets=tuple(buckets),
        smooth=tuple(smooth),
        start=start,
        end=end,
        low=min((bucket.low for bucket in buckets), default=0.0),
        high=max((bucket.high for bucket in buckets), default=1.0),
        last=ys[-1] if ys else math.nan,
        count=len(ys),
        odd=(len(series.odd), series.odd[0][0]) if series.odd else None,
    )


def _least(xs: Sequence[float]) -> float:
    return xs[0] if xs else 0.0
