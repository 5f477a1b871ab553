"""The Chat screen's partner: a run, a model or an endpoint is chosen, found, and loaded if it fits."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.chat.session import Chat
from tuiwb.chat.target import Target
from tuiwb.tui.widgets.frame import Empty
from tuiwb.tui.workspace import Workspace

if TYPE_CHECKING:
    from tuiwb.chat.fits import Fit
    from tuiwb.tui.screen import RoomScreen as Base
else:
    Base = object

NEWER_S = 5.0
"""Between two looks for a newer checkpoint."""
_STEP = "step-"
"""What the lane of a checkpoint is called begins with."""


class WhomActions(Base):
    """Part of the Chat screen."""

    chat: Chat | None
    _whom: dict[str, Any]
    _newer: int | None = None
    """Of a checkpoint that the run wrote since, and that does not answer here."""

    def show_workspace(self, workspace: Workspace) -> None:
        if self.chat is None and not self._whom and workspace.run_id:
            self._find({"whom": workspace.run_id}, quiet=True)

    def _find(self, whom: dict[str, Any], *, quiet: bool = False) -> None:
        """Find out what can be talked to under a name. `quiet`: nobody asked for it now, so no toast when it fails."""

        # Kept from the start: until it is found, the run that is selected elsewhere must not take its place.
        before, self._whom = self._whom, whom

        def work(task: Task) -> "tuple[Target, Fit | None]":
            from tuiwb import chat
            from tuiwb.chat.fits import fit_of

            target = chat.target_of(
                whom["whom"], adapters=whom.get("adapters") or (), template=whom.get("template"), task=task
            )
            for ref in whom.get("beside") or ():
                lane = chat.further(target, ref, task=task)
                target = dataclasses.replace(target, lanes=(*target.lanes, lane))
            return target, fit_of(target)

        def found(what: "tuple[Target, Fit | None]") -> None:
            target, fit = what
            self._meet(target)
            for warning in target.warnings:
                self.app.notify(warning, severity="warning", markup=False, timeout=20)
            self.open_waiting()
            if whom.get("start"):
                self._start_if_it_fits(fit)

        def failed(error: TuiwbError) -> None:
            self._whom = before
            if quiet:
                self.query_one("#nobody", Empty).say(str(error), "o: choose a run or a model")
            else:
                self.problem(error)

        self.start("whom", work, found, failed)

    def _start_if_it_fits(self, fit: "Fit | None") -> None:
        """Load what was chosen; where it does not fit beside what is there, the user says so first."""
        if fit is not None and not fit.ok:
            said = fit.sentence[0].upper() + fit.sentence[1:]
            self.confirm("Load it all the same?", lambda: self._safely(self._start), detail=f"{said}.", yes="Load")
            return
        if fit is not None and fit.training is not None:
            self.app.notify(fit.sentence, markup=False)
        self._safely(self._start)

    def look_for_newer(self) -> None:
        """Whether the run has a newer checkpoint than those that answer here."""
        chat = self.chat
        if chat is None or (run_id := chat.target.run_id) is None or chat.target.step is None:
            return
        added = [int(name.removeprefix(_STEP)) for name in chat.lanes if name.removeprefix(_STEP).isdigit()]
        here = max(chat.target.step, *added, 0)

        def work(_: Task) -> int | None:
            from tuiwb import chat

            return chat.newest_step(run_id)

        def found(step: int | None) -> None:
            newer = step if step is not None and step > here else None
            if self.chat is chat and newer != self._newer:
                self._newer = newer
                self._draw()

        # A run that was deleted meanwhile has none: nobody asked.
        self.start("newer", work, found, lambda _: None)

    def action_whom(self) -> None:
        self.start("choices", _choices, self._choose)

    def _choose(self, choices: list[tuple[str, str, str]]) -> None:
        """Let the user choose among (ref, name, what it is), or write what is meant."""
        from tuiwb.tui.dialogs import OTHER

        about = "a folder, a .gguf file, an address" if choices else "nothing is here yet: 5 Models brings a model"
        shown = [*((name, what) for _, name, what in choices), (OTHER, about)]

        def take(at: int) -> None:
            if at < len(choices):
                self._find({"whom": choices[at][0], "start": True})
            else:
                self.ask("Whom to talk to", write, hint="run, model, folder, .gguf file, or an endpoint's address")

        def write(text: str) -> None:
            if text.strip():
                self._find({"whom": text.strip(), "start": True})

        self.choose("Whom to talk to", shown, take)

    if TYPE_CHECKING:

        def _meet(self, target: Target) -> None: ...

        def _start(self) -> None: ...

        def _draw(self) -> None: ...

        def _safely(self, act: Callable[[], None]) -> None: ...

        def open_waiting(self) -> None: ...


def _choices(task: Task) -> list[tuple[str, str, str]]:
    """Runs with something to talk to, newest first, then the endpoints and the models that are here."""
    from tuiwb import endpoints, models, rundir, runs
    from tuiwb.base.units import parameters

    choices = []
    for view in runs.scan():
        task.step("looking at runs")
        if view.kind == "train" and rundir.newest_valid_checkpoint(view.run) is not None:
            choices.append((view.run_id, f"{view.name}", f"run, {view.state}, step {view.step or 0:,} ({view.run_id})"))
    choices += [(each.name, each.name, f"endpoint at {each.place}") for each in endpoints.profiles().values()]
    for info in models.installed():
        size = parameters(info.parameters) if info.parameters else ""
        choices.append((info.name, info.name, f"model {size} {info.architecture}".strip()))
    return choices
