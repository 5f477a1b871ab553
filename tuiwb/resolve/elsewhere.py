"""A recipe completed for a GPU that need not be here: what planning asks for."""

import dataclasses

import msgspec

from tuiwb import hardware
from tuiwb.hardware import Gpu
from tuiwb.hardware.catalogue import GpuSpec, as_live
from tuiwb.models import ModelInfo
from tuiwb.recipe import Recipe
from tuiwb.resolve.choices import Resolved
from tuiwb.resolve.fill import resolve


def planning_target(recipe: Recipe, model: ModelInfo, spec: GpuSpec | None) -> tuple[Resolved, Gpu | GpuSpec | None]:
    """The complete recipe, and the GPU to hold its plan against.

    Args:
        spec: a GPU by name; None takes the live one with the most free memory, if there is any.
    """
    live = [as_live(spec)] if spec is not None else hardware.gpus()
    resolved = resolve(recipe, model=model, host=hardware.host(), gpus=live)
    if recipe.use_cpu is None and resolved.recipe.use_cpu:
        # Only because this machine has no GPU: the plan is asked for one that is elsewhere.
        elsewhere = msgspec.structs.replace(resolved.recipe, use_cpu=None)
        resolved = dataclasses.replace(resolved, recipe=elsewhere)
    return resolved, spec or max(live, key=lambda gpu: gpu.memory_free, default=None)
