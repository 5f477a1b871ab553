"""What a plan costs besides memory: disk and time."""

from msgspec.structs import replace

from tuiwb.memory import states
from tuiwb.memory.answer_time import answer_s
from tuiwb.memory.device import HasMemory
from tuiwb.memory.inputs import SAMPLING, Inputs
from tuiwb.recipe import Recipe

# Share of a GPU's dense peak that training reaches: from small batches on one card to a well-fed one.
UTILISATION = (0.25, 0.55)


def disk_bytes(inputs: Inputs) -> int:
    """Checkpoints that are kept (weights, and optimizer unless left out), and the final model or adapter."""
    whole = replace(inputs, architecture=inputs.model)
    weights = states.gradient_bytes(whole)  # of trained weights, as large as their gradients
    optimizer = 0 if inputs.save_only_model else states.optimizer_bytes(whole)
    checkpoint = weights + optimizer
    merged = inputs.model.parameters * inputs.compute if inputs.adapter else weights
    return round(inputs.checkpoints_kept * checkpoint + merged)


def step_flops(inputs: Inputs) -> float:
    """Floating-point operations of one optimizer step on one GPU.

    Two a weight and token forward, two for the gradient of the input, two for that of a trained weight, and the forward
    again with checkpointing (Kaplan et al. 2020); attention's scores add 4·L·h·length a token and pass.
    """
    shapes = inputs.architecture
    passes = 2 + (1 if inputs.trains_base else 0) + (1 if inputs.checkpointing else 0)
    used = active_parameters(inputs)
    scores = 2 * len(shapes.layers) * shapes.hidden * inputs.length
    return 2.0 * passes * (used + scores) * inputs.tokens * inputs.accumulation


def active_parameters(inputs: Inputs) -> int:
    """Parameters that one token meets: of the experts only those it is sent to."""
    from tuiwb.memory.architecture import Experts

    shapes = inputs.architecture
    total = shapes.parameters - (0 if shapes.tied else shapes.embedding)
    for layer, count in shapes.kinds:
        block = layer.feed_forward
        if isinstance(block, Experts):
            total -= count * block.weight * (block.count - block.active) // block.count
    return total


def time_band(
    recipe: Recipe, inputs: Inputs, gpu: HasMemory | None, reached: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Seconds of the whole run, where the recipe states its number of steps, else of one optimizer step.

    None where the speed is not known.

    Args:
        reached: operations in a second that past trainings reached here, from and to; left out, a share of the peak
            that the GPU's data sheet states.
    """
    speed = getattr(gpu, "tflops", None)
    if reached is None and speed:
        reached = (UTILISATION[0] * speed * 1e12, UTILISATION[1] * speed * 1e12)
    if reached is None:
        return None
    steps = recipe.max_steps if recipe.max_steps and recipe.max_steps > 0 else 1
    low, high = step_s(recipe, inputs, reached)
    return low * steps, high * steps


def step_s(
    recipe: Recipe, inputs: Inputs, reached: tuple[float, float], prompt: float | None = None
) -> tuple[float, float]:
    """Seconds of one optimizer step, of ppo of one update, from and to.

    Args:
        reached: operations in a second, from and to.
        prompt: tokens of a prompt, where answers are sampled; as many as there may be if left out.
    """
    if inputs.stage not in SAMPLING:
        work = step_flops(inputs)
        return work / reached[1], work / reached[0]
    asked = inputs.length - inputs.completion if prompt is None else prompt
    return answer_s(recipe, inputs, active_parameters(inputs), asked, reached)
