"""Launching from the Train screen: at once where nothing speaks against it; else what does is said first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.recipe import Recipe
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.screens import train_text as text
from tuiwb.tui.screens import train_work as work

if TYPE_CHECKING:
    from tuiwb.resolve import Assessment
    from tuiwb.resolve.duration import Duration
    from tuiwb.rundir import RunDir

_SAID, _LONG = 3, 200
"""Findings that are said before a launch, and characters of each; the Checks pane has all."""
_CROWDED = 1.5
"""Threads that wait for each core of a machine that has enough to do."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A recipe that was checked again: what was true when it was last changed may not be any more. `busy` says what
    else the machine is at work on, or is empty."""

    assessment: "Assessment"
    time: "Duration | None"
    busy: str = ""

    @property
    def doubts(self) -> list[str]:
        """Everything that speaks against launching now, a sentence each."""
        found = [
            (f"{check.key}: " if check.key else "") + check.message + (f" → {check.fix}" if check.fix else "")
            for check in self.assessment.checks
            if check.level == "warning"
        ]
        return [*([self.busy] if self.busy else []), *found]


def launch(screen: RoomScreen, recipe: Recipe, known: Callable[[Ready], None]) -> None:
    """Check once more and launch, unless the user, who is asked where something speaks against it, says no.

    Args:
        known: gets what the check found.
    """

    def checked(ready: Ready) -> None:
        known(ready)
        if not ready.assessment.ok:
            screen.problem(ready.assessment.fault())
        elif ready.doubts:
            screen.confirm("Launch it all the same?", lambda: _go(screen, ready), detail=sheet(ready), yes="Launch")
        else:
            _go(screen, ready)

    screen.start("launch", lambda task: _look(recipe, task), checked, keep=True)


def sheet(ready: Ready) -> str:
    """What is launched, where, for how long, with how much memory, and what speaks against it."""
    assessment = ready.assessment
    recipe, plan = assessment.resolved.recipe, assessment.plan
    stages = " → ".join(str(part.stage) for part in recipe.stages or (recipe,))
    model = assessment.model.name if assessment.model else recipe.model_name_or_path or ""
    lines = [f"what     {stages} {recipe.method or ''} of {gate_line(model, 40)}", f"where    {_where(recipe)}"]
    if ready.time is not None:
        lines.append(f"time     {text.took(ready.time)}")
    if plan is not None:
        lines.append(f"memory   {text.peak(plan.peak_bytes)} at the peak")
    doubts = ready.doubts
    lines += ["", *(f"! {gate_line(doubt, _LONG)}" for doubt in doubts[:_SAID])]
    if len(doubts) > _SAID:
        lines.append(f"  and {len(doubts) - _SAID} more under Checks")
    return "\n".join(lines)


def _where(recipe: Recipe) -> str:
    launch = (recipe.stages[0] if recipe.stages else recipe).launch
    numbers = launch.gpus if launch and isinstance(launch.gpus, tuple) else ()
    if not numbers:
        return "the processor of this machine"
    return f"GPU{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} of this machine"


def _look(recipe: Recipe, task: Task) -> Ready:
    assessment, time = work.with_rows(work.assess(recipe, task), task)
    return Ready(assessment, time, busy(assessment.resolved.recipe))


def busy(recipe: Recipe) -> str:
    """Who else is at work here, where the training would share the processor with them. For GPUs a run waits."""
    import os

    from tuiwb import hardware, runs

    launch = (recipe.stages[0] if recipe.stages else recipe).launch
    if launch is not None and launch.gpus:
        return ""
    names = [view.name for view in runs.scan() if view.active and view.supervised and view.state != "queued"]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        verb = "are" if more else "is"
        return f"{gate_line(names[0], 40)}{more} {verb} at work on this processor, and each would take longer"
    load, cpus = os.getloadavg()[0], hardware.host().cpus
    if load > _CROWDED * cpus:
        return f"other programs keep this processor busy (load {load:.1f} on {cpus}), so it will take longer"
    return ""


def _go(screen: RoomScreen, ready: Ready) -> None:
    def launched(run: "RunDir") -> None:
        from tuiwb.hardware.logout import logout_problem

        problem = logout_problem()
        screen.app.notify(
            f"{run.run_id} is on its way; "
            + (f"but {problem[0]}: {problem[1]}" if problem else "it goes on without this terminal"),
            severity="warning" if problem else "information",
            timeout=20 if problem else None,
        )
        screen.bench.keeper.select_run(run.run_id)
        if "runs" in [room.name for room in screen.bench.rooms]:
            screen.bench.go("runs")

    def start(_: Any) -> "RunDir":
        from tuiwb.runs.training import train

        return train(ready.assessment)

    screen.start("launch", start, launched, keep=True)
