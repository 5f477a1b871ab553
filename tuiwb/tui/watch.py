"""Watching runs from a thread: the list of all, and everything about the one that is selected.

The thread reads files by offset a few times a second, which costs microseconds while nothing changes, and posts frozen
results; it touches no widget. What the screen wants is one frozen object that the screen replaces.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from tuiwb.base.tasks import Task
from tuiwb.monitor import Axis, Curve, PartMetrics, Progress, RunMetrics, curve, progress
from tuiwb.tui.log_tail import LogTail
from tuiwb.tui.widgets.braille import nice
from tuiwb.tui.widgets.charts import Overlay

if TYPE_CHECKING:
    from tuiwb.hardware import GpuSampler, GpuStatus, HostSample
    from tuiwb.rundir import RunDir
    from tuiwb.runs import Answer, RunView
    from tuiwb.runs.gpu_users import GpuUser

PERIOD_S = 0.25
"""Between two looks at the selected run, twice as long without its curves: a metric is there well within a second."""
HISTORY = 120
"""Looks at the GPUs that are kept for the lines of their past."""
OVERLAY_S = 1.0
"""Between two drawings of the curves of several runs."""
_EARLY = 0.9
"""The GPUs are asked a little more often than they must be shown, so that a late answer is still in time."""
_DETAILS_S = 3.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the screen shows.

    Args:
        run_id: the selected run.
        over: further runs, whose curves are drawn over those of the selected one.
        axis, half_life, columns: of the curves; see `monitor.curve`.
        zoom, at: the share of the x axis that is shown, and the middle of it; None is the end.
        refresh_s: between two scans of all runs.
        hardware: the hardware is shown.
        curves: the curves are shown; otherwise only how far the run is.
    """

    run_id: str | None = None
    over: tuple[str, ...] = ()
    axis: Axis = "step"
    zoom: float = 1.0
    at: float | None = None
    half_life: float = 0.0
    columns: int = 200
    refresh_s: float = 1.0
    hardware: bool = False
    curves: bool = True


class _Latest(Message, bubble=False):
    """One that makes those of its type before it superfluous."""

    def can_replace(self, message: Message) -> bool:
        return type(message) is type(self)


@dataclass
class RunsSeen(_Latest):
    """All runs, newest first."""

    runs: "tuple[RunView, ...]"


@dataclass
class DetailSeen(_Latest):
    """The selected run with its checkpoints and its events, oldest first."""

    view: "RunView"
    events: tuple[dict[str, Any], ...]


@dataclass
class CurvesSeen(_Latest):
    """The metrics of the selected run's newest part. `progress` is None without any; `loading`: only the newest lines
    of a long file were read yet; `drawn`: False where the curves are not shown, and were left out."""

    run_id: str
    part: str
    curves: tuple[Curve, ...]
    progress: Progress | None
    last: dict[str, Any]
    over: tuple[Overlay, ...] = ()
    loading: bool = False
    drawn: bool = True


@dataclass
class LogSeen(Message, bubble=False):
    """New lines of the worker's output; `fresh` when they replace what was shown."""

    run_id: str
    lines: tuple[str, ...]
    fresh: bool


@dataclass
class AnswersSeen(_Latest):
    """All that the selected run's model said while it was trained, oldest first."""

    run_id: str
    answers: "tuple[Answer, ...]"


@dataclass
class HardwareSeen(_Latest):
    """What the machine does now. `past`: percentages of utilisation by the GPU's UUID, oldest first."""

    gpus: "GpuStatus"
    host: "HostSample"
    samples: tuple[dict[str, Any], ...]
    users: "dict[int, GpuUser]" = field(default_factory=dict)
    past: dict[str, tuple[float, ...]] = field(default_factory=dict)


class Watch:
    """The work of the thread. `want` is called by the screen; all else runs in the thread."""

    def __init__(self, post: Callable[[Message], object], wanted: Wanted) -> None:
        self._post = post
        self._wanted = wanted
        self._wake = threading.Event()
        self._run: _OneRun | None = None
        self._over: dict[str, RunMetrics] = {}
        self._listed: tuple[Any, ...] | None = None
        self._scanned = -1e9
        self._looked = -1e9
        self._sampler: GpuSampler | None = None
        self._past: dict[str, deque[float]] = {}

    @property
    def wanted(self) -> Wanted:
        return self._wanted

    def want(self, **changes: Any) -> None:
        """Show something else; the thread hears of it at once."""
        changed = replace(self._wanted, **changes)
        if changed != self._wanted:
            self._wanted = changed
            self._wake.set()

    def hurry(self) -> None:
        """Look again now: something was done to a run."""
        self._scanned = self._looked = -1e9
        self._wake.set()

    def work(self, task: Task) -> None:
        """Until the task is cancelled."""
        from tuiwb import hardware
        from tuiwb.runs.gpu_users import gpu_users

        host = hardware.HostSampler()
        seen = 0.0
        try:
            while not task.cancelled:
                wanted = self._wanted
                self._scan(wanted)
                self._follow(wanted)
                if wanted.hardware:
                    if self._sampler is None:
                        self._sampler = hardware.GpuSampler(_EARLY * wanted.refresh_s, told=self._told).__enter__()
                    gpus = self._sampler.latest()
                    # What the driver says is shown when it says it; without a driver there is still the host.
                    if gpus.time != seen or time.monotonic() - self._looked >= wanted.refresh_s:
                        seen, self._looked = gpus.time, time.monotonic()
                        samples = self._run.samples() if self._run else ()
                        past = {uuid: tuple(values) for uuid, values in self._past.items()}
                        self._post(HardwareSeen(gpus, host.sample(), samples, gpu_users(gpus.gpus), past))
                loading = self._run is not None and self._run.loading
                self._wake.wait(0.0 if loading else PERIOD_S if wanted.curves else 2 * PERIOD_S)
                self._wake.clear()
        finally:
            if self._sampler is not None:
                self._sampler.__exit__(None, None, None)
                self._sampler = None

    def _told(self) -> None:
        """The driver has answered, in the sampler's thread: once they were looked at, the GPUs keep their past also
        while something else is shown."""
        if (sampler := self._sampler) is not None:
            for gpu in sampler.latest().gpus:
                self._past.setdefault(gpu.uuid, deque(maxlen=HISTORY)).append(float(gpu.utilisation or 0))
        if self._wanted.hardware:
            self._wake.set()

    def _scan(self, wanted: Wanted) -> None:
        if time.monotonic() - self._scanned < wanted.refresh_s:
            return
        from tuiwb import runs

        found = tuple(runs.scan())
        self._scanned = time.monotonic()
        if found != self._listed:
            self._listed = found
            self._post(RunsSeen(found))

    def _follow(self, wanted: Wanted) -> None:
        if wanted.run_id is None:
            self._run = None
            return
        if self._run is None or self._run.run.run_id != wanted.run_id:
            found = next((view.run for view in self._listed or () if view.run_id == wanted.run_id), None)
            if found is None:
                return
            self._run = _OneRun(found)
        ours = next((view for view in self._listed or () if view.run_id == wanted.run_id), None)
        self._run.live = ours is not None and ours.active
        for message in self._run.news(wanted, self._overlays(wanted)):
            self._post(message)

    def _overlays(self, wanted: Wanted) -> "dict[str, tuple[str, RunMetrics]]":
        """The metrics of the runs that are drawn over the selected one, each with its name; where several have the same
        one, with the end of its id."""
        views = {view.run_id: view for view in self._listed or () if view.run_id in wanted.over}
        shown = [each for each in wanted.over if each in views and each != wanted.run_id]
        self._over = {each: self._over.get(each) or RunMetrics(views[each].run, cache=_cache()) for each in shown}
        for metrics in self._over.values() if wanted.curves else ():
            metrics.read_some()
        names = Counter(view.name for view in self._listed or () if view.run_id in (wanted.run_id, *shown))
        return {
            each: (views[each].name if names[views[each].name] == 1 else each[16:] or each, metrics)
            for each, metrics in self._over.items()
        }


class _OneRun:
    """Reads one run."""

    def __init__(self, run: "RunDir") -> None:
        self.run = run
        self.live = False
        self._metrics = RunMetrics(run, cache=_cache())
        self._log = LogTail(run.output_file)
        self._drawn: tuple[Any, ...] = ()
        self._drawn_at = -1e9
        self._new = False
        self._points: tuple[tuple[str, tuple[int, ...]], ...] = ()
        self._detailed = -1e9
        self._files: tuple[int, ...] = ()
        self._answered = 0

    @property
    def loading(self) -> bool:
        return self._metrics.loading

    def news(self, wanted: Wanted, over: "dict[str, tuple[str, RunMetrics]]") -> list[Message]:
        """What changed since the last call."""
        messages: list[Message] = []
        now = time.monotonic()
        points = tuple((each, _points(metrics)) for each, (_, metrics) in over.items())
        self._new = self._metrics.read_some() or points != self._points or self._new
        self._points = points
        how = (
            wanted.axis,
            wanted.half_life,
            wanted.columns,
            wanted.zoom,
            wanted.at,
            wanted.curves,
            self.live,
            self.loading,
            tuple(over),
        )
        # Several runs would otherwise have all charts drawn anew for each of their steps. And while a long file is read
        # its newest lines are shown, which stay what they are.
        due = not self.loading and (not over or now - self._drawn_at >= OVERLAY_S)
        if how != self._drawn or (self._new and due):
            self._drawn, self._drawn_at, self._new = how, now, False
            messages.append(self._curves(wanted, over))
        lines, fresh = self._log.read()
        if lines or fresh:
            messages.append(LogSeen(self.run.run_id, tuple(lines), fresh))
        part = self._metrics.current
        if part is not None and (answered := _stamp(part.part.answers_file)) != self._answered:
            self._answered = answered
            messages.append(self._answers())
        files = tuple(_stamp(path) for path in (self.run.state_file, self.run.events_file, self.run.beat_file))
        if files[:2] != self._files[:2] or (files != self._files and time.monotonic() - self._detailed >= _DETAILS_S):
            self._files, self._detailed = files, time.monotonic()
            messages += self._detail()
        return messages

    def samples(self) -> tuple[dict[str, Any], ...]:
        """The newest look of the wrapper at the run's processes."""
        from tuiwb import rundir

        return tuple(rundir.last_lines(self.run.samples_file, 1))

    def _curves(self, wanted: Wanted, over: "dict[str, tuple[str, RunMetrics]]") -> Message:
        part = self._metrics.current
        if part is None:
            return CurvesSeen(self.run.run_id, "", (), None, {})
        if not wanted.curves:
            return CurvesSeen(self.run.run_id, part.part.path.name, (), progress(part), part.last, drawn=False)
        # One x axis for all charts, so that the cursor means the same in each.
        others = {each: metrics.current for each, (_, metrics) in over.items() if metrics.current is not None}
        shown = [part, *others.values()]
        axes = [series.xs[wanted.axis] for each in shown for series in each.series.values() if series.values]
        start, end = min((xs[0] for xs in axes), default=0.0), max((xs[-1] for xs in axes), default=1.0)
        if self.live:
            end = nice(start, end)[1]  # so that a new point does not move all others
        window = zoomed(start, end, wanted.zoom, wanted.at)

        def drawn(metrics: PartMetrics) -> tuple[Curve, ...]:
            return tuple(
                curve(
                    series,
                    columns=wanted.columns,
                    axis=wanted.axis,
                    half_life=0.0 if series.name == "lr" else wanted.half_life,  # a schedule has no noise
                    window=window,
                )
                for series in metrics.series.values()
            )

        return CurvesSeen(
            self.run.run_id,
            part.part.path.name,
            drawn(part),
            progress(part),
            part.last,
            tuple(Overlay(each, over[each][0], drawn(metrics)) for each, metrics in others.items()),
            self.loading,
        )

    def _answers(self) -> Message:
        from tuiwb import runs

        return AnswersSeen(self.run.run_id, runs.answers(self.run))

    def _detail(self) -> list[Message]:
        from tuiwb import rundir, runs

        if not self.run.existing():
            return []
        return [DetailSeen(runs.view(self.run), tuple(rundir.read_events(self.run)))]


def zoomed(start: float, end: float, zoom: float, at: float | None) -> tuple[float, float]:
    """The part of an axis that is shown.

    Args:
        zoom: its share, 1 for all of it.
        at: its middle; None is the end.
    """
    width = (end - start) * min(zoom, 1.0)
    left = end - width if at is None else min(max(at - width / 2, start), end - width)
    return left, left + width


def _points(metrics: RunMetrics) -> tuple[int, ...]:
    part = metrics.current
    return () if part is None else tuple(series.version for series in part.series.values())


def _cache() -> Path:
    from tuiwb.base import settings

    return settings.cache_root() / "columns"


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
