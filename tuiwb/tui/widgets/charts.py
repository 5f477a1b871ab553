"""The charts of one run side by side: as many as there is room for, on one x axis, with one cursor."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual.app import ComposeResult
from textual.containers import Grid

from tuiwb.monitor import Curve
from tuiwb.monitor.groups import GROUPS, group_of, groups_of
from tuiwb.tui.widgets.chart import Chart

_FIRST = ("loss", "lr", "grad_norm", "tokens_per_s")
_OVER = {"loss": "eval_loss"}
"""Metrics that are drawn into the chart of another."""
_LEAST = (34, 7)
"""Cells that a chart needs to be worth looking at."""
_MOST = 6


@dataclass(frozen=True, slots=True)
class Overlay:
    """Another run whose curves are drawn over those of the same name."""

    run_id: str
    name: str
    curves: tuple[Curve, ...]


class Charts(Grid):
    """Attributes:
    log_scale: the y axes are logarithmic.
    pattern: only metrics whose name it is found in are drawn; None draws all.
    group: only metrics of this group are drawn (one of `monitor.groups.GROUPS`); None draws all.
    """

    DEFAULT_CSS = "Charts { height: 1fr; width: 1fr; grid-gutter: 0 2; }"

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self.log_scale = False
        self.pattern: re.Pattern[str] | None = None
        self.group: str | None = None
        self._over: tuple[Overlay, ...] = ()
        self._curves: tuple[Curve, ...] = ()
        self._first = 0
        self._cursor: float | None = None

    def compose(self) -> ComposeResult:
        for _ in range(_MOST):
            yield Chart()

    @property
    def columns(self) -> int:
        """How many points side by side the widest chart can show."""
        across = max(int(self.styles.grid_size_columns or 1), 1)
        return max(self.size.width // across, 20) * 2

    @property
    def hidden(self) -> int:
        """How many charts there is no room for."""
        return len(self._names()) - sum(chart.display for chart in self.query(Chart))

    @property
    def cursor(self) -> float | None:
        """Where the values are read; None at the end."""
        return self._cursor

    def show(self, curves: Sequence[Curve], over: Sequence[Overlay] = ()) -> None:
        """Draw these; empty for a run that has logged nothing."""
        self._curves, self._over = tuple(curves), tuple(over)
        self.draw()

    def forget_cursor(self) -> None:
        """The x axis is another."""
        self._cursor = None

    def move_cursor(self, by: int) -> None:
        """Read the values elsewhere; right of the end they are the newest again."""
        if not self._curves:
            return
        first = self._curves[0]
        step = (first.end - first.start) / 50 or 1.0
        at = (first.end if self._cursor is None else self._cursor) + by * step
        self._cursor = None if at > first.end else max(at, first.start)
        self.draw()

    def next_group(self) -> None:
        """Draw the metrics of the next group alone, and after the last one all of them."""
        choices = [None, *groups_of(curve.name for curve in self._curves)]
        at = choices.index(self.group) if self.group in choices else 0
        self.group, self._first = choices[(at + 1) % len(choices)], 0
        self.draw()

    def rotate(self) -> None:
        """Begin with the next metric."""
        self._first += 1
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        by_name = {curve.name: curve for curve in self._curves}
        names = self._names()
        self._first %= max(len(names), 1)
        names = names[self._first :] + names[: self._first]
        shown = self._arrange(len(names))
        for position, chart in enumerate(self.query(Chart)):
            chart.display = position < shown
            if position < shown:
                curves = [by_name[names[position]], *self._above(names[position], by_name)]
                chart.show(curves, log=self.log_scale, cursor=self._cursor)

    def _above(self, name: str, by_name: dict[str, Curve]) -> list[Curve]:
        """What is drawn over a metric: the same one of other runs, or else the metric that belongs to it."""
        if self._over:
            named = ((each.name, curve) for each in self._over for curve in each.curves if curve.name == name)
            return [replace(curve, name=run) for run, curve in named]
        over = by_name.get(_OVER.get(name, ""))
        return [over] if over else []

    def _names(self) -> list[str]:
        """The metrics that get a chart of their own, the usual ones first."""
        known = [curve.name for curve in self._curves]
        if self.pattern is not None:
            known = [name for name in known if self.pattern.search(name)]
        if self.group in groups_of(known):  # another run may have no such metrics
            return [name for name in known if group_of(name) == self.group]
        known.sort(key=lambda name: GROUPS.index(group_of(name)))
        if self.pattern is not None:
            return known
        names = [name for name in _FIRST if name in known]
        over = {second for first, second in _OVER.items() if first in known}
        return names + [name for name in known if name not in names and name not in over]

    def _arrange(self, wanted: int) -> int:
        """Choose rows and columns.

        Returns:
            how many charts are shown.
        """
        width, height = self.size
        across = min(max(width // _LEAST[0], 1), 3)
        down = max(height // _LEAST[1], 1)
        shown = min(wanted, across * down, _MOST)
        across = min(across, 2 if shown == 4 else max(shown, 1))
        self.styles.grid_size_columns = across
        self.styles.grid_size_rows = -(-shown // across) or 1
        return shown
