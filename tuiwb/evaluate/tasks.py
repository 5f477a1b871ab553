"""Tasks of lm-eval: what its records come to. The values are lm-eval's own; intervals and differences are ours, by the
paired bootstrap over the documents where a value is their mean, else from its standard error.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault, reason_of
from tuiwb.evaluate.comparing import Aggregate, compared
from tuiwb.evaluate.spec import Spec

Record = Mapping[str, Any]
Scores = dict[str, dict[str, dict[int, float]]]
"""By metric, subject and document."""

_ALIKE = 1e-9
_Z = 1.959964


def name_in(file: Path) -> str:
    """The name of the task that a YAML file describes.

    Raises:
        InputFault: it describes none.
    """
    try:
        found = re.search(r"^task:\s*[\"']?([^\s\"'#]+)", file.read_text("utf-8", "replace"), re.MULTILINE)
    except OSError as error:
        raise InputFault(f"cannot be read ({reason_of(error)})", file=file, key="--task") from error
    if found is None:
        raise InputFault("describes no task of lm-eval: there is no line `task: NAME`", file=file, key="--task")
    return found[1]


def scores(records: Sequence[Record]) -> dict[str, Scores]:
    """The scores of each document, by task."""
    found: dict[str, Scores] = {}
    for record in records:
        if record["kind"] == "task":
            for metric, value in record["scores"].items():
                mine = found.setdefault(record["dataset"], {}).setdefault(metric, {})
                mine.setdefault(record["subject"], {})[record["row"]] = value
    return found


def higher(records: Sequence[Record], metric: str) -> bool:
    """Whether more of a task's metric is better."""
    return all(r["higher"].get(metric, True) for r in records if r["kind"] == "task_result")


def results(spec: Spec, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What stands in a report's `results` for the tasks."""
    names = [subject.name for subject in spec.subjects]
    told = {(r["dataset"], r["subject"]): r for r in records if r["kind"] == "task_result"}
    documents, found = scores(records), list[dict[str, Any]]()
    for task in dict.fromkeys(name for name, _ in told):
        of_task = [told[task, name] for name in names if (task, name) in told]
        for metric in dict.fromkeys(each for record in of_task for each in record["values"]):
            by_row = documents.get(task, {}).get(metric, {})
            rows = {name: {row: (value, 1.0) for row, value in each.items()} for name, each in by_row.items()}
            up = all(record["higher"].get(metric, True) for record in of_task)
            entry = compared(metric, Aggregate(rows, about=f"lm-eval, {task}"), higher=up, names=names, spec=spec)
            for record in of_task:
                if metric in record["values"]:
                    _own(entry, record["subject"], *record["values"][metric])
            found.append({"dataset": task, "general": False, **entry})
    return found


def _own(entry: dict[str, Any], subject: str, value: float, error: float | None) -> None:
    """Put lm-eval's value in the place of the mean over documents; where it is something else, its error makes the
    interval and there is no difference over documents."""
    ours = entry["values"].get(subject)
    if ours is not None and math.isclose(ours["value"], value, rel_tol=_ALIKE, abs_tol=_ALIKE):
        ours["value"] = value
        return
    half = math.nan if error is None else _Z * error
    rows = 0 if ours is None else ours["rows"]
    entry["values"][subject] = {"value": value, "low": value - half, "high": value + half, "rows": rows}
    entry["differences"].clear()
