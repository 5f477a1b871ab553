"""The Runs screen: all runs, and everything about the one that is selected."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal

from tuiwb.monitor import AXES
from tuiwb.runs import order
from tuiwb.tui import hardware_texts, run_texts
from tuiwb.tui.screens.runs_answers import AnswersView
from tuiwb.tui.screens.runs_curves import HALF_LIVES, RunCurves
from tuiwb.tui.watch import AnswersSeen, CurvesSeen, DetailSeen, HardwareSeen, LogSeen, RunsSeen, Wanted, Watch
from tuiwb.tui.widgets.charts import Charts
from tuiwb.tui.widgets.frame import Empty, Pane
from tuiwb.tui.widgets.log_view import LogView
from tuiwb.tui.widgets.rows import Rows
from tuiwb.tui.widgets.table import Cell, Column, Table

if TYPE_CHECKING:
    from tuiwb.runs import CheckpointView, RunView

PAGES = ("curves", "hardware", "log", "events", "checkpoints", "answers")


class RunsScreen(RunCurves):
    ROOM: ClassVar[str] = "runs"
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self.views: tuple[RunView, ...] = ()
        self._seen_runs = False
        self._filter = ""
        self._order = order.ORDERS[0]
        self._rows: list[tuple[Cell, ...]] = []
        self._at = 0
        self._detail: DetailSeen | None = None
        self._curves: CurvesSeen | None = None
        self._samples: list[dict[str, Any]] = []
        self.page = PAGES[0]
        self._bare = ("", "")
        self._watch = Watch(self.post_message, Wanted())

    def compose_body(self) -> ComposeResult:
        yield Empty("Looking for runs…", id="none")
        with Horizontal(id="all"):
            yield Pane(
                Table(
                    Column("", 1),
                    Column("run", 12, flex=1),
                    Column("state", 11, from_width=30),
                    Column("step", 9, right=True, from_width=44),
                    Column("loss", 8, right=True, from_width=44),
                    Column("tags", 10, from_width=72),
                    Column("age", 4, right=True),
                    id="runs",
                ),
                title="Runs",
                id="list",
            )
            with Pane(id="detail"):
                yield Rows(fit=True, id="summary")
                yield Empty("", id="bare")
                yield Charts(id="curves", classes="page")
                yield Rows(id="hardware", classes="page")
                yield AnswersView(id="answers", classes="page")
                yield LogView(id="log", classes="page")
                yield Table(
                    Column("when", 13, right=True), Column("event", 14), Column("by", 8), Column("", 20, flex=1),
                    id="events", classes="page",
                )  # fmt: skip
                yield Table(
                    Column("step", 8, right=True), Column("loss", 8, right=True), Column("eval loss", 9, right=True),
                    Column("size", 9, right=True), Column("state", 12, flex=1),
                    Column("where", 24, flex=2, from_width=84), id="checkpoints", classes="page",
                )  # fmt: skip

    # Coming and going

    def opened(self) -> None:
        self._show_page()

    def shown(self) -> None:
        self._watch.want(refresh_s=self.bench.settings.screen.refresh_s)
        self._watch.hurry()
        self.start("watch runs", self._watch.work, lambda _: None)

    def layout_state(self) -> dict[str, Any]:
        wanted = self._watch.wanted
        return {
            "page": self.page,
            "axis": wanted.axis,
            "half_life": wanted.half_life,
            "log_scale": self._charts.log_scale,
            "order": self._order,
        }

    def restore_layout(self, state: dict[str, Any]) -> None:
        if state.get("page") in PAGES:
            self.page = state["page"]
        if state.get("axis") in AXES:
            self._watch.want(axis=state["axis"])
        if state.get("half_life") in HALF_LIVES:
            self._watch.want(half_life=state["half_life"])
        self._charts.log_scale = bool(state.get("log_scale"))
        if state.get("order") in order.ORDERS:
            self._order = state["order"]

    def show_workspace(self, workspace: Any) -> None:
        """Another screen may have launched or chosen a run."""
        if workspace.run_id and workspace.run_id != self._watch.wanted.run_id:
            self._watch.hurry()
            self.select(workspace.run_id)

    # What the thread saw

    def on_runs_seen(self, message: RunsSeen) -> None:
        self.views, self._seen_runs = message.runs, True
        self.bench.runs_seen(message.runs)
        self._list()

    def on_detail_seen(self, message: DetailSeen) -> None:
        if message.view.run_id == self._watch.wanted.run_id:
            self._detail = message
            self._summary()
            self._tables()
            self._show_bare()
            self.refresh_hints()

    def on_curves_seen(self, message: CurvesSeen) -> None:
        if message.run_id == self._watch.wanted.run_id:
            known = self._curves
            if not message.drawn and known is not None:
                message = replace(message, curves=known.curves, over=known.over)
            self._curves = message
            self._summary()
            if message.drawn:
                self._draw()
            self._show_bare()

    def on_log_seen(self, message: LogSeen) -> None:
        if message.run_id == self._watch.wanted.run_id:
            log = self.query_one("#log", LogView)
            if message.fresh:
                log.clear()
            log.add(message.lines)
            self._show_bare()

    def on_answers_seen(self, message: AnswersSeen) -> None:
        if message.run_id == self._watch.wanted.run_id:
            self.query_one("#answers", AnswersView).show(message.answers)
            self._show_bare()

    def on_hardware_seen(self, message: HardwareSeen) -> None:
        panel = self.query_one("#hardware", Rows)
        width, room = panel.content_size.width, panel.content_size.height
        samples = message.samples if self.current and self.current.active else ()  # old ones say nothing of now
        panel.show(
            hardware_texts.hardware(message.gpus, message.host, samples, width, room, message.past, users=message.users)
        )

    # Drawing

    @property
    def _listed(self) -> list["RunView | str"]:
        """What is in the list: runs, and the headings of their groups."""
        found = [view for view in self.views if order.matches(view, self._filter)]
        return order.ordered(found, self._order)

    def _list(self) -> None:
        listed = self._listed
        ids = [None if isinstance(each, str) else each.run_id for each in listed]
        if self.has_class("-none") and self.views:
            self.call_after_refresh(self._focus_list)  # a list that was not in sight could not keep it
        self.set_class(not self.views, "-none")
        self.query_one("#none", Empty).say(
            "There are no runs yet.", "3: choose a recipe and launch it   ·   or type: tuiwb train RECIPE"
        )
        now = time.time()
        before, self._rows = self._rows, [run_texts.entry(each, now, self.marked) for each in listed]
        redraw = None
        if len(before) == len(self._rows):
            redraw = [at for at, (old, new) in enumerate(zip(before, self._rows, strict=True)) if old != new]
        table = self.query_one("#runs", Table)
        wanted = self._watch.wanted.run_id
        at = ids.index(wanted) if wanted in ids and wanted else None
        table.fill(len(listed), self._rows.__getitem__, cursor=at, redraw=redraw)
        runs = [each for each in ids if each]
        note = f"/{self._filter}  {len(runs)} of {len(self.views)}" if self._filter else ""
        by = "" if self._order == order.ORDERS[0] else f"by {self._order}"
        self.query_one("#list", Pane).note("  ".join(word for word in (note, by) if word))
        if at is None and runs:
            self.select(ids[table.cursor] or runs[0])
        self._summary()
        self.refresh_hints()

    def _focus_list(self) -> None:
        if self.focused is None:
            self.query_one("#runs", Table).focus()

    def select(self, run_id: str) -> None:
        if run_id == self._watch.wanted.run_id:
            return
        self._detail = self._curves = None
        self._charts.forget_cursor()
        self._watch.want(run_id=run_id, zoom=1.0, at=None)
        self.bench.keeper.select_run(run_id)
        self.query_one("#log", LogView).clear()
        self.query_one("#answers", AnswersView).clear()
        self._summary()
        self._draw()
        self._tables()
        self._show_bare()

    @property
    def current(self) -> "RunView | None":
        """The selected run."""
        if self._detail is not None:
            listed = next((view for view in self.views if view.run_id == self._detail.view.run_id), None)
            # The list is looked at more often; only the detail has checkpoints.
            return listed or self._detail.view
        return next((view for view in self.views if view.run_id == self._watch.wanted.run_id), None)

    def _summary(self) -> None:
        panel, view = self.query_one("#summary", Rows), self.current
        if view is None:
            panel.show(())
            return
        curves = self._curves
        width = max(panel.content_size.width, 40)
        panel.show(
            run_texts.summary(view, curves.progress if curves else None, curves.last if curves else view.metrics, width)
        )

    def _tables(self) -> None:
        detail = self._detail
        events_, checkpoints = (detail.events, detail.view.checkpoints) if detail else ((), ())
        start = detail.view.created if detail else 0.0
        log = self.query_one("#events", Table)
        at_end = log.cursor >= log.row_count - 1
        log.fill(
            len(events_),
            lambda at: run_texts.event_row(events_[at], start),
            cursor=len(events_) - 1 if at_end else None,
        )
        self.query_one("#checkpoints", Table).fill(
            len(checkpoints), lambda at: run_texts.checkpoint_row(checkpoints[-1 - at])
        )

    def _draw(self) -> None:
        self._charts.show(*((self._curves.curves, self._curves.over) if self._curves else ((),)))
        self._after_drawing()

    def _after_drawing(self) -> None:
        self._watch.want(columns=self._charts.columns)
        hidden = self._charts.hidden if self.page == "curves" else 0
        words = [f"+ {hidden} more curves"] if hidden > 0 else []
        words += ["reading all of it"] if self._curves and self._curves.loading else []
        words += [f"×{1 / self._watch.wanted.zoom:.0f}"] if self._watch.wanted.zoom < 1 else []
        words += [f"/{self._charts.pattern.pattern}"] if self._charts.pattern else []
        words += [self._charts.group] if self._charts.group else []
        self.query_one("#detail", Pane).note("  ".join(words))

    @property
    def checkpoints(self) -> "tuple[CheckpointView, ...]":
        return self._detail.view.checkpoints if self._detail else ()

    @property
    def checkpoint(self) -> "CheckpointView | None":
        table = self.query_one("#checkpoints", Table)
        return self.checkpoints[-1 - table.cursor] if table.has_focus and self.checkpoints else None

    def hurry(self) -> None:
        self._watch.hurry()

    @property
    def _charts(self) -> Charts:
        return self.query_one("#curves", Charts)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._resized)

    def _resized(self) -> None:
        if self.is_open:
            self._summary()
            self._after_drawing()

    def _show_page(self) -> None:
        self.query_one("#detail", Pane).border_title = run_texts.tabs(PAGES, self.page)
        self._watch.want(hardware=self.page == "hardware", curves=self.page == "curves")
        self._show_bare()

    def _show_bare(self) -> None:
        """Show the page, or what it says while it has nothing to show."""
        filled = {
            "curves": bool(self._curves and self._curves.last),
            "log": bool(self.query_one("#log", LogView).lines),
            "answers": bool(self.query_one("#answers", AnswersView).lines),
            "checkpoints": bool(self._detail and self._detail.view.checkpoints),
        }
        said = "" if filled.get(self.page, True) else run_texts.nothing(self.current, self.page)
        if (shown := (self.page, said)) == self._bare:
            return
        self._bare = shown
        bare = self.query_one("#bare", Empty)
        bare.say(*said.partition("\n")[::2])
        bare.display = bool(said)
        for name in PAGES:
            self.query_one(f"#{name}").display = name == self.page and not said
        self.call_after_refresh(self._resized)

    # What the user does

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.table.id != "runs" or event.row >= len(listed := self._listed):
            return
        found = listed[event.row]
        if isinstance(found, str):  # over a heading; the first one has nothing above it
            down = self._at <= event.row or event.row == 0
            event.table.cursor = event.row + (1 if down else -1)
            return
        self._at = event.row
        self.select(found.run_id)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        if event.table.id == "runs":
            self._focus_page()
        elif event.table.id == "events" and self._detail is not None:
            self.read("Event", run_texts.event_text(self._detail.events[event.row]))

    def _focus_page(self) -> None:
        page = self.query_one(f"#{self.page}")
        if page.focusable:
            page.focus()

    def reason(self, action: str) -> str | None:
        if action in ("filter", "restore", "next_page", "previous_page", "sort", "attach"):
            return None
        view = self.current
        if view is None:
            return "No run is selected."
        return run_texts.reason(view, action, bool(self._curves and self._curves.last))

    def action_next_page(self) -> None:
        self._turn(1)

    def action_previous_page(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        inside = self.focused is not None and self.focused.has_class("page")
        self.page = PAGES[(PAGES.index(self.page) + by) % len(PAGES)]
        self._show_page()
        if inside:
            self._focus_page()

    def _show_only(self, text: str) -> None:
        self._filter = text.strip()
        self._list()

    def show_all(self) -> None:
        if self._filter:
            self._show_only("")

    def action_filter(self) -> None:
        self.ask(
            "Filter the runs",
            self._show_only,
            value=self._filter,
            hint="words in its name, id, state, kind, notes or tags (#whole); empty shows all",
        )

    def action_sort(self) -> None:
        self._order = order.ORDERS[(order.ORDERS.index(self._order) + 1) % len(order.ORDERS)]
        self._list()

    def action_mark(self) -> None:
        run_id = self._chosen.run_id
        kept = tuple(each for each in self.marked if each != run_id)
        self.marked = kept if kept != self.marked else (*self.marked, run_id)
        self._watch.want(over=self.marked)
        self._list()

    def copyable(self) -> str:
        if self.page == "log" and self.focused is not None and self.focused.id == "log":
            return "\n".join(self.query_one("#log", LogView).lines)
        return str(self.current.run.path) if self.current else ""
