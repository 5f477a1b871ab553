"""What the Train screen needs found or computed, in threads: nothing here touches a widget."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuiwb.base import units
from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.recipe import Recipe
from tuiwb.tui.screens import train_form as form

if TYPE_CHECKING:
    from tuiwb.recipe import Difference
    from tuiwb.resolve import Assessment
    from tuiwb.resolve.duration import Duration
    from tuiwb.resolve.whatif import Alternative

_DATA = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown of a recipe besides what the machine has to say: made in a thread.

    Attributes:
        yaml: its file.
        changed: how it differs from what `source` names; empty where that cannot be read any more.
    """

    recipe: Recipe
    source: str
    yaml: str
    changed: "tuple[Difference, ...]"


def picture_of(recipe: Recipe, source: str, text: str) -> Picture:
    """The picture of a recipe that was opened from `source`, and read from or typed as `text`."""
    from tuiwb import recipe as recipes
    from tuiwb.recipe.keeping import kept

    form.all_fields(recipe)  # reads the help once, so that the form itself takes no time
    try:
        changed = tuple(recipes.differences(recipes.load(source), recipe)) if source else ()
    except TuiwbError:
        changed = ()
    return Picture(recipe, source, kept(text, recipe, folder=Path.cwd()), changed)


def assess(recipe: Recipe, task: Task) -> "Assessment":
    """Everything that is to be known of a recipe on this machine."""
    from tuiwb import resolve

    return resolve.assess(recipe, task=task)


def with_rows(assessment: "Assessment", task: Task) -> "tuple[Assessment, Duration | None]":
    """With what the rows say, and how long it will take as far as that is known."""
    from tuiwb.resolve import check_rows
    from tuiwb.resolve.duration import duration

    known = check_rows.with_rows(assessment, task)
    return known, duration(known, task=task)


def costs_of(assessment: "Assessment", key: str, task: Task) -> "tuple[Alternative, ...]":
    """What other values of a key would cost in memory."""
    from tuiwb.resolve.whatif import alternatives

    return alternatives(assessment, key, task=task)


def cost_of(assessment: "Assessment", key: str, typed: str) -> "Alternative | None":
    """What a value would cost in memory; None where that cannot be said.

    Raises:
        InputFault: the key does not take it.
    """
    from tuiwb.resolve.whatif import alternative

    return alternative(assessment, key, typed)


def recipe_of(text: str) -> Recipe:
    """The recipe that was typed; relative paths start from the working directory.

    Raises:
        InputFault: with the line and the key.
    """
    from tuiwb.recipe import loads

    return loads(text, source="YAML", folder=Path.cwd())


def models() -> list[tuple[str, str]]:
    """The models that are here, and those that `tuiwb models get` would bring."""
    from tuiwb import models

    here = {model.name: model.parameters for model in models.installed()}
    found = [(name, units.parameters(count) if count else "") for name, count in here.items()]
    return found + [(one.name, "not here yet: Models brings it") for one in models.catalogue() if one.name not in here]


def datasets() -> list[tuple[str, str]]:
    """Files of data in the working folder and one level below."""
    folder = Path.cwd()
    found: list[tuple[str, str]] = []
    for pattern in ("*", "*/*"):
        for path in sorted(folder.glob(pattern)):
            if path.suffix.lower() in _DATA and len(found) < 200:
                found.append((str(path.relative_to(folder)), ""))
    return found


def words(key: str, choices: tuple[str, ...], assessment: "Assessment | None", task: Task) -> list[tuple[str, str]]:
    """The words of a choice, each with what it would cost in memory, or why it cannot be.

    Raises:
        Cancelled: the task was cancelled.
    """
    if assessment is None:
        return [(word, "") for word in choices]
    from tuiwb.resolve.whatif import alternatives

    costs = {one.value: one for one in alternatives(assessment, key, task=task)}
    found = []
    for word in choices:
        remark = _refusal(key, word, assessment)
        one = costs.get(word)
        if not remark and one is not None:
            sign = "+" if one.change_bytes >= 0 else "−"
            more = "" if one.now else f", {sign}{units.size(abs(one.change_bytes))}"
            remark = units.size(one.peak_bytes) + more + ("" if one.fits is not False else ", does not fit")
        found.append((word, remark))
    return found


def _refusal(key: str, word: str, assessment: "Assessment") -> str:
    """Why a stage or method cannot be trained with the rest of the recipe."""
    if key not in ("stage", "method"):
        return ""
    from tuiwb.resolve.trainable import refusals

    changes = {key: word, "loss_type": None, "stages": None}
    recipe = msgspec.structs.replace(assessment.resolved.recipe, **changes)
    return next((message for at, message, _ in refusals(recipe) if at in ("stage", "method")), "")
