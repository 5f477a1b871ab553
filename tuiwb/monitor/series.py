"""The metrics of a run as series, read from metrics.jsonl as it grows."""

import math
import operator
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from tuiwb.monitor.smooth import Ema
from tuiwb.monitor.thin import Bucket, Thinned
from tuiwb.rundir import BOOKKEEPING, JsonlTail, PartDir, RunDir, decode, offset_of_last, revived

Axis = Literal["step", "tokens", "time"]
AXES: tuple[Axis, ...] = ("step", "tokens", "time")

NEWEST = 10_000
"""Lines of a long file that are shown while the rest of it is read."""

LONG_BYTES = 8 << 20
"""A file that is longer is read in pieces of so many bytes, its end first."""

_BATCH = 4096
_FEW = 8


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
    _thinned: dict[Axis, Thinned] = field(default_factory=lambda: {axis: Thinned() for axis in AXES}, repr=False)
    _smoothed: dict[Axis, Thinned] = field(default_factory=lambda: {axis: Thinned() for axis in AXES}, repr=False)
    _generation: int = 0
    _ema: Ema | None = None
    _averages: "array[float]" = field(default_factory=lambda: array("d"))

    def average(self, half_life: float) -> "array[float]":
        """The moving average at each point, by steps; only what is new since the last call is computed."""
        if self._ema is None or self._ema.half_life != half_life:
            self._ema, self._averages = Ema(half_life), array("d")
        for at in range(len(self._averages), len(self.values)):
            self._averages.append(self._ema.add(self.xs["step"][at], self.values[at]))
        return self._averages

    def buckets(self, axis: Axis, columns: int, start: float, end: float) -> list[Bucket]:
        """The points between `start` and `end`, thinned."""
        return self._thinned[axis].buckets(self._generation, self.xs[axis], self.values, columns, start, end)

    def average_buckets(self, half_life: float, axis: Axis, columns: int, start: float, end: float) -> list[Bucket]:
        """As `buckets`, of the moving average."""
        how = (self._generation, half_life)
        return self._smoothed[axis].buckets(how, self.xs[axis], self.average(half_life), columns, start, end)

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

    def extend(self, where: Mapping[Axis, "array[float]"], values: "array[float]") -> None:
        """Append points that come after all that are there."""
        self.version += 1
        for axis in AXES:
            self.xs[axis].extend(where[axis])
        self.values.extend(values)

    def cut(self, step: float) -> None:
        """Forget the points from `step` on: a resumed run went back."""
        at = bisect_left(self.xs["step"], step)
        if at < len(self.values):
            self.version += 1
            self._generation += 1
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

    def take(self, lines: Sequence[bytes]) -> None:
        """Take lines of metrics.jsonl as they stand there. Lines that follow each other and have the same keys go
        column by column, which is ten times as fast as one by one."""
        from orjson import JSONDecodeError, loads

        for first in range(0, len(lines), _BATCH):
            batch = lines[first : first + _BATCH]
            try:
                rows = loads(b"[" + b",".join(batch) + b"]") if len(batch) >= _FEW else []
            except JSONDecodeError:
                rows = []
            if len(rows) != len(batch) or not all(type(row) is dict for row in rows):
                for line in batch:
                    if (row := decode(line)) is not None:
                        self.add(row)
                continue
            for keys, group in groupby(rows, key=tuple):
                alike = list(group)
                if len(alike) < _FEW or not self._add_alike(keys, alike):
                    for row in alike:
                        self.add(revived(row))

    def _add_alike(self, keys: tuple[str, ...], rows: list[dict[str, Any]]) -> bool:
        """Take lines with the same keys.

        Returns:
            False, having done nothing, for lines that must be taken one by one.
        """
        columns = dict(zip(keys, zip(*map(dict.values, rows), strict=True), strict=True))
        if any(type(column[0]) is str for name, column in columns.items() if name not in BOOKKEEPING):
            return False  # the name of a number that JSON lacks
        tokens = columns.get("total_tokens", columns.get("trained_tokens"))
        try:
            steps, times = array("d", columns["current_steps"]), array("d", columns["time"])
            seen = array("d", tokens if tokens is not None else [self.tokens] * len(rows))
            values = {
                name: array("d", column)
                for name, column in columns.items()
                if name not in BOOKKEEPING and type(column[0]) in (int, float)
            }
        except (KeyError, TypeError, OverflowError):
            return False
        start = self.start or times[0]
        seconds = array("d", [max(each - start, 0.0) for each in times])
        before = max((series.xs["time"][-1] for series in self.series.values() if series.values), default=0.0)
        if (
            steps[0] <= self.step
            or not all(map(operator.lt, steps, steps[1:]))
            or seconds[0] < before
            or not all(map(operator.le, seconds, seconds[1:]))
            or seen[0] < self.tokens
            or not all(map(operator.le, seen, seen[1:]))
            or not all(math.isfinite(sum(each)) for each in values.values())
        ):
            return False
        where: dict[Axis, array[float]] = {"step": steps, "tokens": seen, "time": seconds}
        for name, column in values.items():
            if name not in self.series:
                self.series[name] = Series(name)
            self.series[name].extend(where, column)
        self.start, self.step, self.tokens = start, steps[-1], seen[-1]
        self.last = {**self.last, **rows[-1]}
        return True

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
    """Follows the metrics of a run, part by part.

    Args:
        cache: folder for the columns of long files (see columns.py); None keeps none.
    """

    def __init__(self, run: RunDir, *, cache: Path | None = None) -> None:
        self.run = run
        self._followed: list[_Followed] = []
        self._cache = cache

    @property
    def parts(self) -> list[PartMetrics]:
        return [followed.shown for followed in self._followed]

    def read(self) -> bool:
        """Take all lines that are new; a file that was truncated or replaced is read again.

        Returns:
            whether there were any.
        """
        news = False
        while self.read_some():
            news = True
        return news

    def read_some(self) -> bool:
        """As `read`, but of a long file only a piece, so that others get their turn: call again while it is True."""
        for part in self.run.parts()[len(self._followed) :]:
            self._followed.append(_Followed(part, self._cache))
        news = False
        for followed in self._followed:
            news = followed.read() or news
        return news

    @property
    def loading(self) -> bool:
        """Whether only the newest lines of a long file are shown yet."""
        return any(followed.loading for followed in self._followed)

    @property
    def current(self) -> PartMetrics | None:
        """The part that logged last: the last one that logged at all."""
        parts = self.parts
        return next((part for part in reversed(parts) if part.last), parts[-1] if parts else None)


class _Followed:
    """The metrics of a part: all that was read, and while a long file is read for the first time, its newest lines."""

    def __init__(self, part: PartDir, cache: Path | None) -> None:
        self._part, self._cache = part, cache
        self._all, self._tail = PartMetrics(part), JsonlTail(part.metrics_file)
        self._newest: PartMetrics | None = None
        self._restarts = 0
        self._cached = 0
        self._begun = False

    @property
    def loading(self) -> bool:
        return self._newest is not None

    @property
    def shown(self) -> PartMetrics:
        return self._newest or self._all

    def read(self) -> bool:
        if not self._begun:
            self._begun = True
            if self._begin():
                return True
        lines = self._tail.read_lines(LONG_BYTES)
        restarted = self._tail.restarts != self._restarts
        if restarted:
            self._restarts, self._cached = self._tail.restarts, 0
            self._all, self._newest = PartMetrics(self._part), None
        self._all.take(lines)
        if self._newest is not None and len(lines) == 0:
            self._newest = None
            restarted = True  # all of it is shown now
        if not lines and self._cache is not None and self._tail.offset - self._cached > LONG_BYTES:
            from tuiwb.monitor import columns

            columns.save(self._all, self._tail.offset, self._cache)
            self._cached = self._tail.offset
        return bool(lines) or restarted

    def _begin(self) -> bool:
        """Take the columns of the cache, or the newest lines of a long file.

        Returns:
            whether there is something to show.
        """
        path = self._part.metrics_file
        try:
            size = path.stat().st_size
        except OSError:
            return False
        if size <= LONG_BYTES:
            return False
        if self._cache is not None:
            from tuiwb.monitor import columns

            if (found := columns.load(self._part, self._cache)) is not None:
                self._all, self._cached = found
                self._tail = JsonlTail(path, self._cached)
                return True
        self._newest = PartMetrics(self._part)
        self._newest.take(JsonlTail(path, offset_of_last(path, NEWEST)).read_lines())
        return True


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
    buckets = series.buckets(axis, columns, start, end)
    smooth: list[tuple[float, float]] = []
    if half_life > 0 and ys:
        smooth = [(each.x, each.last) for each in series.average_buckets(half_life, axis, columns, start, end)]
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
