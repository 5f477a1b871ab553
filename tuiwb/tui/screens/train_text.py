"""What the panes of the Train screen say."""

from typing import TYPE_CHECKING

from textual.content import Content

from tuiwb.base import units
from tuiwb.base.text import gate_line
from tuiwb.tui.screens.train_form import Line, about, written

if TYPE_CHECKING:
    from tuiwb.recipe import Difference
    from tuiwb.resolve import Assessment, Check

_MARKS = {"error": ("✗", "$text-error"), "warning": ("!", "$text-warning"), "note": ("·", "$text-muted")}


def help_of(line: Line, base: str | None, checks: "tuple[Check, ...]") -> Content:
    """What a key means, what it may be, what it is now and why.

    Args:
        base: the value in the preset, as text, where it is another one.
    """
    if not line.key:
        return Content.styled(line.group, "bold")
    key = about(line.key)
    parts = [
        Content.styled(gate_line(line.key), "bold"),
        Content(key.help),
        Content.assemble(("accepts  ", "dim"), key.accepts + (f", in {line.unit}" if line.unit else "")),
    ]
    if line.value is None:
        parts.append(Content.assemble(("now      ", "dim"), "left out; it does not apply or has a default elsewhere"))
    elif line.reason:
        parts.append(Content.assemble(("chosen   ", "dim"), f"{gate_line(written(line.value))}: {line.reason}"))
    else:
        parts.append(Content.assemble(("stated   ", "dim"), (gate_line(written(line.value)), "$text-accent")))
    if base is not None:
        parts.append(Content.assemble(("preset   ", "dim"), gate_line(base) or "left out"))
    place = line.key.replace(".0.path", "[0]") if line.key.endswith("datasets.0.path") else line.key
    parts += [finding(check) for check in checks if check.key in (line.key, place)]
    return Content("\n").join(parts)


def finding(check: "Check") -> Content:
    """One check on its own line."""
    mark, style = _MARKS[check.level]
    where = f"{check.key}: " if check.key else ""
    fix = f" → {check.fix}" if check.fix else ""
    return Content.assemble(
        (f"{mark} ", style), (gate_line(where), "bold"), gate_line(check.message), (gate_line(fix), "$text-accent")
    )


def findings(assessment: "Assessment | None") -> Content:
    """The memory figure and every check."""
    if assessment is None:
        return Content.styled("checking…", "dim")
    parts = [memory(assessment)]
    parts += [finding(check) for check in assessment.checks]
    if assessment.ok:
        parts.append(Content.styled("✓ ready to launch", "$text-success"))
    return Content("\n").join(parts)


def memory(assessment: "Assessment") -> Content:
    """The memory that the training needs, and whether it fits."""
    plan = assessment.plan
    if plan is None:
        return Content.styled(f"memory   not known{'' if assessment.model else ' without a model'}", "dim")
    needs = Content.assemble(("memory   ", "dim"), (units.gib(plan.peak_bytes), "bold"), (" at the peak", ""))
    if plan.fits is None:
        return needs
    fits = ("fits", "$text-success") if plan.fits.ok else ("does not fit", "$text-error")
    return Content.assemble(needs, ("  ", ""), fits, (f" {plan.fits.gpu}, {units.gib(plan.fits.memory_bytes)}", ""))


def verdict(assessment: "Assessment | None") -> str:
    """One line for the border: what is needed, and what keeps the run from being launched."""
    if assessment is None:
        return "checking…"
    words = [units.gib(assessment.plan.peak_bytes)] if assessment.plan else []
    for level in ("error", "warning"):
        number = sum(check.level == level for check in assessment.checks)
        if number:
            words.append(f"{number} {level}{'s' if number > 1 else ''}")
    return " · ".join([*words, "ready"] if assessment.ok else words)


def yaml(document: str) -> Content:
    """The recipe's file, keys coloured."""
    parts = []
    for text in document.splitlines():
        key, colon, value = text.partition(":")
        if colon and not key.lstrip().startswith(("'", '"')):
            parts.append(Content.assemble((gate_line(key), "$text-accent"), (":", "dim"), gate_line(value)))
        else:
            parts.append(Content(gate_line(text)))
    return Content("\n").join(parts)


def changes(differences: "tuple[Difference, ...]", source: str) -> Content:
    """What differs from the preset or file that was opened."""
    if not differences:
        return Content.styled(f"no difference to {gate_line(source)}" if source else "nothing to compare with", "dim")
    parts = []
    for one in differences:
        parts.append(Content.styled(gate_line(one.key), "bold"))
        if one.before is not None:
            parts.append(Content.styled(f"  - {gate_line(written(one.before))}", "$text-error"))
        if one.after is not None:
            parts.append(Content.styled(f"  + {gate_line(written(one.after))}", "$text-success"))
    return Content("\n").join(parts)
