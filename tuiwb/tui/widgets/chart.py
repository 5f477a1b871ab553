"""A chart of one metric: raw values dim, their average bright, a second metric over them, a cursor with its values.

One segment a row where it can be, which is a tenth of the bytes that plot widgets send over a slow line.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tuiwb.base.text import gate_line
from tuiwb.base.units import duration
from tuiwb.monitor import Axis, Bucket, Curve
from tuiwb.tui.widgets.braille import Range, Trace, nice, number, plot

_NAMES = {
    "eval_loss": "eval loss",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "tokens_per_s": "tokens/s",
    "step_s": "seconds a step",
}
_TONES = ("raw", "line", "second", "third", "fourth")
_STYLES = ("axis", "cursor", "odd", "value", *_TONES)

Line = tuple[tuple[str, str], ...]
"""A row as it is drawn: pieces of text, each with one of the styles above, or with "" for that of the widget."""


class Chart(Widget):
    """See the top of this file. `show` gives it curves; it draws nothing before.

    It draws its title and axes itself, so that only rows that changed are sent when a point is added.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{style}" for style in _STYLES}
    DEFAULT_CSS = """
    Chart {
        height: 1fr; width: 1fr;
        & .chart--axis { color: $foreground; text-style: dim; }
        & .chart--cursor { color: $text-warning; }
        & .chart--odd { color: $text-error; }
        & .chart--raw { color: $primary; }
        & .chart--line { color: $text-primary; }
        & .chart--second { color: $text-warning; }
        & .chart--third { color: $text-success; }
        & .chart--fourth { color: $text-accent; }
        & .chart--value { color: $text-primary; text-style: bold; }
    }
    """

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self._curves: tuple[Curve, ...] = ()
        self._log = False
        self._cursor: float | None = None
        self._lines: list[Line] = []

    def show(self, curves: Sequence[Curve], *, log: bool = False, cursor: float | None = None) -> None:
        """Draw these curves: the first with its smoothing, the others over it.

        Args:
            log: logarithmic y axis.
            cursor: where on the x axis the values are told; None is the end.
        """
        self._curves, self._log, self._cursor = tuple(curves), log, cursor
        before, self._lines = self._lines, self._draw()
        if len(before) != len(self._lines):
            self.refresh()
            return
        changed = [
            Region(*_span(old, new, y))
            for y, (old, new) in enumerate(zip(before, self._lines, strict=True))
            if old != new
        ]
        if changed:
            self.refresh(*changed)

    @property
    def title(self) -> str:
        """As it is drawn."""
        return "".join(text for text, _ in self._lines[0]) if self._lines else ""

    def on_resize(self) -> None:
        self._lines = self._draw()
        self.refresh()

    def _draw(self) -> list[Line]:
        width, height = self.size
        if not self._curves or width < 16 or height < 4:
            return []
        view = self._view()
        high, low = number(view.high), number(view.low)
        gutter = max(len(high), len(low))
        cells = width - gutter - 2
        first = self._curves[0]
        traces = [Trace(first.buckets, 0 if first.smooth else 1)]
        if first.smooth:
            traces.append(Trace([Bucket(x, y, y, y, y) for x, y in first.smooth], 1))
        traces += [Trace(curve.buckets, _tone(number)) for number, curve in enumerate(self._curves[1:])]
        rows = plot(traces, cells, height - 2, view)
        lines = [self._title()]
        for y, row in enumerate(rows):
            label = high if y == 0 else low if y == len(rows) - 1 else ""
            tick = "┤" if label else "│"
            line: Line = (
                (f"{label:>{gutter}} {tick}", "axis"),
                *((text, _TONES[tone] if tone >= 0 else "") for text, tone in row),
            )
            if self._cursor is not None:
                line = _over(line, gutter + 2 + view.column(self._cursor, cells))
            lines.append(line)
        lines.append((self._x_axis(gutter + 1, width),))
        return lines

    def _view(self) -> Range:
        """What the axes reach over."""
        first = self._curves[0]
        positive = [bucket.low for curve in self._curves for bucket in curve.buckets if bucket.low > 0]
        log = self._log and bool(positive)
        low = min(positive) if log else min(curve.low for curve in self._curves)
        high = max(curve.high for curve in self._curves)
        if not log:
            low, high = nice(low, high)
        elif high <= low:
            low, high = low / 1.1, high * 1.1
        end = first.end if first.end > first.start else first.start + 1
        return Range(first.start, end, low, high, log)

    def _title(self) -> Line:
        parts: list[tuple[str, str]] = [(" ", "")]
        for position, curve in enumerate(self._curves):
            value = curve.last if self._cursor is None else _at(curve.buckets, self._cursor)
            name = "line" if position == 0 else _TONES[_tone(position - 1)]
            figure = "value" if position == 0 else name
            parts += [(f"{named(curve.name)} ", name), ("" if value is None else number(value), figure)]
            if position == 0 and curve.smooth:
                average = curve.smooth[-1][1] if self._cursor is None else _smooth_at(curve.smooth, self._cursor)
                parts.append((f" ≈ {number(average)}", "axis"))
            if curve.odd:
                parts.append((f" {curve.odd[0]} not finite from step {curve.odd[1]:.0f}", "odd"))
            parts.append(("  ", ""))
        return tuple(parts)

    def _x_axis(self, indent: int, width: int) -> tuple[str, str]:
        axis = self._curves[0].axis
        reach = f"{place(axis, self._curves[0].start)} – {place(axis, self._curves[0].end)}"
        reached = f"{reach} {unit(axis)}".rstrip()
        log = ["log"] if self._log else []
        cursor = [] if self._cursor is None else [f"at {place(axis, self._cursor)}"]
        choices = ([reached, *log, *cursor], [reach, *log, *cursor], [reach, *cursor], [*log, *cursor], cursor)
        texts = [f" {', '.join(words)} " for words in choices if words]
        room = width - indent - 2
        text = next((text for text in texts if len(text) <= room), "")
        return (" " * indent + "└" + "─" * max(room - len(text), 0) + text, "axis")

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        if y >= len(self._lines):
            return Strip.blank(width, base)
        segments = [
            Segment(text, base + self.get_component_rich_style(f"chart--{style}", partial=True) if style else base)
            for text, style in self._lines[y]
        ]
        return Strip(segments).adjust_cell_length(width, base)


def _tone(number: int) -> int:
    """Of the curves over the first one; the last tone is that of all others."""
    return min(2 + number, len(_TONES) - 1)


def _span(old: Line, new: Line, y: int) -> tuple[int, int, int, int]:
    """Where two states of row `y` differ: x, y, width, 1."""
    before, after = ([(character, style) for text, style in line for character in text] for line in (old, new))
    longest = max(len(before), len(after))
    for cells in (before, after):
        cells += [(" ", "")] * (longest - len(cells))
    differ = [x for x in range(longest) if before[x] != after[x]] or [0]
    return differ[0], y, differ[-1] - differ[0] + 1, 1


def _over(line: Line, at: int) -> Line:
    """A row with the cursor's mark in the cell `at`."""
    pieces: list[tuple[str, str]] = []
    start = 0
    for text, style in line:
        inside = at - start
        if 0 <= inside < len(text):
            pieces += [(text[:inside], style), ("│", "cursor"), (text[inside + 1 :], style)]
        else:
            pieces.append((text, style))
        start += len(text)
    return tuple(piece for piece in pieces if piece[0])


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
