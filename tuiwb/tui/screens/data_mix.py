"""The datasets that are open as one epoch, above the Data screen: the share of each, how often its rows are repeated,
and what that comes to in tokens. The mixture goes into the open recipe or to a file."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuiwb.base.errors import InputFault, TuiwbError, UsageFault
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count
from tuiwb.tui.dialogs import Ask, Choose
from tuiwb.tui.jobs import JobHost
from tuiwb.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.mixture import Counted, Mixture
    from tuiwb.tui.screens.data import DataScreen

_KEYS = "enter: share  x: repeats  d: leave out  s: into recipe  w: write  esc"  # a line of 72 cells
_fixed: dict[str, float] = {}
"""Shares that were typed, by path, for the session."""


def show(screen: "DataScreen") -> None:
    screen.app.push_screen(MixPanel(screen))


def share_of(text: str) -> float | None:
    """`30%` or `0.3` as a share; None for nothing typed.

    Raises:
        UsageFault: it is none.
    """
    if not text.strip():
        return None
    found = re.fullmatch(r"([\d.]+)\s*(%?)", text.strip())
    try:
        share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageFault(f"{text.strip()} is no share of the mixture, such as 30%")
    return share


class MixPanel(JobHost, ModalScreen[None]):
    """See the top of this file."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("x", "cap"),
        ("d,delete", "leave_out"),
        ("s", "use"),
        ("w", "write"),
        ("escape,q", "leave"),
    ]
    CSS = """
    MixPanel {
        & > .dialog { width: 96%; max-width: 130; height: auto; max-height: 90%; }
        & Table { height: auto; max-height: 20; min-height: 3; }
        & #said { height: auto; margin-top: 1; padding: 0 1; }
    }
    """

    def __init__(self, room: "DataScreen") -> None:
        super().__init__()
        self._room = room
        self._views: list[View] = [source.view for source in room.sources]
        self._cap: float | None = None
        self._counted: Counted | None = None
        self.mixture: Mixture | None = None
        """What the shares come to; None while that is not known."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Mix the datasets that are open"
            yield Table(
                Column("source", 16, flex=1),
                Column("rows", 9, right=True),
                Column("share", 7, right=True),
                Column("examples", 9, right=True),
                Column("repeats", 7, right=True),
                Column("tokens", 12, right=True, from_width=70),
                Column("trained", 12, right=True, from_width=84),
            )
            yield Static(id="said")
            yield Static(Content.styled(_KEYS, "dim"), classes="detail")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._count()
        self.set_interval(0.3, self._show_progress)

    @property
    def _shares(self) -> list[float | None]:
        return [_fixed.get(str(view.path)) for view in self._views]

    def _count(self) -> None:
        """Find out what the shares come to, in the background."""
        views, shares, cap, renderer = [*self._views], self._shares, self._cap, self._room.lens.renderer
        self.mixture = None

        def work(task: Task) -> "Mixture":
            from tuiwb.data.mixture import Counted, mix

            self._counted = self._counted or Counted()
            return mix(views, shares, max_repeats=cap, renderer=renderer, counted=self._counted, task=task)

        def done(found: "Mixture") -> None:
            self.mixture = found
            self.query_one(Table).refresh()
            self._say(found)

        def failed(error: TuiwbError) -> None:
            self.query_one("#said", Static).update(Content.styled(gate_line(str(error), 300), "$text-error"))

        self.query_one("#said", Static).update(Content.styled("counting …", "dim"))
        self.query_one(Table).fill(len(views), self._cells)
        self.start("mix", work, done, failed)

    def _cells(self, at: int) -> Any:
        name, share = gate_line(self._views[at].path.name, 60), self._shares[at]
        if self.mixture is None:
            return name, ("…", "dim"), "" if share is None else f"{share:.1%}", "", "", "", ""
        one = self.mixture.sources[at]
        return (
            name,
            count(one.usable),
            (f"{one.share:.1%}", "accent" if share is not None else ""),
            count(one.examples),
            (f"{one.repeats:.2f}", "warn" if one.repeats > 4 else ""),
            "" if one.tokens is None else count(one.tokens),
            "" if one.trained is None else count(one.trained),
        )

    def _say(self, found: "Mixture") -> None:
        said = f"{count(len(found.rows))} examples an epoch"
        tokens = [one.tokens for one in found.sources if one.tokens is not None]
        if tokens:
            said += f", about {count(sum(tokens))} tokens of {self._room.lens.name}"
        else:
            said += "; m on the Data screen chooses a model, whose tokens are counted then"
        if self._cap is not None:
            said += f"; no row more often than {self._cap:g} times"
        said += ". Five to ten per cent of general data keep a model from forgetting what it knew."
        self.query_one("#said", Static).update(Content.styled(gate_line(said, 400), "dim"))

    def _show_progress(self) -> None:
        box, said = self.query_one(".dialog"), ""
        if (task := self.task_of("mix") or self.task_of("write")) and task.progress.total:
            said = f"{gate_line(task.progress.doing, 50)} {100 * task.progress.done // task.progress.total} %"
        if str(box.border_subtitle or "") != said:
            box.border_subtitle = Content(said)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """The share of a source."""
        event.stop()
        path = str(self._views[event.row].path)

        def typed(text: str | None) -> None:
            if text is None:
                return
            try:
                share = share_of(text)
            except UsageFault as error:
                self._room.problem(error)
                return
            _fixed.pop(path, None)
            if share is not None:
                _fixed[path] = share
            self._count()

        now = _fixed.get(path)
        value = "" if now is None else f"{100 * now:g}%"
        self.app.push_screen(Ask("Share of an epoch", value, "such as 30%; nothing: by its rows"), typed)

    def action_leave_out(self) -> None:
        """Mix the others; the dataset stays open."""
        if len(self._views) > 1:
            del self._views[self.query_one(Table).cursor]
            self._count()

    def action_cap(self) -> None:
        def typed(text: str | None) -> None:
            if text is None:
                return
            try:
                self._cap = float(text) if text.strip() else None
            except ValueError:
                self._room.problem(UsageFault(f"{text.strip()!r} is no number of times, such as 4"))
                return
            self._count()

        now = "" if self._cap is None else f"{self._cap:g}"
        self.app.push_screen(Ask("No row more often in an epoch than", now, "a number; nothing: no limit"), typed)

    def action_use(self) -> None:
        """The open recipe learns from these datasets in these shares."""
        import msgspec

        from tuiwb.tui.screens.data_format import entry_of

        recipe, found = self._room.workspace.recipe, self.mixture
        if recipe is None or found is None:
            self._room.problem(InputFault("The shares are being counted." if recipe else "No recipe is open: ctrl+o."))
            return
        weights: list[float | None] = list(found.weights)
        if all(share is None for share in self._shares) and self._cap is None:
            weights = [None] * len(weights)
        entries = tuple(
            msgspec.structs.replace(entry_of(view, recipe), weight=weight)
            for view, weight in zip(self._views, weights, strict=True)
        )
        self._room.bench.keeper.change(msgspec.structs.replace(recipe, datasets=entries))
        self.app.notify(f"The recipe learns from {len(entries)} datasets in these shares.")

    def action_write(self) -> None:
        """An epoch of the mixture as a file, in one format."""
        from tuiwb.data.convert import TARGETS

        formats = {view.format.name for view in self._views}
        if len(formats) == 1:
            self._ask_file(None)
            return
        names = list(TARGETS)

        def chosen(position: int | None) -> None:
            if position is not None:
                self._ask_file(names[position])

        said = "The datasets differ: write all of them as"
        self.app.push_screen(Choose(said, [(name, "") for name in names]), chosen)

    def _ask_file(self, to: str | None) -> None:
        views, found = self._views, self.mixture
        if found is None:
            self._room.problem(InputFault("The shares are being counted."))
            return

        def typed(text: str | None) -> None:
            if text is None or not text.strip():
                return
            output = Path(text.strip()).expanduser()

            def work(task: Task) -> int:
                from tuiwb.data.mixture import epoch_lines
                from tuiwb.data.subset import write_lines

                sources = [file for view in views for file in view.store.files()]
                return write_lines(output, epoch_lines(views, found, to, task=task), sources)

            def done(written: int) -> None:
                self.app.notify(gate_line(f"{count(written)} rows are in {output}.", 400))

            self.start("write", work, done)

        proposed = str(self._views[0].path.with_name("mixture.jsonl"))
        self.app.push_screen(Ask("Write an epoch, shuffled, to", proposed, "a .jsonl or .json file"), typed)

    def action_leave(self) -> None:
        self.cancel_jobs(kept=True)
        self.dismiss(None)

    def job_failed(self, error: TuiwbError) -> None:
        self._room.problem(error)
