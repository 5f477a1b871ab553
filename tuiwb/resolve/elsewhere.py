"""A recipe completed for a GPU that need not be here: what planning asks for."""

import msgspec

from tuiwb import hardware
from tuiwb.hardware import Gpu
from tuiwb.hardware.catalogue import GpuSpec, as_live
from tuiwb.models import ModelInfo
from tuiwb.recipe import Recipe
from tuiwb.recipe.parts import parts_of
from tuiwb.resolve.choices import Resolved
from tuiwb.resolve.fill import resolve


def planning_target(recipe: Recipe, model: ModelInfo, spec: GpuSpec | None) -> tuple[Resolved, Gpu | GpuSpec | None]:
    """The complete recipe, and the GPU to hold its plan against. Of a recipe with stages, the part that needs the most
    memory.

    Args:
        spec: a GPU by name; None takes the live one with the most free memory, if there is any.
    """
    if recipe.stages:
        return _largest([planning_target(part, model, spec) for part in parts_of(recipe)], model)
    live = [as_live(spec)] if spec is not None else hardware.gpus()
    resolved = resolve(recipe, model=model, host=hardware.host(), gpus=live)
    if recipe.use_cpu is None and resolved.recipe.use_cpu:
        # Only because this machine has no GPU: the plan is asked for one that is elsewhere.
        elsewhere = msgspec.structs.replace(resolved.recipe, use_cpu=None)
        resolved = msgspec.structs.replace(resolved, recipe=elsewhere)
    return resolved, spec or max(live, key=lambda gpu: gpu.memory_free, default=None)


def _largest(
    parts: list[tuple[Resolved, Gpu | GpuSpec | None]], model: ModelInfo
) -> tuple[Resolved, Gpu | GpuSpec | None]:
    from tuiwb import memory

    return max(parts, key=lambda part: memory.plan(part[0].recipe, model, gpu=part[1]).peak_bytes)
