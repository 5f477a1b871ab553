"""What the Plan screen says of measurements: past runs beside their plans, and two steps done now."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate, gate_line
from tuiwb.base.units import gib

if TYPE_CHECKING:
    from tuiwb.memory.history import Past
    from tuiwb.recipe import Recipe
    from tuiwb.runs.measuring import Measured

_RESIDENT = "On a CPU what is measured is resident memory, which the C library and PyTorch's kernels raise."


def past_runs() -> "tuple[Past, ...]":
    """Of this machine, the newest first. Runs in a thread."""
    from tuiwb.runs.past import past_here

    return past_here()


def measure(recipe: "Recipe", task: Task) -> "Measured":
    """Two real steps of the open recipe in a worker. Runs in a thread.

    Raises:
        TuiwbError: a check found an error, the steps failed, or the task was cancelled.
    """
    from tuiwb import resolve
    from tuiwb.runs import measuring

    return measuring.measure(resolve.assess(recipe, task=task), task=task)


def history(runs: "Sequence[Past]") -> str:
    """A line for each run: how far its plan was from what it measured."""
    if not runs:
        return "No training that was planned has come to its end on this machine yet."
    rows = [("planned", "measured", "off", "device", "run")]
    rows += [
        (gib(one.planned_bytes), gib(one.measured_bytes), f"{one.off:+.1%}", one.device, gate_line(one.run_id, 48))
        for one in runs
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    lines = [
        "  ".join([*(row[at].rjust(widths[at]) for at in range(3)), row[3].ljust(widths[3]), row[4]]) for row in rows
    ]
    return "\n".join([*lines, *(["", _RESIDENT] if any(one.device == "cpu" for one in runs) else [])])


def measured(found: "Measured") -> str:
    """The peak beside the plan's, the time of a step, and what the first batch was."""
    batch = found.first_batch
    planned = "not known" if found.planned_bytes is None else gib(found.planned_bytes)
    off = "" if found.off is None else f" ({found.off:+.1%} of what was measured)"
    lines = [
        f"measured peak  {gib(found.peak_bytes)}",
        f"planned peak   {planned}{off}",
        f"a step         {found.step_s:.2f} s, {batch['examples']} of the longest examples",
        f"first batch    {batch['trained_tokens']:,} trained tokens of {batch['tokens']:,}",
        f"first loss     {batch['loss']:.4f}{'' if batch['finite'] else ', which is no number'}",
        *(["", _RESIDENT] if found.device == "cpu" else []),
        "",
        "The first example begins:",
        gate(batch["text"]),
    ]
    return "\n".join(lines)
