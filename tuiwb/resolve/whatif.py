"""What other values of a key would cost in memory: each is resolved and planned as if the recipe had it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.recipe import Recipe, with_settings
from tuiwb.recipe.keys import choices_of, types_at
from tuiwb.resolve.assessment import Assessment
from tuiwb.resolve.fill import resolve

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, Host

_NOTICED = 1 << 20
"""Bytes: less than this is no difference."""
_MOST_CHOICES = 12
# Another method or stage says itself how the base is kept.
_FOLLOWS = {"method": ("load_in_4bit", "load_in_8bit", "use_dora"), "stage": ("loss_type",)}


@dataclass(frozen=True, slots=True)
class Alternative:
    """A value of a key.

    Attributes:
        value: as `--set` takes it.
        peak_bytes: with it.
        change_bytes: against the value in force; below 0 it saves.
        fits: whether that fits the GPU; None where that cannot be said.
        now: it is the value in force.
    """

    value: str
    peak_bytes: int
    change_bytes: int
    fits: bool | None
    now: bool = False


def alternatives(
    assessment: Assessment,
    key: str,
    *,
    host: "Host | None" = None,
    gpus: "Sequence[Gpu] | None" = None,
    task: Task | None = None,
) -> tuple[Alternative, ...]:
    """The value in force and others beside it, with the memory of each, in order; empty where the key makes no
    difference to it or nothing can be planned.

    Numbers are halved and doubled; of words and switches all are tried.

    Args:
        host, gpus: the machine; None asks it.

    Raises:
        Cancelled: the task was cancelled.
    """
    from tuiwb import hardware

    plan, model = assessment.plan, assessment.model
    if plan is None or model is None:
        return ()
    host = host or hardware.host()
    gpus = hardware.gpus() if gpus is None else gpus
    value = _at(assessment.resolved.recipe, key)
    found = []
    for other in _values(key, value):
        if task is not None:
            task.step("planning")
        try:
            one = alternative(assessment, key, other, host=host, gpus=gpus)
        except TuiwbError:
            continue  # the recipe as a whole does not go with this value
        found += [] if one is None else [one]
    noticed = any(abs(one.change_bytes) > _NOTICED for one in found)
    return tuple(found) if noticed else ()


def alternative(
    assessment: Assessment,
    key: str,
    value: str,
    *,
    host: "Host | None" = None,
    gpus: "Sequence[Gpu] | None" = None,
) -> Alternative | None:
    """A value of a key as it is typed, with its memory; None where nothing can be planned.

    Args:
        value: as `--set` takes it.
        host, gpus: the machine; None asks it.

    Raises:
        InputFault: the key does not take this value, or the recipe does not go with it.
    """
    from tuiwb import hardware

    plan, model, stated = assessment.plan, assessment.model, assessment.resolved.stated
    if plan is not None and value == _word(_at(assessment.resolved.recipe, key)):
        return Alternative(value, plan.peak_bytes, 0, plan.fits.ok if plan.fits else None, now=True)
    recipe = with_settings(stated, {key: value} | dict.fromkeys(_FOLLOWS.get(key, ()), ""))
    if plan is None or model is None or recipe.model_name_or_path != stated.model_name_or_path:
        return None
    host = host or hardware.host()
    gpus = hardware.gpus() if gpus is None else gpus
    changed = plan.changed(resolve(recipe, model=model, host=host, gpus=gpus).recipe)
    fits = changed.fits.ok if changed.fits else None
    return Alternative(value, changed.peak_bytes, changed.peak_bytes - plan.peak_bytes, fits)


def _values(key: str, value: Any) -> tuple[str, ...]:
    path = [int(step) if step.isdigit() else step for step in key.split(".")]
    options = types_at(path)
    choices = choices_of(options)
    if isinstance(value, bool) or options == (bool,):
        return ("false", "true")
    if choices and len(choices) <= _MOST_CHOICES and key != "launch.gpus":
        return choices
    if isinstance(value, int) and value > 0:
        near = (value // 4, value // 2, value, value * 2, value * 4)
        return tuple(dict.fromkeys(str(one) for one in near if one > 0))
    return ()


def _at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for step in key.split("."):
        value = value[int(step)] if isinstance(value, tuple) and step.isdigit() else getattr(value, step, None)
    return value


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
