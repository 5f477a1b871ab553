"""A recipe with `stages`, assessed: each part as it would be alone, and how the parts go together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tuiwb.recipe import Recipe
from tuiwb.recipe.contradictions import contradictions
from tuiwb.recipe.parts import Feed, feeds, leaves_adapter, parts_of
from tuiwb.resolve.check import LEVELS, Check, error
from tuiwb.resolve.check_stage import NOTHING_SCORES
from tuiwb.resolve.choices import Resolved

if TYPE_CHECKING:
    from tuiwb.resolve.assessment import Assessment


def assess_parts(recipe: Recipe, assess: "Callable[[Recipe], Assessment]") -> "Assessment":
    """Assess every part.

    Args:
        assess: for one recipe without stages.

    Returns:
        one assessment: the resolved recipe holds the resolved parts, the plan is that of the part that needs the most
        memory, and what a check says of a part's key names the part.
    """
    stated = parts_of(recipe)
    found = [assess(part) for part in stated]
    resolved = [each.resolved.recipe for each in found]
    going = feeds(resolved)
    checks = [
        placed(number, check)
        for number, (each, feed) in enumerate(zip(found, going, strict=True))
        for check in each.checks
        if not _settled(check, feed)
    ]
    together = [*_contradictions(stated), *_together(resolved, going)]
    plans = [each.plan for each in found if each.plan is not None]
    return replace(
        found[0],
        resolved=joined(recipe, [each.resolved for each in found]),
        plan=max(plans, key=lambda plan: plan.peak_bytes, default=None) if len(plans) == len(found) else None,
        checks=tuple(sorted(dict.fromkeys([*together, *checks]), key=lambda check: LEVELS.index(check.level))),
    )


def joined(recipe: Recipe, parts: Sequence[Resolved]) -> Resolved:
    """A recipe with stages, complete: its resolved parts, with the reason of each choice."""
    stages = tuple(part.recipe for part in parts)
    reasons = {_key(number, key): why for number, part in enumerate(parts) for key, why in part.reasons.items()}
    return Resolved(msgspec.structs.replace(recipe, stages=stages), reasons, recipe)


def placed(number: int, check: Check) -> Check:
    """What a check says of a part, with the part named."""
    return msgspec.structs.replace(check, key=_key(number, check.key))


def _key(number: int, key: str) -> str:
    return f"stages[{number}]" + (f".{key}" if key else "")


def _settled(check: Check, feed: Feed) -> bool:
    """Whether it complains of something that an earlier part makes."""
    return check.message == NOTHING_SCORES and feed.reward is not None


def _contradictions(parts: Sequence[Recipe]) -> Iterator[Check]:
    """Keys of a part that contradict those that hold for all."""
    for number, part in enumerate(parts):
        for key, message in contradictions(part):
            yield error(_key(number, key), message)


def _together(parts: Sequence[Recipe], going: Sequence[Feed]) -> Iterator[Check]:
    for number, (part, feed) in enumerate(zip(parts, going, strict=True)):
        if part.stages:
            yield error(_key(number, "stages"), "a part of a run has no parts of its own", "one list of stages")
        before = None if feed.model is None else parts[feed.model]
        if before is not None and leaves_adapter(before) and not leaves_adapter(part):
            message = (
                f"method {part.method} trains the model itself, and part {(feed.model or 0) + 1} leaves an adapter"
            )
            yield error(_key(number, "method"), message, f"method: {before.method}, or train both with method: full")
        elif before is not None and leaves_adapter(before) and _kind(before) != _kind(part):
            message = f"it goes on from an adapter of the kind {before.method}, which is not {part.method}"
            yield error(_key(number, "method"), message, f"method: {before.method}")
        if _processes(part) != _processes(parts[0]):
            yield error(_key(number, "launch.processes"), "all parts of a run have the same processes", "one launch")


def _kind(part: Recipe) -> str:
    return "lora" if part.method in ("lora", "qlora", "dora", None) else str(part.method)


def _processes(part: Recipe) -> int:
    return (part.launch.processes if part.launch else None) or 1
