"""What the panes of the Train screen say."""

from typing import TYPE_CHECKING

from textual.content import Content

from tuiwb.base import units
from tuiwb.base.text import gate_line
from tuiwb.base.units import written
from tuiwb.tui.screens.train_form import Line, about

if TYPE_CHECKING:
    from tuiwb.base.errors import TuiwbError
    from tuiwb.recipe import Difference
    from tuiwb.resolve import Assessment, Check
    from tuiwb.resolve.duration import Duration
    from tuiwb.resolve.whatif import Alternative

_MARKS = {"error": ("✗", "$text-error"), "warning": ("!", "$text-warning"), "note": ("·", "$text-muted")}


def help_of(
    line: Line, base: str | None, checks: "tuple[Check, ...]", costs: "tuple[Alternative, ...]" = ()
) -> Content:
    """What a key means, what it may be, what it is now and why, and what other values would cost.

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
    if costs:
        parts.append(_costs(costs))
    place = line.key.replace(".0.path", "[0]") if line.key.endswith("datasets.0.path") else line.key
    parts += [finding(check) for check in checks if check.key in (line.key, place)]
    return Content("\n").join(parts)


def _costs(costs: "tuple[Alternative, ...]") -> Content:
    """`memory   2: 1.20 GiB · 4: 2.31 GiB now · 8: 4.60 GiB ✗`"""
    pieces: list[Content] = []
    for one in costs:
        style = "bold" if one.now else "$text-error" if one.fits is False else ""
        mark = " now" if one.now else " ✗" if one.fits is False else ""
        pieces.append(Content.assemble((f"{gate_line(one.value)}: ", "dim"), (peak(one.peak_bytes) + mark, style)))
    return Content.assemble(("memory   ", "dim"), Content.styled(" · ", "dim").join(pieces))


def peak(count: int) -> str:
    """As the border and the checks have it, but for models that are all but nothing."""
    return units.gib(count) if count >= 10 << 20 else units.size(count)


def cost(one: "Alternative | None") -> Content:
    """What a value that is being typed costs: `memory   2.31 GiB at the peak, +1.10 GiB, does not fit`."""
    if one is None:
        return Content("")
    change = f", {'+' if one.change_bytes > 0 else '−'}{units.size(abs(one.change_bytes))}" if one.change_bytes else ""
    fits = (", does not fit", "$text-error") if one.fits is False else ("", "")
    return Content.assemble(("memory   ", "dim"), f"{peak(one.peak_bytes)} at the peak{change}", fits)


def fault(error: "TuiwbError") -> Content:
    """What is wrong with what is being typed."""
    return Content.styled(gate_line(error.message), "$text-error")


def finding(check: "Check") -> Content:
    """One check on its own line."""
    mark, style = _MARKS[check.level]
    where = f"{check.key}: " if check.key else ""
    fix = f" → {check.fix}" if check.fix else ""
    return Content.assemble(
        (f"{mark} ", style), (gate_line(where), "bold"), gate_line(check.message), (gate_line(fix), "$text-accent")
    )


def findings(assessment: "Assessment | None", time: "Duration | None" = None, *, counted: bool = True) -> Content:
    """Memory, what speaks against a launch, what else is known before the start, and what is worth knowing.

    Args:
        counted: the rows have been looked at; else they are being looked at.
    """
    if assessment is None:
        return Content.styled("checking…", "dim")
    serious = [check for check in assessment.checks if check.level != "note"]
    parts = [memory(assessment), *map(finding, serious), *_plan(assessment, time)]
    if not counted:
        parts.append(Content.styled("rows     being looked at…", "dim"))
    parts += [finding(check) for check in assessment.checks if check.level == "note"]
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


def _plan(assessment: "Assessment", time: "Duration | None") -> list[Content]:
    """What else is known before the start."""
    plan = assessment.plan
    if plan is None:
        return []
    trained = f"{units.parameters(plan.trainable)} of {units.parameters(plan.parameters)} parameters"
    parts = [Content.assemble(("learns   ", "dim"), trained)]
    if time is not None:
        parts.append(Content.assemble(("time     ", "dim"), (took(time), "bold"), ("  " + _steps(time), "dim")))
        if time.rests_on:
            parts.append(Content.styled(f"         from {time.rests_on}", "dim"))
    parts.append(Content.assemble(("disk     ", "dim"), f"{units.size(plan.disk_bytes)} of checkpoints"))
    return parts


def took(time: "Duration") -> str:
    """`about 12 to 40 min`, or why it is not known."""
    if time.seconds is None:
        return f"not known, since {time.unknown}"
    low, high = time.seconds
    if high < 1:
        return "less than a second"
    return f"about {_roughly(low)} to {_roughly(high)}"


def _roughly(seconds: float) -> str:
    """A time without the parts that an estimate cannot know."""
    if seconds < 60 or seconds >= 86_400:
        return units.duration(seconds)
    whole = units.duration(round(seconds / 60) * 60)
    return whole.removesuffix(" 00 s").removesuffix(" 00 min")


def _steps(time: "Duration") -> str:
    steps, examples = (
        f"{units.count(number)} {word}{'' if number == 1 else 's'}"
        for number, word in ((time.steps, "step"), (time.examples, "example"))
    )
    return f"{steps} of {examples}, {time.tokens:.0f} tokens each" + (" without the answer" if time.sampled else "")


def title(words: str, source: str, changes: int) -> str:
    """The form's title: where the recipe came from, and how far it went from there."""
    if words:
        return f"Recipe: keys with “{gate_line(words, 20)}”"
    name = gate_line(source.rpartition("/")[2], 30)
    changed = f", {changes} change{'s' if changes > 1 else ''}" if changes else ""
    return f"Recipe from {name}{changed}" if name else "Recipe"


def verdict(assessment: "Assessment | None", time: "Duration | None" = None) -> str:
    """One line for the border: what is needed, and what keeps the run from being launched."""
    if assessment is None:
        return "checking…"
    words = [units.gib(assessment.plan.peak_bytes)] if assessment.plan else []
    if time is not None and time.seconds is not None:
        words.append(took(time))
    for level in ("error", "warning"):
        number = sum(check.level == level for check in assessment.checks)
        if number:
            words.append(f"{number} {level}{'s' if number > 1 else ''}")
    return " · ".join([*words, "ready"] if assessment.ok else words)


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
