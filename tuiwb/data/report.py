"""What `tuiwb data inspect` says about a source."""

from typing import Any

from tuiwb.base.tasks import Task
from tuiwb.data.spool import name_of
from tuiwb.data.view import View


def report(view: View, task: Task | None = None) -> dict[str, Any]:
    """Read the whole source and describe it. `rows` counts all, as they are numbered, `usable` those without an error;
    `lengths` are in characters."""
    verdict = view.verify(task)
    return {
        "path": name_of(view.path),
        "kind": view.store.kind,
        "rows": verdict.rows,
        "usable": verdict.usable,
        "bytes": view.store.nbytes,
        "format": view.format.name,
        "confidence": view.format.confidence,
        "reason": view.format.reason,
        "mapping": dict(view.format.columns),
        "columns": list(verdict.columns),
        "types": verdict.types,
        "problems": [problem.to_json() for problem in verdict.problems],
        "lengths": {"unit": "characters"} | {what: sizes.to_json() for what, sizes in verdict.lengths.items()},
    }
