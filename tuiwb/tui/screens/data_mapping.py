"""Which column plays which part: a form that shows beside it what the first rows become."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.tui.jobs import JobHost
from tuiwb.tui.screens.data_detail import Lens, detail_of
from tuiwb.tui.widgets.pieces import Line, PieceView
from tuiwb.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.formats import FormatName

_ROWS = 5


class MappingForm(JobHost, ModalScreen[dict[str, str] | None]):
    """Part to column, or None when it was left.

    Args:
        view: the rows; they are read, never changed.
        name: the format whose parts are given columns.
        mapping: the columns that are known already.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("right,l,space", "next(1)"),
        ("left,h", "next(-1)"),
        ("n", "row(1)"),
        ("N", "row(-1)"),
        ("ctrl+s", "keep"),
        ("escape,q", "leave"),
    ]
    DEFAULT_CSS = """
    MappingForm {
        align: center middle;
        & Horizontal { height: 1fr; }
        & Table { width: 2fr; }
        & PieceView { width: 3fr; }
    }
    """

    def __init__(self, view: "View", name: "FormatName", mapping: Mapping[str, str]) -> None:
        super().__init__()
        self._view, self._format = view, name
        self._mapping = dict(mapping)
        self._parts: list[tuple[str, bool]] = []
        self._columns: list[str] = []
        self._row = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(f"{self._format}: which column plays which part?")
            with Horizontal():
                yield Table(Column("part", 14), Column("column", 12, flex=1), id="parts")
                yield PieceView()
            hint = "←→: another column   n: another row   enter: take it   esc: leave"
            yield Static(Content.styled(hint, "dim"), classes="detail")

    def on_mount(self) -> None:
        from tuiwb.data.formats import FORMATS

        form = FORMATS[self._format]
        self._parts = [(part, part in form.needed) for part in form.parts]
        self._columns = list(self._view.columns)
        self.query_one(Table).focus()
        self._draw()

    def on_piece_view_resized(self) -> None:
        self._preview()

    def action_next(self, by: int) -> None:
        """Another column for the part under the cursor; an optional part may have none."""
        part, needed = self._parts[self.query_one(Table).cursor]
        options: list[str | None] = [*self._columns] if needed else [None, *self._columns]
        now = self._mapping.get(part)
        at = options.index(now) if now in options else (-1 if by > 0 else 0)
        chosen = options[(at + by) % len(options)] if options else None
        if chosen is None:
            self._mapping.pop(part, None)
        else:
            self._mapping[part] = chosen
        self._draw()

    def action_row(self, by: int) -> None:
        self._row = (self._row + by) % max(min(self._view.known, _ROWS), 1)
        self._preview()

    def on_table_chosen(self) -> None:
        self.action_keep()

    def action_keep(self) -> None:
        missing = [part for part, needed in self._parts if needed and part not in self._mapping]
        if missing:
            self._say(f"{self._format} needs a column for {' and '.join(missing)}")
            return
        self.dismiss(self._mapping)

    def action_leave(self) -> None:
        self.dismiss(None)

    def job_failed(self, error: TuiwbError) -> None:
        self._say(str(error))

    def _draw(self) -> None:
        self.query_one(Table).fill(len(self._parts), self._cells)
        self._preview()

    def _cells(self, at: int) -> tuple[Any, ...]:
        part, needed = self._parts[at]
        column = self._mapping.get(part)
        if column is None:
            return (part, "bad" if needed else "dim"), ("?" if needed else "—", "bad" if needed else "dim")
        twice = list(self._mapping.values()).count(column) > 1
        return part, (gate_line(column, 60), "warn" if twice else "good")

    def _preview(self) -> None:
        """What the row becomes with these columns, or why it becomes nothing."""
        view, name, mapping, number = self._view, self._format, dict(self._mapping), self._row
        width = self.query_one(PieceView).text_width

        def work(_: Task) -> Sequence[Line]:
            return detail_of(view, number, name, mapping, Lens(), width)

        self.start("preview", work, lambda lines: self.query_one(PieceView).show(lines))

    def _say(self, text: str) -> None:
        self.query_one(".detail", Static).update(Content.styled(gate_line(text), "$text-error"))
