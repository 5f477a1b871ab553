"""A chart of one metric: raw values dim, their average bright, a second metric over them, a cursor with its values.

One segment a row where it can be, which is a tenth of the bytes that plot widgets send over a slow line.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget

from tuiwb.base.text import gate_line
from tuiwb.base.units import duration
from tuiwb.monitor import Axis, Bucket, Curve
from tuiwb.tui.widgets.braille import Range, Trace, number, plot

_NAMES = {
    "eval_loss": "eval loss",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "tokens_per_s": "tokens/s",
    "step_s": "seconds a step",
}
_TONES = ("chart--raw", "chart--line", "chart--second")


class Chart(Widget):
    """See the top of this file. `show` gives it curves; it draws nothing but its frame before."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"chart--axis", "chart--cursor", *_TONES}
    DEFAULT_CSS = """
    Chart {
        border: round $foreground 30%;
        border-title-color: $foreground;
        border-subtitle-color: $text-muted;
        height: 1fr; width: 1fr; padding: 0;
        & .chart--axis { color: $foreground 60%; }
        & .chart--cursor { color: $text-warning; }
        & .chart--raw { color: $primary 60%; }
        & .chart--line { color: $text-primary; text-style: bold; }
        & .chart--second { color: $text-warning; text-style: bold; }
    }
    """

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self._curves: tuple[Curve, ...] = ()
        self._log = False
        self._cursor: float | None = None
        self._rows: list[list[tuple[str, int]]] = []
        self._gutter = 0
        self._view = Range(0, 1, 0, 1)

    @property
    def columns(self) -> int:
        """How many points side by side it can show: two a cell."""
        return max((self.content_size.width - 7) * 2, 2)

    def show(self, curves: Sequence[Curve], *, log: bool = False, cursor: float | None = None) -> None:
        """Draw these curves: the first with its smoothing, the others over it.

        Args:
            log: logarithmic y axis.
            cursor: where on the x axis the values are told; None is the end.
        """
        self._curves, self._log, self._cursor = tuple(curves), log, cursor
        self._draw()
        self.refresh()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width, height = self.content_size
        if not self._curves or width < 12 or height < 2:
            self._rows = []
            return
        first = self._curves[0]
        positive = [bucket.low for curve in self._curves for bucket in curve.buckets if bucket.low > 0]
        log = self._log and bool(positive)
        low = min(positive) if log else min(curve.low for curve in self._curves)
        high = max(curve.high for curve in self._curves)
        if high <= low:
            pad = abs(high) * 0.05 or 1.0
            low, high = (low / 1.1, high * 1.1) if log else (low - pad, high + pad)
        end = first.end if first.end > first.start else first.start + 1
        self._view = Range(first.start, end, low, high, log)
        self._gutter = max(len(number(low)), len(number(high))) + 1
        traces = [Trace(first.buckets, 0 if first.smooth else 1)]
        if first.smooth:
            traces.append(Trace([Bucket(x, y, y, y, y) for x, y in first.smooth], 1))
        traces += [Trace(curve.buckets, 2) for curve in self._curves[1:]]
        self._rows = plot(traces, max(width - self._gutter, 1), height, self._view)
        self._label(first)

    def _label(self, first: Curve) -> None:
        parts: list[tuple[str, str]] = []
        for position, curve in enumerate(self._curves):
            value = curve.last if self._cursor is None else _at(curve.buckets, self._cursor)
            tone = "$text-primary" if position == 0 else "$text-warning"
            if parts:
                parts.append(("  ", ""))
            parts += [(f"{named(curve.name)} ", tone), ("" if value is None else number(value), f"bold {tone}")]
            if position == 0 and curve.smooth:
                average = curve.smooth[-1][1] if self._cursor is None else _smooth_at(curve.smooth, self._cursor)
                parts.append((f" ≈ {number(average)}", "dim"))
            if curve.odd:
                parts.append((f" {curve.odd[0]} not finite from step {curve.odd[1]:.0f}", "$text-error"))
        self.border_title = Content.assemble(*parts)
        cursor = "" if self._cursor is None else f"  at {place(first.axis, self._cursor)}"
        log = "  log" if self._view.log else ""
        self.border_subtitle = Content(
            f"{place(first.axis, first.start)} – {place(first.axis, first.end)} {unit(first.axis)}{log}{cursor}"
        )

    def render_line(self, y: int) -> Strip:
        width, base = self.content_size.width, self.rich_style
        if not self._rows or y >= len(self._rows):
            return Strip.blank(width, base)
        label = ""
        if y == 0:
            label = number(self._view.high)
        elif y == len(self._rows) - 1:
            label = number(self._view.low)
        segments = [Segment(label.rjust(self._gutter - 1) + "│", base + self._style("chart--axis"))]
        for text, tone in self._rows[y]:
            segments.append(Segment(text, base if tone < 0 else base + self._style(_TONES[tone])))
        strip = Strip(segments).adjust_cell_length(width, base)
        if self._cursor is not None:
            at = self._gutter + self._view.column(self._cursor, max(width - self._gutter, 1))
            mark = Segment("│", base + self._style("chart--cursor"))
            strip = Strip([*strip.crop(0, at), mark, *strip.crop(at + 1)])
        return strip

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(name, partial=True)


def _at(buckets: Sequence[Bucket], x: float) -> float | None:
    """The value of the bucket nearest to x."""
    nearest = min(buckets, key=lambda bucket: abs(bucket.x - x), default=None)
    return None if nearest is None else nearest.last


def _smooth_at(points: Sequence[tuple[float, float]], x: float) -> float:
    return min(points, key=lambda point: abs(point[0] - x))[1]


def named(metric: str) -> str:
    """A metric as people call it."""
    return _NAMES.get(metric) or gate_line(metric)


def place(axis: Axis, x: float) -> str:
    """A position on the x axis, for people."""
    return duration(x) if axis == "time" else f"{x:,.0f}"


def unit(axis: Axis) -> str:
    """What the x axis counts."""
    return {"step": "steps", "tokens": "tokens", "time": ""}[axis]
