"""A recipe with `stages`: what its parts are, and which part's result goes into which.

What the recipe states beside `stages` holds for each of them that does not say otherwise. A part goes on from the
result of the last part before it that trained the same model, unless it names an adapter of its own; a part that learns
from scores takes the reward model of the last part that made one, unless it names what scores.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from tuiwb.recipe.model import Recipe

# Methods whose result is an adapter, not a model.
ADAPTERS = ("lora", "qlora", "dora", "ia3", "prefix", "prompt")
_SCORED = ("ppo", "grpo", "rloo")
# What belongs to the run, not to its parts.
_OF_THE_RUN = ("name", "tags", "notes", "stages")


class Feed(Struct, frozen=True):
    """The parts, counted from 0, whose results go into a part: the model or adapter that it goes on from, and the
    reward model."""

    model: int | None = None
    reward: int | None = None


class Made(Struct, frozen=True):
    """What a part left: its recipe, with all that went into it, and the folder of its result."""

    recipe: Recipe
    folder: str


def parts_of(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipes of a run's parts, each complete in itself; the recipe itself where it has no stages."""
    if not recipe.stages:
        return (recipe,)
    stated = {name: getattr(recipe, name) for name in recipe.__struct_fields__ if name not in _OF_THE_RUN}
    common = {name: value for name, value in stated.items() if value is not None}
    return tuple(
        msgspec.structs.replace(
            stage,
            name=None,
            **{name: value for name, value in common.items() if getattr(stage, name) is None},
        )
        for stage in recipe.stages
    )


def feeds(parts: Sequence[Recipe]) -> tuple[Feed, ...]:
    """Which parts' results go into each part."""
    found: list[Feed] = []
    for number, part in enumerate(parts):
        trained = [before for before in range(number) if parts[before].stage != "reward"]
        model = trained[-1] if trained and _goes_on(part, parts[trained[-1]]) else None
        reward = None
        if part.stage in _SCORED and not (part.reward_model_name_or_path or part.reward_funcs):
            reward = next((before for before in reversed(range(number)) if parts[before].stage == "reward"), None)
        found.append(Feed(model, reward))
    return tuple(found)


def fed(part: Recipe, feed: Feed, made: Sequence[Made]) -> Recipe:
    """The recipe of a part with what earlier parts made.

    Args:
        made: by the parts before it, in their order.
    """
    changes: dict[str, str | None] = {}
    if feed.model is not None:
        before = made[feed.model]
        if leaves_adapter(before.recipe):
            changes["model_name_or_path"] = before.recipe.model_name_or_path
            changes["adapter_name_or_path"] = before.folder
        else:
            changes["model_name_or_path"] = before.folder
    if feed.reward is not None:
        changes["reward_model_name_or_path"] = made[feed.reward].folder
    return msgspec.structs.replace(part, **changes)


def leaves_adapter(part: Recipe) -> bool:
    """Whether the result of a part is an adapter, not a model."""
    return (part.method or "lora") in ADAPTERS


def _goes_on(part: Recipe, before: Recipe) -> bool:
    return not part.adapter_name_or_path and part.model_name_or_path == before.model_name_or_path
