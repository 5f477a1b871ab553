"""The demo on the screen: a line under the tabs that says what is to be seen, and one key that goes on.

    model  the real model is brought here, if need be      data   the rows, and what of them is trained
    plan   what the training will need                     train  the run, live, on the Runs screen
                                                           chat   base and tuned model side by side

The user stays free: every key works as ever, and the key for going on comes back to where the demo was.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count, size
from tuiwb.demo import walk
from tuiwb.tui import keys, session
from tuiwb.tui.app import Workbench, run_bench
from tuiwb.tui.dialogs import Choose
from tuiwb.tui.screen import normal
from tuiwb.tui.widgets.frame import Line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuiwb.resolve import Assessment
    from tuiwb.rundir import RunDir

_JOB = "demo"
_GO_ON = "demo.go_on"
_LOOK_S = 0.5
_SAMPLING = {"temperature": 0.0, "max_new_tokens": walk.ANSWER_TOKENS}


@dataclass(frozen=True, slots=True)
class Station:
    """A stop of the demo: the screen it is on, what is to be seen there, and what the key goes on to ("" for nothing:
    the demo goes on by itself)."""

    room: str
    text: str
    then: str = ""


# The texts fit beside what the key does on a terminal of 80 columns.
STATIONS = {
    "model": Station("plan", "A small real model comes to this machine"),
    "plan": Station("plan", "What this training will need, before anything runs", "the data"),
    "data": Station("data", "The rows as the model sees them; bright parts are trained", "train"),
    "train": Station("runs", "It trains in a process of its own, with or without this screen"),
    "chat": Station("chat", "A question that no row asks: enter asks both", "another question"),
}


class Guide:
    """Where the demo is, and what comes next. Everything here runs in the event loop; slow work is a job of the app."""

    def __init__(self, bench: "DemoBench", *, again: bool) -> None:
        self.bench = bench
        self._anew = again
        self.at = "model"
        self.fault = ""
        self.run_id = ""
        self._assessment: Assessment | None = None
        self._questions: list[str] = []
        self._asked = 0
        self._proposal = ""

    @property
    def station(self) -> Station:
        return STATIONS[self.at]

    def begin(self) -> None:
        """Bring the model; the rest follows from that and from the key."""
        self.bench.set_interval(_LOOK_S, self._look)
        self._bring()

    def next(self) -> None:
        """The key was pressed."""
        if self.fault:
            self._again()
        elif self.bench.current_room != self.station.room:
            self._go(self.at)
        elif self.at == "plan":
            self._go("data")
        elif self.at == "data":
            if self._anew:
                self._train(again=True)
            else:
                self._look_for_earlier()
        elif self.at == "chat":
            self._propose()
        else:
            self.bench.notify("The demo goes on by itself when this is done.")

    # Stations

    def _bring(self) -> None:
        self.at, self.fault = "model", ""
        self.bench.start(_JOB, walk.prepare, self._prepared, self._failed, keep=True)

    def _prepared(self, assessment: "Assessment") -> None:
        self._assessment = assessment
        self.bench.keeper.reopen_model()
        self.at = "plan"
        self._show()

    def _look_for_earlier(self) -> None:
        assessment = self._assessment
        assert assessment is not None

        def work(_: Task) -> tuple["RunDir | None", bool]:
            run = walk.earlier(assessment)
            return run, run is not None and walk.has_finished(run)

        self.bench.start(_JOB, work, self._found, self._failed)

    def _found(self, found: tuple["RunDir | None", bool]) -> None:
        run, finished = found
        if run is None or not finished:
            self._train()
            return

        def chosen(at: int | None) -> None:
            if at == 0:
                self._trained(run)
            elif at == 1:
                self._train(again=True)

        options = [("Talk to it", f"run {run.run_id}"), ("Train again", "some minutes")]
        self.bench.push_screen(Choose("The demo has been trained before", options), chosen)

    def _train(self, *, again: bool = False) -> None:
        assessment = self._assessment
        assert assessment is not None
        self.bench.start(_JOB, lambda _: walk.begin(assessment, again=again)[0], self._launched, self._failed)

    def _launched(self, run: "RunDir") -> None:
        self.run_id = run.run_id
        self.bench.keeper.select_run(run.run_id)
        self._go("train")

        def work(task: Task) -> "RunDir":
            for _ in walk.follow(run, task):
                pass
            return run

        self.bench.start(_JOB, work, self._trained, self._failed)

    def _trained(self, run: "RunDir") -> None:
        self.run_id = run.run_id
        self.bench.keeper.select_run(run.run_id)
        # Somebody who looks at something else, or has a dialog open, is not pulled away.
        watching = self.bench.screen is self.bench.room and self.bench.current_room in ("runs", "data")
        self._meet(go=watching)

    def _meet(self, *, go: bool) -> None:
        whom = {"whom": self.run_id, "side": True, "start": True, "sampling": _SAMPLING}
        self.at = "chat"
        self.bench.brief("chat", whom)
        if go:
            self.bench.go("chat")
        self.bench.start(_JOB, lambda _: walk.held_out(), self._ready_to_ask, self._failed)

    def _ready_to_ask(self, questions: list[str]) -> None:
        self._questions, self._asked = questions, 0
        self._propose()

    def _propose(self) -> None:
        """Put the next held-out question into the text field, as soon as there is somebody to ask."""
        if self._questions:
            self._proposal = self._questions[self._asked % len(self._questions)]
            self._asked += 1
        self._look()

    def _failed(self, error: TuiwbError) -> None:
        self.fault = str(error)
        self.bench.problem(error)
        self._show()

    def _again(self) -> None:
        self.fault = ""
        if self._assessment is None:
            self._bring()
        elif self.at == "chat":
            self._meet(go=True)
        else:
            self._train()
        self._show()

    # Showing

    def _go(self, at: str) -> None:
        self.at = at
        self.bench.go(self.station.room)
        self._show()

    def _look(self) -> None:
        """Twice a second: how far the work is, and whether the chat can be asked."""
        for room in self.bench.open_screens():
            if room.ROOM == "chat" and room.is_open and self._proposal and room.propose(self._proposal):  # type: ignore[attr-defined]
                self._proposal = ""
        self._show()

    def _show(self) -> None:
        for room in self.bench.open_screens():
            for line in room.query(GuideLine):
                line.refresh()

    @property
    def text(self) -> str:
        """What the line says: the fault, how far the work is, or what is to be seen."""
        if self.fault:
            return self.fault
        task = self.bench.task_of(_JOB)
        progress = task.progress if task else None
        if self.at == "model" and progress and progress.total:
            shown = size if progress.unit == "bytes" else count
            return f"A small real model: {progress.doing}, {shown(progress.done)} of {shown(progress.total)}"
        return self.station.text

    @property
    def then(self) -> str:
        """What the key does now; empty when it does nothing."""
        if self.fault:
            return "try again"
        return self.station.then if self.bench.current_room == self.station.room else f"back to {self.at}"


class GuideLine(Line):
    """` Demo 2/5  What this training will need …                 ^n the data `"""

    def __init__(self, guide: Guide) -> None:
        super().__init__()
        self.guide = guide

    def render(self) -> Content:
        guide, width = self.guide, self.size.width
        key = keys.shown((self.bench.keys_of(_GO_ON) or ["?"])[0])
        right = f"{key} {guide.then} " if guide.then else ""
        left = f" Demo {list(STATIONS).index(guide.at) + 1}/{len(STATIONS)}  "
        text = gate_line(guide.text, max(width - len(left) - len(right) - 1, 8))
        gap = max(width - len(left) - len(text) - len(right), 0)
        self._spots = [(width - len(right), width, "app.go_on")] if right else []
        return Content.assemble(
            (left, "bold"), (text, "$text-error" if guide.fault else "$foreground"), " " * gap, (right, "bold $accent")
        )


class DemoBench(Workbench):
    """The workbench with the demo's line on every screen. It neither restores the user's session nor changes it."""

    CSS_PATH = "app.tcss"

    def __init__(self, *, again: bool = False) -> None:
        self.guide = Guide(self, again=again)
        super().__init__("plan", walk.PRESET)
        self.session = session.Session()

    def begin(self) -> None:
        first = not self._begun
        super().begin()
        if first:
            self.guide.begin()

    def lines(self) -> "Iterable[Line]":
        return (GuideLine(self.guide),)

    def apply_settings(self) -> None:
        super().apply_settings()
        for key in self.keys_of(_GO_ON):
            self._bindings.bind(normal(key), "go_on", show=False)

    def action_go_on(self) -> None:
        self.guide.next()

    def remembered(self) -> None:
        """The user's session stays as it was."""


def run(*, again: bool = False) -> None:
    """Open the workbench with the demo on this terminal and come back when the user leaves it.

    Args:
        again: train anew even if a demo has been trained before.
    """
    run_bench(DemoBench(again=again))
