"""Checks of the datasets: they are there, hold rows of a kind that the stage learns from, and enough of them."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.base.units import count
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve.check import Check, error, note, warning
from tuiwb.resolve.steps import rows_of_step

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.example import Example
    from tuiwb.models import ModelInfo

_LOOKED_AT = 100
"""Rows from the beginning, of which one must be readable."""

_KINDS = {
    "pretrain": ("text", "tokenized", "messages", "prompt_completion"),
    "sft": ("messages", "prompt_completion", "text", "tokenized"),
    "reward": ("preference",),
    "dpo": ("preference",),
    "orpo": ("preference",),
    "kto": ("unpaired", "preference"),
    "ppo": ("prompt", "messages", "prompt_completion", "preference"),
    "grpo": ("prompt", "messages", "prompt_completion"),
    "rloo": ("prompt", "messages", "prompt_completion"),
}
_NAMES = {
    "preference": "pairs of a chosen and a rejected answer",
    "unpaired": "answers with a label",
    "stepwise": "steps with labels",
    "prompt": "prompts without answers",
    "messages": "conversations",
    "prompt_completion": "prompts with completions",
    "text": "plain text",
    "tokenized": "token ids",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What the beginning of a dataset shows. `problem` says why it cannot be used; `kind` is that of its examples."""

    rows: int = 0
    kind: str = ""
    chat: bool = False
    problem: str = ""


def check_data(recipe: Recipe, model: "ModelInfo | None", task: Task) -> Iterator[Check]:
    """Whether there is something to learn from, and to measure on.

    Raises:
        Cancelled: the task was cancelled.
    """
    if not recipe.datasets:
        yield error("datasets", "no dataset is named", "datasets: [{path: …}]")
    rows, chat = 0, False
    for key in ("datasets", "eval_datasets"):
        for number, entry in enumerate(getattr(recipe, key) or ()):
            place = f"{key}[{number}]"
            seen = look(entry, task)
            if seen.problem:
                yield error(place, seen.problem)
            elif seen.kind not in _KINDS[recipe.stage or "sft"]:
                wanted = " or ".join(_NAMES[kind] for kind in _KINDS[recipe.stage or "sft"])
                yield error(place, f"holds {_NAMES[seen.kind]}, and stage {recipe.stage} learns from {wanted}")
            chat = chat or seen.chat
            if key == "datasets":
                rows += min(seen.rows, entry.max_examples or seen.rows)
    here = model is not None and bool(model.tensors)  # a bare configuration does not say what comes with the weights
    if chat and model is not None and here and model.chat_template is None and recipe.chat_template is None:
        yield error("chat_template", f"{model.name} has no chat template, and the data are conversations",
                    "chat_template: chatml")  # fmt: skip
    if rows:
        yield from _amount(recipe, rows)


def _amount(recipe: Recipe, rows: int) -> Iterator[Check]:
    held = round(rows * (recipe.eval_fraction or 0))
    if recipe.eval_fraction and held == 0:
        message = f"{recipe.eval_fraction:.0%} of {count(rows)} rows is not one row to measure on"
        yield error("eval_fraction", message, "a larger share, or 0")
    batch = rows_of_step(recipe)
    steps = (rows - held) * (recipe.num_train_epochs or 1) / batch
    if (recipe.max_steps or -1) > 0 or recipe.packing:
        return
    of = f"{count(max(1, round(batch)))} examples"
    if steps < 10:
        message = f"{count(rows)} rows make only {max(1, round(steps))} optimizer steps of {of}"
        yield warning("gradient_accumulation_steps", message, "fewer batches a step, or more epochs")
    else:
        yield note("", f"{count(rows)} rows make about {count(round(steps))} optimizer steps of {of}")


_seen: dict[bytes, Look] = {}


def look(entry: DatasetEntry, task: Task) -> Look:
    """Open a dataset and read its first row; remembered until the file changes."""
    key = msgspec.json.encode(stamps(entry))
    if key not in _seen:
        if len(_seen) > 64:
            _seen.clear()
        _seen[key] = _look(entry, task)
    return _seen[key]


def stamps(entry: DatasetEntry) -> tuple[object, ...]:
    """An entry, and what changes when the files that it names do."""
    steps = [_stamp(step) for step in entry.steps or () if isinstance(step, str)]
    return entry, _stamp(entry.path), entry.journal and _stamp(entry.journal), steps


def _look(entry: DatasetEntry, task: Task) -> Look:
    from tuiwb import data

    try:
        view = data.open(entry, task=task)
        rows = len(view)
        if not rows:
            return Look(problem=f"{Path(entry.path).name} has no rows")
        numbers = iter(range(min(rows, _LOOKED_AT)))
        if view.steps:
            cleaned = view.cleaned(task)
            if not cleaned.kept:
                return Look(problem=f"the steps leave none of the {count(rows)} rows of {Path(entry.path).name}")
            rows, numbers = cleaned.kept, itertools.islice(cleaned.stay(), _LOOKED_AT)
        example = _first(view, numbers)
    except Cancelled:
        raise
    except TuiwbError as fault:
        return Look(problem=str(fault))
    turns = isinstance(example.prompt, list) or isinstance(example.chosen, list)
    return Look(rows=rows, kind=example.kind, chat=example.kind == "messages" or turns)


def _first(view: "View", numbers: Iterator[int]) -> "Example":
    """The first of these rows that can be read: broken ones are left out and counted when the data are prepared.

    Raises:
        InputFault: none can; what is wrong with the first.
    """
    wrong: TuiwbError | None = None
    for number in numbers:
        try:
            return view.example(view.row(number))
        except TuiwbError as fault:
            wrong = wrong or fault
    assert wrong is not None
    raise wrong


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size
