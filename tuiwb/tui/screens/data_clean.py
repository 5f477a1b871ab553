"""Cleaning, above the Data screen: a list of steps, what each would leave out and what it nearly would, before any of
it is used. The result goes into the open recipe, to a file, or onto the screen as the rows that a step leaves out."""

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuiwb.base.errors import InputFault, TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count
from tuiwb.tui.dialogs import Ask, Choose
from tuiwb.tui.jobs import JobHost
from tuiwb.tui.screens import data_clean_files, data_clean_text
from tuiwb.tui.widgets.pieces import PieceView, wrap
from tuiwb.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.clean.run import Cleaned
    from tuiwb.data.clean.steps import Step
    from tuiwb.tui.screens.data import DataScreen

BY_ITSELF = 32 << 20
"""Bytes; of a larger source the preview waits for a key."""

_KEYS = (
    "a: add  e: edit  d: delete  J K: move  u: undo  ctrl+r: redo  r: run",
    "enter: its rows  s: into the recipe  f: to a file  w: write  esc: leave",
)


class History:
    """The lists of steps that there were; the one that is shown can go back and forth."""

    def __init__(self, steps: "tuple[Step, ...]") -> None:
        self._lists = [steps]
        self._at = 0

    @property
    def now(self) -> "tuple[Step, ...]":
        return self._lists[self._at]

    def change(self, steps: "tuple[Step, ...]") -> None:
        if steps != self.now:
            self._lists[self._at + 1 :] = [steps]
            self._at += 1

    def back(self) -> bool:
        """Whether there was an earlier one."""
        self._at = max(self._at - 1, 0)
        return self._at < len(self._lists) - 1

    def forth(self) -> bool:
        """Whether there was a later one."""
        before = self._at
        self._at = min(self._at + 1, len(self._lists) - 1)
        return self._at != before


_histories: dict[str, History] = {}
"""By path, for the session: what was tried is still there when the panel is opened again."""


def show(screen: "DataScreen", add: "Step | None" = None) -> None:
    """Open the panel on the rows that are shown, with the steps of the recipe where it learns from them.

    Args:
        add: a step to begin with, or to go on with.
    """
    view = screen.view
    assert view is not None  # the screen's `reason` sees to it
    path = str(view.path)

    def read(_: Task) -> "tuple[Step, ...]":
        from tuiwb.data.clean.lists import parse

        entry = data_clean_text.entry_of(screen.workspace.recipe, path)
        return parse(entry.steps or ()) if entry is not None else ()

    def opened(steps: "tuple[Step, ...]") -> None:
        history = _histories.setdefault(path, History(steps))
        if steps:
            history.change(steps)
        if add is not None and add not in history.now:
            history.change((*history.now, add))
        screen.app.push_screen(CleanPanel(screen, view, history))

    screen.start("cleaning steps", read, opened)


class CleanPanel(JobHost, ModalScreen[None]):
    """See the top of this file."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("a", "add"),
        ("e", "edit"),
        ("d,delete", "remove"),
        ("J,shift+down", "move(1)"),
        ("K,shift+up", "move(-1)"),
        ("u", "undo"),
        ("ctrl+r", "redo"),
        ("s", "use"),
        ("f", "save"),
        ("w", "write"),
        ("r", "run"),
        ("escape,q", "leave"),
    ]
    CSS = """
    CleanPanel {
        & > .dialog { width: 96%; max-width: 150; height: 94%; }
        & Table { height: auto; max-height: 45%; min-height: 3; }
        & #found { height: 1fr; margin-top: 1; }
    }
    """

    def __init__(self, room: "DataScreen", view: "View", history: History) -> None:
        super().__init__()
        self._room, self._view, self._history = room, view, history
        self.cleaned: Cleaned | None = None
        """What the steps that are shown do; None while that is not known."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(gate_line(f"Clean {self._view.path.name}"))
            yield Table(
                Column("step", 20, flex=1),
                Column("looked at", 10, right=True, from_width=60),
                Column("left out", 9, right=True),
                Column("changed", 8, right=True),
                id="steps",
            )
            yield PieceView(id="found")
            yield Static(Content.styled("\n".join(_KEYS), "dim"), classes="detail")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._show_steps()
        self.set_interval(0.3, self._show_progress)

    @property
    def steps(self) -> "tuple[Step, ...]":
        return self._history.now

    @property
    def _at(self) -> int:
        return self.query_one(Table).cursor

    # What is shown

    def _show_steps(self, at: int | None = None) -> None:
        """Show the list, and find out what it does."""
        self.cleaned = None
        self._room.flag(self._view, None)
        self.cancel("clean")
        table = self.query_one(Table)
        table.fill(len(self.steps), self._cells, cursor=self._at if at is None else at)
        if self.steps and self._view.store.nbytes <= BY_ITSELF:
            self.action_run()
        else:
            self._show_found()

    def _cells(self, at: int) -> Any:
        step = self.steps[at]
        if self.cleaned is None:
            return step.words(), "", ("…", "dim"), ""
        one = self.cleaned.outcomes[at]
        return (
            step.words(),
            (count(one.looked), "dim"),
            (count(one.removed), "warn" if one.removed else "dim"),
            (count(one.changed), "accent" if one.changed else "dim"),
        )

    def action_run(self) -> None:
        """Judge every row, in the background."""
        view, steps = self._view, self.steps

        def work(task: Task) -> "Cleaned":
            from tuiwb.data.clean.cache import cleaned

            return cleaned(view, steps, task)

        def done(found: "Cleaned") -> None:
            if steps == self.steps:
                self.cleaned = found
                self._room.flag(view, found.why)
                self.query_one(Table).refresh()
                self._show_found()

        self.start("clean", work, done)
        self._show_found()

    def _show_progress(self) -> None:
        box = self.query_one(".dialog")
        said = ""
        if (task := self.task_of("clean")) and task.progress.total:
            said = f"{task.progress.doing} {100 * task.progress.done // task.progress.total} %"
        elif self.cleaned is not None:
            said = f"{count(self.cleaned.kept)} of {count(self.cleaned.rows)} rows stay"
        if str(box.border_subtitle or "") != said:
            box.border_subtitle = Content(said)

    def _show_found(self) -> None:
        """What the step under the cursor leaves out, and what it nearly does."""
        view, found, at, width = self._view, self.cleaned, self._at, self.query_one(PieceView).text_width
        if found is None or at >= len(found.outcomes):
            waits = self.steps and not self.task_of("clean")
            words = "r: see what they would leave out" if waits else "a: add a step or a preset"
            self.query_one(PieceView).show(
                wrap([("judging every row …" if self.task_of("clean") else words, "dim")], width)
            )
            return
        self.start(
            "found",
            lambda _: wrap(data_clean_text.outcome(view, found, at), width),
            self.query_one(PieceView).show,
        )

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self._show_found()

    def on_piece_view_resized(self) -> None:
        self._show_found()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """The rows that a step leaves out, alone on the Data screen."""
        event.stop()
        if self.cleaned is None:
            return
        import numpy as np

        from tuiwb.data.clean.clusters import beside_their_twins

        step = self.steps[event.row]
        twins = beside_their_twins(self.cleaned, event.row)
        if twins and self._room.pages is not None and self._room.view is self._view:
            shown = dict.fromkeys(number for row, kept in twins.items() for number in (kept, row))
            self._room.pages.show_only(np.array(list(shown), np.int64), f"in clusters of {step.name}", twins)
            self._room.show_difference()
            self.action_leave()
            return
        rows = [one.row for one in self.cleaned.removals.values() if one.step == event.row]
        if not rows or self._room.pages is None or self._room.view is not self._view:
            self.app.notify("This step leaves no row out.")
            return
        self._room.pages.show_only(np.array(rows, np.int64), f"left out by {step.name}")
        self._room.fill(0)
        self._room.query_one("#table").focus()
        self.action_leave()

    # The list

    def action_add(self) -> None:
        from tuiwb.data.clean.lists import PRESETS, STEPS

        options = [(name, f"preset: {summary}") for name, (summary, _) in PRESETS.items()]
        options += [(name, step.summary) for name, step in STEPS.items()]
        options.append(("a file …", "a list of steps that was saved"))

        def chosen(position: int | None) -> None:
            if position is None:
                return
            name = options[position][0]
            start = data_clean_text.start_of(name, self._room.workspace.recipe)
            if name == "a file …" or start:
                self._ask("Add a step", start, lambda steps: self._insert(steps))
            else:
                self._typed(name, lambda steps: self._insert(steps))

        self.app.push_screen(Choose("Add a step", options), chosen)

    def action_edit(self) -> None:
        from tuiwb.data.clean.lists import text_of

        at = self._at
        if at < len(self.steps):
            self._ask("Edit the step", text_of(self.steps[at]), lambda new: self._put(at, at + 1, new))

    def action_remove(self) -> None:
        if self._at < len(self.steps):
            self._put(self._at, self._at + 1, ())

    def action_move(self, by: int) -> None:
        at, to = self._at, self._at + by
        if at < len(self.steps) and 0 <= to < len(self.steps):
            moved = list(self.steps)
            moved.insert(to, moved.pop(at))
            self._history.change(tuple(moved))
            self._show_steps(to)

    def action_undo(self) -> None:
        if self._history.back():
            self._show_steps()

    def action_redo(self) -> None:
        if self._history.forth():
            self._show_steps()

    def _insert(self, new: "tuple[Step, ...]") -> None:
        self._put(len(self.steps), len(self.steps), new)

    def _put(self, start: int, end: int, new: "tuple[Step, ...]") -> None:
        self._history.change((*self.steps[:start], *new, *self.steps[end:]))
        self._show_steps(min(start, max(len(self.steps) - 1, 0)))

    def _ask(self, title: str, value: str, then: Any) -> None:
        def answered(text: str | None) -> None:
            if text is not None and text.strip():
                self._typed(text, then, title)

        self.app.push_screen(Ask(title, value, data_clean_text.hint_of(value)), answered)

    def _typed(self, text: str, then: Any, title: str = "") -> None:
        """Read a step; where it is none, what is wrong is said and it can be typed again."""

        def read(_: Task) -> "tuple[Step, ...]":
            from tuiwb.data.clean.lists import typed

            return typed(text)

        def failed(error: TuiwbError) -> None:
            self.job_failed(error)
            if title:
                self._ask(title, text, then)

        self.start("step", read, then, failed)

    # The result

    def action_use(self) -> None:
        """Put the steps into the dataset of the open recipe: training then sees what they leave."""
        recipe, path = self._room.workspace.recipe, str(self._view.path)
        if data_clean_text.entry_of(recipe, path) is None:
            problem = "The open recipe does not learn from this dataset: u on the Data screen makes it."
            self._room.problem(InputFault(problem if recipe else "No recipe is open: ctrl+o opens one."))
            return
        changed = data_clean_text.with_steps(recipe, path, self.steps)
        self._room.bench.keeper.change(changed)
        done = f"The open recipe cleans this dataset by {len(self.steps)} steps." if self.steps else "No step is used."
        self.app.notify(f"{done} u takes a change back, s uses it.")

    def action_save(self) -> None:
        data_clean_files.save_steps(self, self._view)

    def action_write(self) -> None:
        data_clean_files.write_rows(self, self._view)

    def action_leave(self) -> None:
        self.cancel_jobs(kept=True)
        self.dismiss(None)

    def job_failed(self, error: TuiwbError) -> None:
        self._room.problem(error)
