"""How long a training will take, before it starts: its steps, the tokens of an example, and the speed of the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.recipe import Recipe
from tuiwb.resolve.assessment import Assessment
from tuiwb.resolve.steps import rows_of_step

if TYPE_CHECKING:
    from tuiwb.data import Example, View
    from tuiwb.data.layout import Layout
    from tuiwb.data.render import Renderer
    from tuiwb.hardware import Gpu, Host

_SAMPLE = 48
# Multiplications and additions a second of one CPU core, as measured in training: 40e9 in float32 with AVX-512 (SmolLM2
# 135M with LoRA, 75 tokens a CPU second), three times that in bfloat16 with units for it. Small models and short rows
# reach less, and other work on the machine takes its share.
_CORE = 40e9
_CORE_BF16 = 120e9
_CPU_BAND = (0.4, 1.3)
# Answers are sampled token by token there, which no count of operations tells.
_SAMPLING = ("ppo", "grpo", "rloo")


@dataclass(frozen=True, slots=True)
class Duration:
    """An estimate.

    Attributes:
        steps: optimizer steps.
        examples: rows that a step takes.
        tokens: of an example, mean over a sample of the rows.
        seconds: from, to; None where the speed is not known.
        unknown: why it is not.
    """

    steps: int
    examples: int
    tokens: float
    seconds: tuple[float, float] | None
    unknown: str = ""


def duration(
    assessment: Assessment,
    *,
    host: "Host | None" = None,
    gpus: "Sequence[Gpu] | None" = None,
    task: Task | None = None,
) -> Duration | None:
    """Estimate the time of a training from some of its rows; None where they cannot be read.

    Args:
        host, gpus: the machine; None asks it.

    Raises:
        Cancelled: the task was cancelled.
    """
    from tuiwb import hardware
    from tuiwb.memory import costs

    recipe, plan, task = assessment.resolved.recipe, assessment.plan, task or Task()
    if plan is None or assessment.model is None or recipe.stages:
        return None
    try:
        rows, tokens = _rows(recipe, assessment, task)
    except Cancelled:
        raise
    except TuiwbError:
        return None
    if not rows:
        return None
    held = round(rows * (recipe.eval_fraction or 0))
    batch = rows_of_step(recipe)
    examples = max(1, round(batch))
    steps = max(1, round((rows - held) * (recipe.num_train_epochs or 1) / batch))
    if (recipe.max_steps or -1) > 0:
        steps = int(recipe.max_steps or steps)
    if recipe.stage in _SAMPLING:
        return Duration(steps, examples, tokens, None, "answers are sampled and may be short or long")
    band = _speed(recipe, host or hardware.host(), hardware.gpus() if gpus is None else gpus)
    if band is None:
        return Duration(steps, examples, tokens, None, "nothing says how fast this device is")
    inputs = msgspec.structs.replace(plan.inputs, length=max(1, round(min(tokens, plan.inputs.length))))
    work = costs.step_flops(inputs) * steps
    return Duration(steps, examples, tokens, (work / band[1], work / band[0]))


def _rows(recipe: Recipe, assessment: Assessment, task: Task) -> tuple[int, float]:
    """How many rows there are, and the mean tokens of some that lie evenly among them."""
    from tuiwb import data, models
    from tuiwb.data.render import Renderer

    assert assessment.model is not None
    tokenizer = models.load_tokenizer(assessment.model)
    named = recipe.chat_template or tokenizer.chat_template
    template = tokenizer.template(recipe.chat_template) if named else None
    renderer = Renderer(tokenizer, template, max_length=recipe.max_length)
    total, weighed, counted = 0, 0.0, 0
    for entry in recipe.datasets or ():
        view = data.open(entry, task=task)
        rows = min(len(view), entry.max_examples or len(view))
        lengths = _lengths(view, rows, renderer)
        if lengths:
            total, weighed, counted = total + rows, weighed + rows * sum(lengths) / len(lengths), counted + rows
    return total, weighed / counted if counted else 0.0


def _lengths(view: "View", rows: int, renderer: "Renderer") -> list[int]:
    every = max(1, rows // _SAMPLE)
    layouts = []
    for number in range(0, rows, every):
        row = view.row(number)
        if row.fault is not None:
            continue
        try:
            layouts += _layouts(view.example(row), renderer)
        except TuiwbError:
            continue
    return [len(encoded.ids) for encoded in renderer.encode(layouts)] if layouts else []


def _layouts(example: "Example", renderer: "Renderer") -> "list[Layout]":
    if example.chosen is not None and example.rejected is not None:
        prompt = example.prompt or ""
        return [renderer.answer(prompt, side, example.tools) for side in (example.chosen, example.rejected)]
    return [renderer.prompt(example)] if example.kind == "prompt" else [renderer.layout(example)]


def _speed(recipe: Recipe, host: "Host", gpus: "Sequence[Gpu]") -> tuple[float, float] | None:
    """Operations a second that training reaches, from, to."""
    from tuiwb.hardware.catalogue import gpu_named
    from tuiwb.memory.costs import UTILISATION

    numbers = recipe.launch.gpus if recipe.launch else ()
    chosen = next((gpu for gpu in gpus if isinstance(numbers, tuple) and gpu.index in numbers), None)
    if chosen is None:
        core = _CORE_BF16 if recipe.bf16 and host.bf16_units else _CORE
        return core * host.cpus * _CPU_BAND[0], core * host.cpus * _CPU_BAND[1]
    try:
        peak = gpu_named(chosen.name).tflops
    except TuiwbError:
        return None
    return (peak * 1e12 * UTILISATION[0], peak * 1e12 * UTILISATION[1]) if peak else None
