"""Charts of a dataset: bars of lengths, turns, trained share, the cut, languages and sources; enter on a bar shows its
rows alone. A sample is measured first, then all rows."""

from typing import TYPE_CHECKING, Any

from textual.content import Content
from textual.widgets import Static

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tuiwb.data.measure import Bar, Chart, Measures
    from tuiwb.tui.screens.data import DataScreen

_ALL = 200_000
"""Rows; of more, a larger sample is measured instead of all, which would keep this program busy for an hour. The verb
`tuiwb data chart` measures any number."""

_MANY = 20_000
_EIGHTHS = " ▏▎▍▌▋▊▉"


class ChartPane(Pane):
    """One chart as a table of bars."""

    def __init__(self) -> None:
        self.table = Table(
            Column("", 12, right=True), Column("rows", 9, right=True), Column("", 10, flex=1), id="chart-table"
        )
        self.said = Static(id="chart-note")
        super().__init__(
            self.said, self.table, title="Chart", note="b: the next   enter: its rows   esc: back", id="charts"
        )
        self.measures: Measures | None = None
        self.of: tuple[Any, Any] = (None, None)
        """What was measured: the view and the lens."""
        self.which = "length"
        self._bars: tuple[Bar, ...] = ()

    def draw(self) -> None:
        """Show the chosen chart of what is measured."""
        from tuiwb.data.measure import chart

        if self.measures is None:
            self.border_title = "Chart: measuring …"
            self.table.fill(0, self._cells)
            return
        drawn: Chart = chart(self.measures, self.which, max(self.table.size.height - 1, 6))
        self._bars = drawn.bars
        self.border_title = Content(gate_line(drawn.title))
        self.said.update(
            Content.styled(gate_line(drawn.note), "$text-warning" if self.which == "cut" else "$foreground")
        )
        wide = max((len(bar.label) for bar in drawn.bars), default=8)
        self.table.set_columns(
            Column("", min(wide, 24), right=True), Column("rows", 9, right=True), Column("", 10, flex=1)
        )
        self.table.fill(len(self._bars), self._cells)

    def rows_at(self, at: int) -> Any:
        return self._bars[at].rows

    def label_at(self, at: int) -> str:
        return f"{self.border_title}: {self._bars[at].label}"

    def _cells(self, at: int) -> tuple[Any, ...]:
        bar = self._bars[at]
        most = max((len(one.rows) for one in self._bars), default=1) or 1
        room = self.table.widths()[2]
        eighths = round(8 * room * len(bar.rows) / most)
        drawn = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        lost = self.which == "cut" and at > 0
        beyond = self.which == "length" and self.measures is not None and self.measures.max_length is not None
        tone = "warn" if lost or (beyond and bar.low > (self.measures.max_length or 0)) else "accent"  # type: ignore[union-attr]
        return bar.label, count(len(bar.rows)), (drawn or ("▏" if len(bar.rows) else ""), tone)


def show(screen: "DataScreen") -> None:
    """Show the charts; when they are shown and have the focus, the next one."""
    from tuiwb.data.measure import CHARTS

    pane = screen.query_one(ChartPane)
    if screen.has_class("-charts") and pane.table.has_focus:
        pane.which = CHARTS[(CHARTS.index(pane.which) + 1) % len(CHARTS)]
    screen.set_class(True, "-charts")
    if screen.has_class("-narrow"):
        screen.set_class(False, "-problems")
    pane.table.focus()
    pane.draw()
    refresh(screen)


def leave(screen: "DataScreen") -> None:
    """Back to the row."""
    screen.set_class(False, "-charts")
    screen.cancel("measure")
    screen.query_one("#table").focus()
    screen.show_format()
    screen.show_row()


def refresh(screen: "DataScreen") -> None:
    """Measure what is shown, unless that is done: a sample first, then every row."""
    view, lens, pane = screen.view, screen.lens, screen.query_one(ChartPane)
    if view is None or not screen.has_class("-charts"):
        return
    if pane.of == (view, lens) and (screen.task_of("measure") or (pane.measures and pane.measures.whole)):
        return
    if pane.of != (view, lens):
        pane.of, pane.measures = (view, lens), None
        pane.draw()

    def few(task: Task) -> "Measures":
        from tuiwb.data.measure import measure, sample_rows

        return measure(view, lens.renderer, sample_rows(view), task)

    def every(task: Task) -> "Measures":
        from tuiwb.data.measure import measure, sample_rows

        return measure(view, lens.renderer, None if view.known <= _ALL else sample_rows(view, _MANY), task)

    def measured(found: "Measures") -> None:
        if pane.of != (view, lens):
            return
        first, pane.measures = pane.measures is None, found
        pane.draw()
        screen.show_format()
        if first and not found.whole:
            screen.start("measure", every, measured)

    screen.start("measure", few if pane.measures is None else every, measured)


def chosen(screen: "DataScreen", at: int) -> None:
    """Show the rows of a bar alone."""
    import numpy as np

    pane = screen.query_one(ChartPane)
    if screen.pages is None or not len(pane.rows_at(at)):
        return
    screen.pages.show_only(np.sort(pane.rows_at(at)), f"of {pane.label_at(at)}")
    screen.fill(0)
    screen.query_one("#table").focus()
