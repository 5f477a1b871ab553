"""The Data screen: page through a dataset of any size, see each row as the model will, and what is wrong with it."""

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count, size
from tuiwb.tui.screens import data_charts, data_check, data_format, data_lens, data_open, data_run
from tuiwb.tui.screens.data_actions import DataActions
from tuiwb.tui.screens.data_charts import ChartPane
from tuiwb.tui.screens.data_detail import DIFFERENCE, VIEWS, Detail, Lens, detail
from tuiwb.tui.screens.data_open import Source, Wish
from tuiwb.tui.screens.data_problems import ProblemsPane
from tuiwb.tui.screens.data_rows import RowPages, Shown, read_page
from tuiwb.tui.widgets.edges import write_edges
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.pieces import PieceView
from tuiwb.tui.widgets.start import Start
from tuiwb.tui.widgets.table import Column, Table
from tuiwb.tui.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuiwb.data import View

_RECENT = 12
_WORK = ("search", "measure", "check", "fit", "index")
"""Jobs that say how far they are."""
_OF_A_SOURCE = (*_WORK, "rows", "detail", "problems", "changed", "edit", "compare")
"""Jobs that end when another dataset is shown; what is written goes on."""


class DataScreen(DataActions):
    ROOM: ClassVar[str] = "data"
    CSS_PATH = "data.tcss"

    def compose_body(self) -> ComposeResult:
        with Container(id="browser"):
            yield Static(id="format")
            with Container(id="sides"):
                with Vertical(id="left"):
                    yield Pane(Table(Column("row"), id="table"), title="Rows", id="rows")
                    yield ProblemsPane()
                yield Pane(PieceView(id="text"), title="Row", id="detail")
                yield ChartPane()
        yield Start("No dataset is open. Begin with one of these (↑↓, enter):", id="empty")

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[Source] = []
        """Every dataset that is open; `source` is the one that is shown."""
        self.source: Source | None = None
        self.look = VIEWS[0]
        self.lens = Lens(problem="No model is open: m chooses one, and its chat template shows what it sees.")
        self.recent: list[str] = []
        self.compared: tuple[View, int] | None = None
        """The row that the next one is to be compared with."""
        self._lens_of: Any = None
        self._chosen_model = ""
        self._wish: Wish | None = None
        self._offered, self._wanted_row = "", 0
        self._said, self._detail_title, self._soon = Content(), "", False

    @property
    def view(self) -> "View | None":
        """The rows that are shown."""
        return self.source.view if self.source else None

    @property
    def pages(self) -> RowPages | None:
        return self.source.pages if self.source else None

    @property
    def query_text(self) -> str:
        """What was searched for last."""
        return self.source.query_text if self.source else ""

    @query_text.setter
    def query_text(self, text: str) -> None:
        if self.source:
            self.source.query_text = text

    # The session

    def layout_state(self) -> dict[str, Any]:
        return {**data_open.state_of(self.view), "row": self.row or 0, "look": self.look, "recent": self.recent}

    def restore_layout(self, state: dict[str, Any]) -> None:
        recent, look, wish = state.get("recent"), state.get("look"), data_open.wish_of(state)
        self.recent = [str(one) for one in recent][:_RECENT] if isinstance(recent, list) else []
        self.look = str(look) if look in VIEWS else self.look
        if wish is not None and (self.view is None or state.get("start")):
            self._wanted_row = state["row"] if isinstance(state.get("row"), int) else 0
            self.open_wish(wish)
        if isinstance(state.get("run"), str):
            data_run.show(self, state["run"])

    # What is shown

    def opened(self) -> None:
        self.set_class(self.view is None and self._wish is None, "-nothing")
        self.every(0.5, self._tick)
        self.every(3.0, self._look_at_the_file)

    def shown(self) -> None:
        # Leaving cancelled what was under way.
        if self._wish is not None and self.task_of("open") is None:
            self.open_wish(self._wish)
        if self.view is not None:
            self._index(self.view)
        elif self._wish is None:
            data_open.begin(self)

    def show_workspace(self, workspace: Workspace) -> None:
        path = data_format.dataset_of(workspace)
        if path and path != self._offered:
            self._offered = path
            if self.view is None and self._wish is None:
                self.open(path, entry=workspace.recipe.datasets[0])
        self._refresh_lens()

    def open(self, path: str, *, entry: Any = None, name: str | None = None, columns: Any = None) -> None:
        """Open a dataset beside those that are open, or again."""
        self.open_wish(Wish(path, entry, name, columns))

    def open_wish(self, wish: Wish) -> None:
        """Open a dataset, in a thread; what was open stays when it cannot be."""
        self._wish = wish
        if self.view is None:
            self.query_one("#format", Static).update(Content.styled(gate_line(f"opening {wish.path} …"), "dim"))

        def failed(error: TuiwbError) -> None:
            self._wish = None
            data_open.failed(self, wish, error)

        self.start("open", lambda task: data_open.load(wish, task), self.take, failed)

    def take(self, view: "View") -> None:
        """Show a dataset that was opened."""
        self._wish = None
        old = next((source for source in self.sources if source.view.path == view.path), None)
        again = old is not None and old is self.source
        row = self._wanted_row or ((self.row or 0) if again else 0)
        source = Source(view, RowPages(view, self._read), row=row)
        self._wanted_row = 0
        if old is None:
            self.sources.append(source)
        else:
            self.sources[self.sources.index(old)] = source
            self.source = None if again else self.source
        self.recent = list(dict.fromkeys([str(view.path), *self.recent]))[:_RECENT]
        self.set_class(False, "-nothing")
        self.show_source(source)

    def show_source(self, source: Source) -> None:
        """Show one of the open datasets."""
        if self.source is not None:
            self.source.row = self.row or 0
        for job in _OF_A_SOURCE:
            self.cancel(job)
        self.source = source
        if source.view.verdict is None:
            self.query_one(ProblemsPane).show((), whole=False)  # those of another dataset
        self.fill(source.row)
        if not self.has_class("-charts"):
            self.query_one("#table").focus()
        self._index(source.view)
        data_charts.refresh(self)
        self.refresh_hints()

    def fill(self, row: int | None = None) -> None:
        """Show the rows; the cursor on this one."""
        if self.pages is None:
            return
        table = self.query_one("#table", Table)
        cursor = table.cursor if row is None else self.pages.line(row)
        table.fill(len(self.pages), self.pages.cells, cursor=cursor)
        if not len(self.pages):
            self._lay_out()  # no page comes that would bring its columns
        self.show_format()
        self.show_row()

    def _read(self, wanted: list[int]) -> None:
        """Pages that the table has no rows for: read them, the latest wish first."""
        pages, view = self.pages, self.view
        if pages is None or view is None:
            return
        numbers = {page: pages.numbers(page) for page in wanted[-6:]}

        def work(_: Task) -> dict[int, list[Shown]]:
            return {page: read_page(view, rows) for page, rows in numbers.items()}

        def done(read: dict[int, list[Shown]]) -> None:
            if pages is self.pages:
                if pages.take(read) or 0 in read:
                    self._lay_out()
                self.query_one("#table").refresh()

        def failed(error: TuiwbError) -> None:
            pages.lost()
            self.problem(error)

        self.start("rows", work, done, failed)

    def _lay_out(self) -> None:
        table = self.query_one("#table", Table)
        if self.pages is not None:
            table.set_columns(*self.pages.layout(table.size.width))

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay_out)

    def _index(self, view: "View") -> None:
        """Find all rows, then read them all where that is quick."""
        before = view.format

        def done(_: None) -> None:
            if view is not self.view or self.pages is None:
                return
            if view.format is not before:
                self.pages.forget()  # their problems are judged by another format now
            self.fill()
            if view.verdict is None and view.store.nbytes <= data_check.CHECK_BY_ITSELF:
                data_check.check(self, by_itself=True)
            else:
                data_check.show(self)

        self.start("index", lambda task: view.index(task), done)

    def _tick(self) -> None:
        """Rows that were found since, and how far the work is."""
        if self.pages is not None and any(self.task_of(job) for job in _WORK):
            # Another length of the table lays out the whole screen: not more often than needed.
            if len(self.pages) > 1.3 * self.query_one("#table", Table).row_count:
                self.query_one("#table", Table).fill(len(self.pages), self.pages.cells)
            self.show_format()

    def _look_at_the_file(self) -> None:
        data_open.look_again(self)

    def show_format(self) -> None:
        """Format, confidence and reason; how far work is; what happened to the file."""
        source = self.source
        if source is None:
            return
        view, pages = source.view, source.pages
        said = data_format.verdict(view, source.changed)
        if said != self._said:  # writing it again would lay out the whole screen
            self._said = said
            self.query_one("#format", Static).update(said)
        rows = self.query_one("#rows", Pane)
        among = f"  {self.sources.index(source) + 1} of {len(self.sources)}" if len(self.sources) > 1 else ""
        title = gate_line(view.path.name, 40) + among
        found = f"{count(len(pages))} {gate_line(pages.what, 30)} of " if pages.what else ""
        words = f"{found}{count(view.known)} rows, {view.store.kind}, {size(view.store.nbytes)}"
        words += data_format.progress([task for job in _WORK if (task := self.task_of(job))])
        write_edges(rows, Content(title), Content(words))

    @property
    def row(self) -> int | None:
        """The number of the row under the cursor."""
        if self.pages is None or not len(self.pages):
            return None
        return self.pages.number(min(self.query_one("#table", Table).cursor, len(self.pages) - 1))

    def show_row(self) -> None:
        self._soon = False
        view, row, text = self.view, self.row, self.query_one(PieceView)
        if view is None or row is None:
            write_edges(self.query_one("#detail", Pane), Content("Row"), Content())
            text.show(())
            return
        look, lens, width = self.look, self.lens, text.text_width
        twin = self.pages.twins.get(row) if self.pages else None
        why = self.pages.why(row) if self.pages and self.pages.why else None
        self.start("detail", lambda _: detail(view, row, look, lens, width, twin, why or ""), self._show_detail)

    def flag(self, view: "View", why: "Callable[[int], str | None] | None") -> None:
        """Mark the rows that cleaning steps leave out."""
        for source in self.sources:
            if source.view is view:
                source.pages.why = why
        self.query_one("#table").refresh()
        self.show_row()

    def show_difference(self) -> None:
        """Show where rows differ from those that stay for them."""
        self.look = DIFFERENCE
        self.fill(0)
        self.query_one("#table").focus()

    def _show_detail(self, found: Detail) -> None:
        pane, text = self.query_one("#detail", Pane), self.query_one(PieceView)
        same = found.title == self._detail_title
        self._detail_title = found.title
        write_edges(pane, Content(found.title), Content(found.counts or self.lens.name))
        text.show(found.lines, top=not same)

    # What happens

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.table.id == "table" and not self._soon:
            self._soon = True
            self.set_timer(0.04, self.show_row)  # the table is drawn first

    def on_table_chosen(self, event: Table.Chosen) -> None:
        if event.table.id == "table":
            self.query_one(PieceView).focus()
        elif event.table.id == "chart-table":
            data_charts.chosen(self, event.row)

    def on_problems_pane_case(self, event: ProblemsPane.Case) -> None:
        self.go(event.row)

    def on_piece_view_resized(self) -> None:
        self.show_row()

    def go(self, row: int) -> None:
        """To a row, whatever is filtered."""
        if self.pages is None:
            return
        if not self.pages.has(row):
            self.pages.show_only(None)
        self.fill(row)

    def move(self, by: int) -> None:
        """Some rows on."""
        self.query_one("#table", Table).cursor += by

    def marked(self, row: int) -> None:
        """A row was changed by hand: read it again."""
        if self.pages is not None:
            self.pages.forget_row(row)
            self.query_one("#table").refresh()
        self.show_row()
        self.refresh_hints()

    def _refresh_lens(self) -> None:
        """The template and tokenizer of the model, when it or the recipe is another."""
        wanted = data_lens.wanted(self.workspace, self._chosen_model)
        if wanted == self._lens_of:
            return
        self._lens_of = wanted

        def done(lens: Lens) -> None:
            if lens.of and lens.of == self.lens.of:
                return  # the recipe changed elsewhere
            self.lens = lens
            self.show_row()
            if self.view is not None and self.view.verdict is not None:
                data_check.check(self, by_itself=True)
            data_charts.refresh(self)

        self.start("lens", lambda task: data_lens.load(wanted, task), done)

    # For the actions

    def choose_model(self, name: str) -> None:
        self._chosen_model = name
        self._refresh_lens()

    def action_problems(self) -> None:
        table = self.query_one(ProblemsPane).table
        if table.has_focus:
            self.set_class(not self.has_class("-narrow"), "-problems")
            self.query_one("#table").focus()
        else:
            self.set_class(True, "-problems")
            table.focus()

    def shift(self, by: int) -> None:
        """Show the columns further right or left."""
        if self.pages is not None:
            last = max(len(self.pages.columns) - 1, 0)
            self.pages.first_column = min(max(self.pages.first_column + by, 0), last)
            self._lay_out()

    def copyable(self) -> str:
        return self.query_one(PieceView).plain if self.view else ""
