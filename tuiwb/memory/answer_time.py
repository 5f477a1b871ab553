"""How long the stages take that let the model answer: tokens come one after the other, each a walk through all layers,
and then whoever judges the answers and learns from them computes them as a whole."""

import math

from tuiwb.memory.inputs import Inputs
from tuiwb.recipe import Recipe

ANSWERED = (0.25, 1.0)
"""Part of `max_completion_length` that answers have, from and to: nobody knows before they are there."""
# Seconds of Python and kernels that a layer with adapters takes for a token, and bytes of weights read in a second;
# from and to. On a busy core SmolLM2 135M took 19 (ppo), 10 (grpo) and 12 CPU seconds (rloo) for an update of four
# answers of 32 tokens: 0.80, 0.98 and 0.86 of the higher end.
_LAYER_S = {"cpu": (0.8e-3, 4e-3), "gpu": (0.4e-3, 1.5e-3)}
_READ = {"cpu": (16e9, 5e9), "gpu": (2e12, 0.3e12)}


def answer_s(
    recipe: Recipe, inputs: Inputs, parameters: int, prompt: float, reached: tuple[float, float]
) -> tuple[float, float]:
    """Seconds of an optimizer step of grpo and rloo, of an update of ppo, from and to.

    Args:
        parameters: that a token meets.
        prompt: tokens of a prompt.
        reached: operations in a second, from and to.
    """
    low, high = (
        _seconds(recipe, inputs, parameters, prompt, max(1.0, part * inputs.completion), speed, end)
        for end, (part, speed) in enumerate(zip(ANSWERED, reversed(reached), strict=True))
    )
    return low, high


def _seconds(
    recipe: Recipe, inputs: Inputs, parameters: int, prompt: float, answer: float, speed: float, end: int
) -> float:
    answers, layers = inputs.batch * inputs.rounds, len(inputs.architecture.layers)
    tokens = answers * (prompt + answer)
    walk = layers * _LAYER_S[inputs.device][end] + parameters * inputs.weights / _READ[inputs.device][end]
    walks = math.ceil(answers / inputs.sampled) * answer
    scores = 2 * layers * inputs.architecture.hidden * (prompt + answer)
    work = 2.0 * tokens * (parameters + (parameters + scores) * _passes(recipe, inputs))
    return walks * walk + work / speed


def _passes(recipe: Recipe, inputs: Inputs) -> float:
    """Passes over the finished answers, in forward passes: backwards one for the gradient of the inputs, one for that
    of trained weights, and the forward pass again with checkpointing."""
    learns = 2.0 + inputs.trains_base + inputs.checkpointing
    judge = 1 if recipe.reward_model_name_or_path else 0
    if inputs.stage == "ppo":
        epochs = recipe.num_ppo_epochs or 1
        # Policy and value learn; before, the policy, the reference and the value are asked once. Where `judges`, the
        # policy's forward pass is kept for the first step.
        return judge + 3 + 2 * epochs * learns - inputs.judges
    reference = 1 if recipe.beta else 0
    before = 1 if inputs.stage == "rloo" else 0
    return judge + reference + before + learns
