"""The charts of one run side by side: as many as there is room for, on one x axis, with one cursor."""

from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Grid

from tuiwb.monitor import Curve
from tuiwb.tui.widgets.chart import Chart

_FIRST = ("loss", "lr", "grad_norm", "tokens_per_s")
_OVER = {"loss": "eval_loss"}
"""Metrics that are drawn into the chart of another."""
_LEAST = (34, 7)
"""Cells that a chart needs to be worth looking at."""
_MOST = 6


class Charts(Grid):
    """Attributes:
    log_scale: the y axes are logarithmic.
    """

    DEFAULT_CSS = "Charts { height: 1fr; width: 1fr; grid-gutter: 0 2; }"

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self.log_scale = False
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

    def show(self, curves: Sequence[Curve]) -> None:
        """Draw these; empty for a run that has logged nothing."""
        self._curves = tuple(curves)
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
                over = by_name.get(_OVER.get(names[position], ""))
                curves = [by_name[names[position]], *([over] if over else [])]
                chart.show(curves, log=self.log_scale, cursor=self._cursor)

    def _names(self) -> list[str]:
        """The metrics that get a chart of their own, the usual ones first."""
        known = [curve.name for curve in self._curves]
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
