"""How long a training will take, before it starts: its steps, the tokens of an example, and the speed of the device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.recipe import Recipe
from tuiwb.resolve.assessment import Assessment
from tuiwb.resolve.check_rows import with_rows
from tuiwb.resolve.steps import rows_of_step

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, Host

# Multiplications and additions a second of one CPU core, as measured in training: 40e9 in float32 with AVX-512 (SmolLM2
# 135M with LoRA, 75 tokens a CPU second), three times that in bfloat16 with units for it. Small models and short rows
# reach less, and other work on the machine takes its share.
_CORE = 40e9
_CORE_BF16 = 120e9
_CPU_BAND = (0.4, 1.3)


@dataclass(frozen=True, slots=True)
class Duration:
    """An estimate.

    Attributes:
        steps: optimizer steps.
        examples: rows that a step takes.
        tokens: of an example, of its prompt where the answer is sampled; the mean of the rows that were looked at.
        seconds: from, to; None where the speed is not known.
        unknown: why it is not.
        rests_on: what the estimate is made of, in words.
        sampled: an example is a prompt, and its answers come on top.
    """

    steps: int
    examples: int
    tokens: float
    seconds: tuple[float, float] | None
    unknown: str = ""
    rests_on: str = ""
    sampled: bool = False


def duration(
    assessment: Assessment,
    *,
    host: "Host | None" = None,
    gpus: "Sequence[Gpu] | None" = None,
    task: Task | None = None,
) -> Duration | None:
    """Estimate the time of a training from its rows; None where they cannot be read.

    Args:
        assessment: best with its rows (`assess(rows=True)`), which are looked at here otherwise.
        host, gpus: the machine; None asks it.

    Raises:
        Cancelled: the task was cancelled.
    """
    from tuiwb import hardware
    from tuiwb.memory import costs
    from tuiwb.memory.answer_time import ANSWERED
    from tuiwb.memory.inputs import SAMPLING

    if assessment.plan is None or assessment.resolved.recipe.stages:
        return None
    if assessment.rows is None:
        assessment = with_rows(assessment, task or Task())
    recipe, plan, rows = assessment.resolved.recipe, assessment.plan, assessment.rows
    if plan is None or rows is None or not rows.examples:
        return None
    examples, tokens = float(rows.examples), rows.tokens
    examples -= round(examples * (recipe.eval_fraction or 0))
    if recipe.packing:
        examples, tokens = examples * tokens / plan.inputs.length, float(plan.inputs.length)
    batch = rows_of_step(recipe)
    steps = max(1, round(examples * (recipe.num_train_epochs or 1) / batch))
    if (recipe.max_steps or -1) > 0:
        steps = int(recipe.max_steps or steps)
    sampled = plan.inputs.stage in SAMPLING
    found = Duration(steps, max(1, round(batch)), tokens, None, sampled=sampled)
    known = _speed(recipe, host or hardware.host(), hardware.gpus() if gpus is None else gpus)
    if known is None:
        return replace(found, unknown="nothing says how fast this device is")
    band, speed = known
    inputs, answers = plan.inputs, ""
    if sampled:
        low, high = (max(1, round(part * inputs.completion)) for part in ANSWERED)
        answers = f", and answers of {low:,} to {high:,} tokens"
    else:
        inputs = msgspec.structs.replace(inputs, length=max(1, round(min(tokens, inputs.length))))
    seconds = tuple(steps * each for each in costs.step_s(recipe, inputs, band, tokens))
    return replace(found, seconds=(seconds[0], seconds[1]), rests_on=speed + answers)


def _speed(recipe: Recipe, host: "Host", gpus: "Sequence[Gpu]") -> tuple[tuple[float, float], str] | None:
    """Operations a second that training reaches, from and to, and what that rests on."""
    from tuiwb.hardware.catalogue import gpu_named
    from tuiwb.memory.costs import UTILISATION

    numbers = recipe.launch.gpus if recipe.launch else ()
    chosen = next((gpu for gpu in gpus if isinstance(numbers, tuple) and gpu.index in numbers), None)
    if chosen is None:
        half = bool(recipe.bf16 and host.bf16_units)
        speed = (_CORE_BF16 if half else _CORE) * host.cpus
        cores, kind = f"{host.cpus} core{'s' if host.cpus > 1 else ''}", "bfloat16" if half else "float32"
        return (speed * _CPU_BAND[0], speed * _CPU_BAND[1]), f"what {cores} of a CPU reach in {kind}"
    try:
        peak = gpu_named(chosen.name).tflops
    except TuiwbError:
        return None
    if not peak:
        return None
    low, high = UTILISATION
    return (peak * 1e12 * low, peak * 1e12 * high), f"{low:.0%} to {high:.0%} of what {chosen.name} can compute"
