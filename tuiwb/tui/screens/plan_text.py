"""What the panes of the Plan screen say: bars, phases, map, remedies, assumptions, formulas."""

from collections.abc import Mapping

from textual.content import Content

from tuiwb.base.text import gate, gate_line
from tuiwb.base.units import GIB, duration, gib, parameters
from tuiwb.memory import Plan
from tuiwb.memory.answer_time import ANSWERED
from tuiwb.memory.device import context_bytes
from tuiwb.memory.inputs import SAMPLING
from tuiwb.tui.dialogs import hang
from tuiwb.tui.screens.plan_fields import Field
from tuiwb.tui.screens.plan_model import BATCHES, LENGTHS, View

# Each component has a colour and, for terminals without colours, a pattern.
_LOOKS = {
    "weights": ("$primary", "█"),
    "adapters": ("$success", "▓"),
    "gradients": ("$warning", "▒"),
    "optimizer": ("$accent", "█"),
    "optimizer's copy": ("$accent 60%", "░"),
    "layer inputs": ("$secondary", "▓"),
    "saved activations": ("$secondary", "▓"),
    "activations of one layer": ("$error 80%", "▒"),
    "activation gradients": ("$error", "░"),
    "logits": ("$warning 80%", "▓"),
    "loss": ("$warning 60%", "░"),
    "final norm and loss": ("$warning 60%", "░"),
    "gathered weights": ("$primary 60%", "░"),
}
_OTHER = ("$foreground 50%", "░")
_TINY = 0.004  # parts of the peak below this are summed up in the legend
NEAR = 0.1  # a rule that is no further from the plan is as good as right
_LEGEND = 4  # lines of the legend for what is larger


def help_of(field: Field) -> Content:
    """What a field means, how it is changed, and why it has the value that it has."""
    how = {"number": "type digits; ← → halve, double", "choice": "← → or enter", "pick": "enter"}
    lines = [Content.assemble((field.key, "bold"), (f"  {how[field.kind]}", "dim")), Content(field.help)]
    if field.stated:
        lines.append(Content.assemble(("stated  ", "dim"), (gate_line(field.value), "$text-accent")))
    elif field.reason:
        lines.append(Content.assemble(("chosen  ", "dim"), f"{gate_line(field.value)}: {field.reason}"))
    return Content("\n").join(lines)


def verdict(plan: Plan, width: int, *, assumed_gpu: bool = False) -> Content:
    """Fits or not and by how much, and the three figures.

    Args:
        assumed_gpu: nobody chose the GPU, and none is here.
    """
    low, high = plan.device_bytes
    steady, peak = gib(plan.steady_bytes), gib(plan.peak_bytes)
    shown = f"{low / GIB:.1f}–{high / GIB:.1f} GiB"
    if width < 60:
        steady = steady.removesuffix(" GiB")
    figures = Content.assemble(("steady ", "dim"), steady, ("  peak ", "dim"), (peak, "bold"))
    device = Content.assemble(("on the GPU ", "dim"), shown)
    gap = "  " if figures.cell_length + device.cell_length + 2 <= width else "\n"
    figures = Content.assemble(figures, gap, device)
    fits = plan.fits
    if fits is None:
        line = Content.styled("g: choose a GPU to see whether it fits", "dim")
    else:
        said, style = ("✓ fits", "$text-success") if fits.ok else ("✗ does not fit", "$text-error")
        gap_bytes = abs(fits.margin_bytes)
        size = gib(gap_bytes) if gap_bytes < 100 * GIB else f"{gap_bytes / GIB:.0f} GiB"
        more = f"{size} {'to spare' if fits.ok else 'too much'}"
        name = gate_line(fits.gpu, max(width - len(said) - len(more) - 4, 8))
        line = Content.assemble((said, f"bold {style}"), " ", (name, "bold"), (f": {more}", style))
    lines = [line, figures]
    if assumed_gpu:
        said = "no GPU is here: this one is assumed, g: another"
        lines.append(Content.styled(hang(said, 0, width), "$text-warning"))
    return Content("\n").join(lines)


def bar(parts: Mapping[str, float], context: float, limit: float | None, scale: float, width: int) -> Content:
    """One stacked bar; `│` marks the GPU's memory.

    Args:
        context: bytes of CUDA context and slack, drawn after the parts.
        scale: bytes of the whole width.
    """
    cells: list[tuple[str, str]] = []
    at, total = 0, 0.0
    for name, value in [*_ordered(parts), ("", context)]:
        total += value
        end = min(round(total / scale * width), width)
        colour, glyph = _LOOKS.get(name, _OTHER) if name else ("$foreground 30%", "╌")
        if end > at:
            cells.append((glyph * (end - at), colour))
            at = end
    mark = None if limit is None else min(round(limit / scale * width), width - 1)
    if mark is not None and mark >= at:
        cells.append(("·" * (mark - at), "dim"))
        cells.append(("│", "bold"))
        at = mark + 1
    cells.append((" " * (width - at), ""))
    line = Content.assemble(*cells)
    if mark is not None and mark < at - 1:
        line = Content.assemble(line[:mark], ("│", "bold $text-error"), line[mark + 1 :])
    return line


def _ordered(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    order = list(_LOOKS)
    return sorted(parts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))


def scale_of(plan: Plan) -> float:
    """Bytes that the width of the bars stands for."""
    if plan.fits is None:
        return plan.peak_bytes * 1.05 or 1.0
    return max(plan.fits.memory_bytes, plan.fits.needed_bytes) * 1.02


def overview(plan: Plan, width: int) -> Content:
    """The binding phase as one bar, and its legend."""
    fits = plan.fits
    context = (fits.needed_bytes - plan.peak_bytes) if fits else context_bytes(plan.inputs.ranks)
    limit = fits.memory_bytes if fits else None
    lines = [bar(plan.binding.parts, context, limit, scale_of(plan), width)]
    columns = 2 if width >= 68 else 1
    named = sorted(plan.binding.parts.values(), reverse=True)[: _LEGEND * columns]
    entries = []
    small = 0.0
    for name, value in _ordered(plan.binding.parts):
        if value < _TINY * plan.peak_bytes or value < named[-1]:
            small += value
            continue
        colour, glyph = _LOOKS.get(name, _OTHER)
        entries.append((glyph * 2, colour, name, value))
    if small:
        entries.append(("  ", "", "smaller ones", small))
    entries.append(("╌╌", "$foreground 30%", "context and slack", context))
    each = width // columns - (1 if columns > 1 else 0)
    cells = [_legend(*entry, each) for entry in entries]
    for first in range(0, len(cells), columns):
        lines.append(Content(" " * (width % columns + 1)).join(cells[first : first + columns]))
    return Content("\n").join(lines)


def _legend(glyph: str, colour: str, name: str, value: float, width: int) -> Content:
    size = gib(value)
    room = width - 3 - len(size) - 1
    return Content.assemble((glyph, colour), " ", gate_line(name, room).ljust(room), " ", (size, "bold"))


def phases(plan: Plan, width: int) -> Content:
    """A bar for each phase; the highest one binds."""
    names = max(len(phase.name) for phase in plan.phases)
    lines = []
    for phase in plan.phases:
        binds = phase is plan.binding
        size = gib(phase.bytes).rjust(9)
        room = max(width - names - len(size) - 3, 8)
        lines.append(
            Content.assemble(
                (phase.name.ljust(names), "bold" if binds else ""),
                " ",
                bar(phase.parts, 0, None, plan.peak_bytes, room),
                " ",
                (size, "bold $text-accent" if binds else ""),
            )
        )
    lines.append(Content.styled(hang(plan.why, 0, width), "dim"))
    if said := time(plan):
        lines.append(Content.styled(hang(said, 0, width), "dim"))
    return Content("\n").join(lines)


def time(plan: Plan) -> str:
    """How long a step takes, or the run where its steps are counted; empty where nothing says how fast the GPU is."""
    if plan.time_s is None or plan.inputs.stage == "inference":
        return ""
    # A figure stays with its unit.
    low, high = (duration(seconds).replace(" ", "\u00a0") for seconds in plan.time_s)
    steps = plan.recipe.max_steps or 0
    one = "an update takes" if plan.inputs.stage == "ppo" else "a step takes"
    whole = f"the {steps:,} steps take" if steps > 1 else one
    sampled = f" and answers of {ANSWERED[0]:.0%} to all of max_completion_length"
    answers = sampled if plan.inputs.stage in SAMPLING else ""
    return f"{whole} {low} to {high}, with examples of max_length{answers}"


def batch_map(view: View, width: int) -> Content:
    """Which batch and length fit: share of the GPU's memory in per cent."""
    if not view.map:
        return Content.styled("g: choose a GPU to see what fits", "dim")
    inputs = view.plan.inputs
    found = view.plan.search
    columns = max(1, min(len(LENGTHS), (width - 7) // 6))
    head = "batch ↓".ljust(7) + "".join(_length(length).rjust(6) for length in LENGTHS[:columns])
    lines = [Content.styled(head, "$text-muted")]
    for batch, shares in zip(BATCHES, view.map, strict=True):
        cells: list[tuple[str, str]] = [(f"{batch:>5}  ", "bold" if batch == inputs.batch else "$text-muted")]
        for length, share in zip(LENGTHS[:columns], shares, strict=False):
            style = "$text-success" if share <= 0.9 else "$text-warning" if share <= 1 else "$text-error"
            text = f"{share:.0%}" if share < 9.995 else f"{share:.0f}×"
            if share > 1:
                text = "✗" + text
            here = batch == inputs.batch and length == inputs.length
            cells.append((text.rjust(6), f"bold reverse {style}" if here else style))
        lines.append(Content.assemble(*cells))
    most = [
        f"largest batch {_count(found.max_batch)}",
        f"longest {_count(found.max_length)} tokens",
        f"fewest GPUs {_count(found.min_gpus)}",
    ]
    kept = [""]
    for piece in most:
        longer = f"{kept[-1]} · {piece}" if kept[-1] else piece
        kept[-1:] = [longer] if len(longer) <= width else [kept[-1], piece]
    lines += [Content.styled(line, "bold") for line in kept]
    return Content("\n").join(lines)


def _length(length: int) -> str:
    return f"{length // 1024}k" if length >= 1024 else str(length)


def _count(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def remedies(plan: Plan, width: int) -> Content:
    """What would help, the largest saving first; `r` applies one."""
    if not plan.remedies:
        return Content.styled("nothing that is known would lower the peak", "dim")
    indent = 13
    lines = []
    for number, remedy in enumerate(plan.remedies[:8], start=1):
        size = f"−{gib(remedy.saves_bytes)}"
        lines.append(
            Content.assemble(
                (f"{number} ", "$text-muted"),
                (size.rjust(10), "bold $text-success"),
                " ",
                hang(gate(remedy.change), indent, width),
            )
        )
        lines.append(Content.styled(" " * indent + hang(gate(remedy.cost), indent, width), "dim"))
    return Content("\n").join(lines)


def assumptions(plan: Plan, width: int) -> Content:
    """Everything that was assumed; what the user set stands out."""
    names = max(len(one.name) for one in plan.assumptions)
    values = max(len(one.value) for one in plan.assumptions)
    indent = names + values + 2
    below = width - indent < 24
    lines = []
    for one in plan.assumptions:
        lines.append(
            Content.assemble(
                (one.name.ljust(names + 1), "$text-muted"),
                (one.value.ljust(values + 1), "bold $text-accent" if one.set else "bold"),
                ("" if below else hang(gate(one.reason), indent, width), "dim"),
            )
        )
        if below:
            lines.append(Content.styled("  " + hang(gate(one.reason), 2, width), "dim"))
    return Content("\n").join(lines)


def rules(plan: Plan, width: int) -> Content:
    """The rules that people quote, and how far each is from this plan."""
    lines = [
        Content.styled(
            hang("Each rule is right under an assumption. Off by: the rule against the plan.", 0, width), "dim"
        )
    ]
    for one in plan.rules:
        says, planned = (parameters(int(size)) if one.counts else gib(size) for size in (one.says, one.planned))
        near = abs(one.distance) <= NEAR
        lines.append(
            Content.assemble(
                (one.rule, "bold"),
                "  ",
                says,
                "  ",
                (f"{one.distance:+.0%}", "$text-success" if near else "$text-warning"),
            )
        )
        lines.append(Content.styled("  " + hang(f"{one.beside}: {planned}", 2, width), "$text-muted"))
        lines.append(Content.styled("  " + hang(one.assumes, 2, width), "dim"))
    return Content("\n").join(lines)


def formulas(plan: Plan, width: int) -> Content:
    """Where each byte comes from."""
    total = parameters(plan.parameters)
    lines = [Content.styled(f"{total} parameters, {parameters(plan.trainable)} of them trained", "bold")]
    for one in plan.components:
        lines.append(Content.assemble((one.name, "bold"), "  ", (gib(one.bytes), "$text-accent")))
        lines.append(Content("  " + hang(gate(one.formula), 2, width)))
        lines.append(Content.styled("  " + hang(gate(one.source), 2, width), "dim"))
    return Content("\n").join(lines)
