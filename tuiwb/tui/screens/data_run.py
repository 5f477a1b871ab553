"""The very rows that a run learned from or was measured on, on the Data screen, in the order of an epoch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.record import RowSet
    from tuiwb.tui.screens.data import DataScreen


def show(screen: "DataScreen", run_id: str) -> None:
    """Ask which rows where there are several sets or sources, and show them; say so where a source is no longer what
    the run saw."""

    def read(_: Task) -> "list[RowSet]":
        from tuiwb import runs
        from tuiwb.base.errors import EnvironmentFault
        from tuiwb.data import record

        found: list[RowSet] = []
        why: EnvironmentFault | None = None
        for part in runs.find(run_id).parts():
            try:
                found += record.read(part.path)
            except EnvironmentFault as error:  # a part that was never reached
                why = error
        if why is not None and not found:
            raise why
        return found

    def ask(sets: "list[RowSet]") -> None:
        choices = [(each, source) for each in sets for source in range(len(each.entries)) if _count(each, source)]
        if not choices:
            screen.problem("the run has kept no rows")
        elif len(choices) == 1:
            _open(screen, run_id, *choices[0])
        else:
            screen.choose(
                "Which rows of the run?",
                [
                    (f"{each.name}: {_named(each.entries[source].path)}", f"{count(_count(each, source))} rows")
                    for each, source in choices
                ],
                lambda position: _open(screen, run_id, *choices[position]),
            )

    screen.start("rows of a run", read, ask)


def _named(path: str) -> str:
    """The end of a path, which tells it from others."""
    return gate_line("/".join(Path(path).parts[-2:]), 50)


def _count(each: "RowSet", source: int) -> int:
    return int((each.rows[:, 0] == source).sum())


def _open(screen: "DataScreen", run_id: str, each: "RowSet", source: int) -> None:
    def work(task: Task) -> "View":
        from tuiwb.data import record

        return record.opened(each, source, task)

    def done(view: Any) -> None:
        screen.take(view)
        if screen.pages is not None:
            rows = each.rows[each.rows[:, 0] == source, 1]
            screen.pages.show_only(rows, f"{each.name} of {run_id}")
            screen.fill(int(rows[0]))

    screen.start("open", work, done)
