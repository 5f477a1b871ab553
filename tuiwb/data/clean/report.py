"""What cleaning did, row by row: for programs as a document, for people as Markdown."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.text import gate_line
from tuiwb.base.units import count
from tuiwb.data.clean.lists import plain
from tuiwb.data.clean.run import BY_HAND, SAMPLES, UNUSABLE, Cleaned, Outcome, Removal
from tuiwb.data.clean.steps import changes
from tuiwb.data.clean.texts import excerpt, texts
from tuiwb.data.spool import name_of
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
    from tuiwb.data.view import View


def summary(view: "View", cleaned: Cleaned) -> dict[str, Any]:
    """The counts, and for each step some of the rows that it leaves out and those that it nearly does."""
    unusable = sum(removal.step == UNUSABLE for removal in cleaned.removals.values())
    rejected = sum(removal.step == BY_HAND for removal in cleaned.removals.values())
    return {
        "source": name_of(view.path),
        "rows": cleaned.rows,
        "kept": cleaned.kept,
        "removed": cleaned.flagged,
        "unusable": unusable,
        "rejected": rejected,
        "steps": [
            {
                "step": plain([outcome.step])[0],
                "name": outcome.step.name,
                "looked": outcome.looked,
                "removed": outcome.removed,
                "changed": outcome.changed,
                "samples": [row_document(view, cleaned, one) for one in outcome.samples],
                "near_misses": [row_document(view, cleaned, one) for one in outcome.near],
                "changed_rows": [_change(view, cleaned, at, row) for row in outcome.altered[:SAMPLES]],
            }
            for at, outcome in enumerate(cleaned.outcomes)
        ],
    }


def document(view: "View", cleaned: Cleaned) -> dict[str, Any]:
    """`summary`, every row that is left out with its reason, and every row that stays and is changed, with the step."""
    rows = [_reason(view, cleaned, removal) for removal in cleaned.removals.values()]
    changes = [{"row": row, "line": view.row(row).line, "step": step} for row, step in _changes(cleaned)]
    return {**summary(view, cleaned), "fingerprint": view.source_fingerprint, "removals": rows, "changes": changes}


def markdown(view: "View", cleaned: Cleaned) -> str:
    """The report for people."""
    found = summary(view, cleaned)
    lines = [
        f"# Cleaning of {_cell(Path(name_of(view.path)).name)}",
        "",
        f"{count(found['rows'])} rows, {count(found['kept'])} stay, {count(found['removed'])} are left out by steps, "
        f"{count(found['unusable'])} cannot be trained on, {count(found['rejected'])} were rejected by hand.",
        "",
        "| step | rows looked at | left out | changed |",
        "| --- | ---: | ---: | ---: |",
        *(_outcome(outcome) for outcome in cleaned.outcomes),
        "",
    ]
    if cleaned.removals:
        lines += ["## Row by row", "", "| row | line | step | why | text |", "| ---: | ---: | --- | --- | --- |"]
    for removal in cleaned.removals.values():
        row = row_document(view, cleaned, removal)
        line = "" if row["line"] is None else str(row["line"])
        lines.append(f"| {row['row']} | {line} | {row['step']} | {_cell(row['why'])} | {_cell(row['text'][:80])} |")
    if changed := _changes(cleaned):
        lines += ["", "## Changed, row by row", "", "| row | line | step |", "| ---: | ---: | --- |"]
        lines += [f"| {number} | {view.row(number).line or ''} | {step} |" for number, step in changed]
    return "\n".join(lines) + "\n"


def _changes(cleaned: Cleaned) -> list[tuple[int, str]]:
    """The rows that stay and are changed, each with the steps that do it, in order."""
    steps: dict[int, list[str]] = {}
    for outcome in cleaned.outcomes:
        for row in outcome.altered:
            if row not in cleaned.removals:
                steps.setdefault(row, []).append(outcome.step.name)
    return [(row, " and ".join(steps[row])) for row in sorted(steps)]


def row_document(view: "View", cleaned: Cleaned, removal: Removal) -> dict[str, Any]:
    """A row with its reason and the beginning of its text."""
    return {**_reason(view, cleaned, removal), "text": beginning(view, removal.row)}


def beginning(view: "View", number: int) -> str:
    """The beginning of a row's text; of a row that is no example, of what stands in the file."""
    try:
        return excerpt(texts(view.as_it_stands(view.row(number))).of("example"))
    except BadRow:
        return excerpt(view.raw(number, 400).decode("utf-8", "replace"))


def _change(view: "View", cleaned: Cleaned, at: int, number: int) -> dict[str, Any]:
    before, after = before_and_after(view, cleaned, at, number)
    return {"row": number, "before": excerpt(before), "after": excerpt(after)}


def before_and_after(view: "View", cleaned: Cleaned, at: int, number: int) -> tuple[str, str]:
    """The text of a row as a step finds it, and as it leaves it."""
    row = view.row(number)
    said = []
    for steps in (cleaned.steps[:at], cleaned.steps[: at + 1]):
        change = changes(steps)
        changed = row if change is None else row._replace(value=change(row.value))
        said.append(texts(view.as_it_stands(changed)).of("example"))
    return said[0], said[1]


def _reason(view: "View", cleaned: Cleaned, removal: Removal) -> dict[str, Any]:
    """A row with its reason."""
    named = {"twin": removal.twin, "likeness": removal.likeness} if removal.twin is not None else {}
    return {
        "row": removal.row,
        "line": view.row(removal.row).line,
        "step": step_name(cleaned, removal),
        "why": removal.why,
        **named,
        **({"file": removal.file} if removal.file else {}),
    }


def step_name(cleaned: Cleaned, removal: Removal) -> str:
    if removal.step == UNUSABLE:
        return "unusable"
    return "by hand" if removal.step == BY_HAND else cleaned.steps[removal.step].name


def _outcome(outcome: Outcome) -> str:
    counts = " | ".join(map(count, (outcome.looked, outcome.removed, outcome.changed)))
    return f"| {_cell(outcome.step.words())} | {counts} |"


def _cell(text: str) -> str:
    return gate_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")
