"""What is wrong with the whole of a dataset, on the Data screen: with its rows, and with what a template makes of
them; and from a problem to the cleaning step that puts it right."""

from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.tui.screens import data_clean
from tuiwb.tui.screens.data_problems import ProblemsPane

if TYPE_CHECKING:
    from tuiwb.data import Problem, View
    from tuiwb.data.clean.steps import Step
    from tuiwb.data.render import Renderer
    from tuiwb.tui.screens.data import DataScreen

CHECK_BY_ITSELF = 32 << 20
"""Bytes; a larger file is read whole only when asked to."""

_FIT_BY_ITSELF = 4 << 20
"""Bytes; the rows of a larger file are rendered only when asked to."""

_NO_STEP = ("stale_edit", "broken_journal", "mixed_types", "cut_off")
"""Warnings that no cleaning step does away with."""

_ORDER = ("error", "warning", "note")


def reason(screen: "DataScreen") -> str | None:
    """Why there is nothing left to check."""
    source, renderer = screen.source, screen.lens.renderer
    if source is None or source.view.verdict is None or (renderer is not None and source.fitted is not renderer):
        return None
    return "The whole file has been checked."


def check(screen: "DataScreen", *, by_itself: bool = False) -> None:
    """Read every row, and then render it where a model is open. `by_itself` only what is quickly done."""
    source = screen.source
    if source is None or (by_itself and source.view.store.nbytes > CHECK_BY_ITSELF):
        return
    view = source.view

    def done(_: object) -> None:
        if view is screen.view:
            show(screen)
            fit(screen, by_itself=by_itself)

    if view.verdict is not None:
        fit(screen, by_itself=by_itself)
    else:
        screen.start("check", lambda task: view.verify(task), done)


def fit(screen: "DataScreen", *, by_itself: bool) -> None:
    """Render every row with the model that is open, and list what its template refuses and max_length cuts."""
    source, renderer = screen.source, screen.lens.renderer
    if source is None or renderer is source.fitted or (by_itself and source.view.store.nbytes > _FIT_BY_ITSELF):
        return
    source.fitted, source.misfits = None, ()
    view = source.view

    def done(found: "tuple[Problem, ...]") -> None:
        source.fitted, source.misfits = renderer, found
        if view is screen.view:
            show(screen)

    screen.start("fit", lambda task: _misfits(view, renderer, task), done)


def _misfits(view: "View", renderer: "Renderer | None", task: Task) -> "tuple[Problem, ...]":
    from tuiwb.data.fitting import misfits

    if renderer is None or view.format.name is None:
        return ()
    try:
        return misfits(view, renderer, task)
    except InputFault:  # there is no template; the row's own text says so
        return ()


def show(screen: "DataScreen") -> None:
    """List what is known to be wrong."""
    source = screen.source
    if source is None:
        return
    view = source.view

    def done(problems: "tuple[Problem, ...]") -> None:
        if view is not screen.view:
            return
        found = sorted((*problems, *source.misfits), key=lambda one: (_ORDER.index(one.severity), -one.count))
        screen.query_one(ProblemsPane).show(found, whole=view.verdict is not None)
        if not found or not screen.has_class("-narrow"):
            screen.set_class(bool(found), "-problems")
        screen.show_format()
        screen.refresh_hints()

    screen.start("problems", lambda _: view.problems, done)


def fix(screen: "DataScreen") -> None:
    """Open cleaning with a step for the problem under the cursor: it puts it right, or leaves its rows out."""
    pane = screen.query_one(ProblemsPane)
    problem = pane.problems[min(pane.table.cursor, len(pane.problems) - 1)]

    def made(_: Task) -> "Step | None":
        return _step_for(problem)

    def done(step: "Step | None") -> None:
        if step is not None:
            data_clean.show(screen, step)
        elif problem.severity == "error":
            screen.notify("Rows with an error take no part in training; e corrects the row under the cursor.")
        else:
            screen.notify(gate_line(f"{problem.message}: {problem.fix}.", 300))

    screen.start("fix", made, done)


def _step_for(problem: "Problem") -> "Step | None":
    from tuiwb.data.clean.lists import step_of
    from tuiwb.data.clean.repair import REPAIRABLE

    if problem.code == "duplicate":
        return step_of("exact_duplicates", {})
    settings: dict[str, Any] = {"codes": [problem.code]}
    if problem.code in REPAIRABLE:
        return step_of("repair", settings)
    of_a_row = problem.severity == "warning" and problem.code not in _NO_STEP
    return step_of("problems", settings) if of_a_row else None
