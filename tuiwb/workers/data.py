"""The examples of a run, ready to train and measure on. Needs no torch."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data import record
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.data.prepared import Prepared
from tuiwb.models import ChatTemplate, Tokenizer
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve.check_rows import reading
from tuiwb.workers import checkpoint

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Data:
    """What is trained on and measured on: prepared examples, and which rows of them.

    Attributes:
        rows: the prepared rows of an epoch.
        held_out: by name, the examples to measure on and which rows of them.
        template: None where no row is a conversation and the model has none.
    """

    prepared: Prepared
    rows: "Rows"
    held_out: Mapping[str, tuple[Prepared, "Rows"]]
    tokenizer: Tokenizer
    template: ChatTemplate | None

    @property
    def mean_tokens(self) -> float:
        """Tokens of an example, those of all its sides."""
        sides = range(len(self.prepared.sides))
        return sum(float(self.prepared.lengths(side)[self.rows].mean()) for side in sides)

    def lengths(self) -> "Rows":
        """Tokens of the longest side of each example that is trained on."""
        sides = [self.prepared.lengths(side)[self.rows] for side in range(len(self.prepared.sides))]
        longest: Rows = functools.reduce(lambda one, other: one.clip(min=other), sides)
        return longest

    def stop_ids(self) -> list[int]:
        """Ids that end an answer."""
        return checkpoint.stop_ids(self.prepared, self.tokenizer, self.template)

    def digest(self) -> str:
        """Of all ids, masks and their order: the same exactly if the same is trained on, wherever it came from."""
        whole = hashlib.blake2b(digest_size=16)
        for path in (self.prepared.path / f"{name}.npy" for name in ("ids", "mask", "starts", "labels")):
            if not path.exists():
                continue  # only answers that were judged one by one have labels
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    whole.update(block)
        whole.update(self.rows.tobytes())
        return whole.hexdigest()

    def record(self, part: Path, recipe: Recipe) -> None:
        """Keep in a part of a run which rows it learns from and is measured on.

        Raises:
            OSError: it cannot be written.
        """
        evals = iter(recipe.eval_datasets or ())
        sets = [_row_set(record.TRAINING, recipe.datasets or (), self.prepared, self.rows)]
        for name, (prepared, rows) in self.held_out.items():
            entries = recipe.datasets or () if prepared is self.prepared else (next(evals),)
            sets.append(_row_set(name, entries, prepared, rows))
        record.write(part, sets)


def load_data(recipe: Recipe, told: Callable[[int, int | None], None]) -> Data:
    """Prepare the datasets of a resolved recipe, or find them prepared.

    Args:
        told: is called with rows done and rows in all, often.

    Raises:
        InputFault: there is no row to train on, or the model, its tokenizer or a dataset cannot be read.
        EnvironmentFault: the cache cannot be written.
    """
    if not recipe.model_name_or_path:
        raise InputFault("no model is named", key="model_name_or_path")
    tokenizer, template = reading(recipe, models.open_model(recipe.model_name_or_path))
    settings = PrepareSettings.of(recipe)
    task = _Telling(told)

    def prepared_of(entries: Sequence[DatasetEntry]) -> Prepared:
        return prepare(entries, tokenizer, template, settings, task=task)

    prepared = prepared_of(recipe.datasets or ())
    rows, held = prepared.split(recipe.eval_fraction or 0.0, settings.seed)
    if not len(rows):
        raise InputFault("there are too few rows to hold some out", key="eval_fraction")
    held_out: dict[str, tuple[Prepared, Rows]] = {"held_out": (prepared, held)} if len(held) else {}
    for entry in recipe.eval_datasets or ():
        other = prepared_of((entry,))
        held_out[_unused(Path(entry.path).stem, held_out)] = (other, other.order)
    return Data(prepared, rows, held_out, tokenizer, template)


def _row_set(name: str, entries: Sequence[DatasetEntry], prepared: Prepared, rows: "Rows") -> record.RowSet:
    return record.RowSet(name, tuple(entries), tuple(prepared.summary["fingerprints"]), prepared.rows[rows])


class _Telling(Task):
    """Passes on how far the preparation is."""

    def __init__(self, told: Callable[[int, int | None], None]) -> None:
        super().__init__()
        self._told = told

    def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        super().step(doing, done, total, unit)
        self._told(done, total)


def _unused(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    unused = name
    while unused in taken:
        unused, number = f"{name}_{number}", number + 1
    return unused
