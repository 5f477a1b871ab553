"""From datasets to prepared examples: every row translated, rendered and encoded once, whoever trains how often.

The result is a folder named after a fingerprint of all that it depends on, so the same data, tokenizer, template and
settings are never encoded twice.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tuiwb.base.errors import InputFault, TuiwbError
from tuiwb.base.settings import cache_root
from tuiwb.base.tasks import Task
from tuiwb.data.example import Example
from tuiwb.data.layout import Encoded, Layout, Truncation
from tuiwb.data.mixture import epoch
from tuiwb.data.prepared import VERSION, Prepared, Writer
from tuiwb.data.render import Renderer, TrainOnEos
from tuiwb.data.tally import Tally
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
    from tuiwb.data.prepared import Array
    from tuiwb.data.rows import Row
    from tuiwb.data.view import View
    from tuiwb.models import ChatTemplate, Tokenizer
    from tuiwb.recipe import DatasetEntry, Recipe

_BATCH = 512
Shape = Literal["text", "pair", "judged", "prompt"]
_SIDES: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "pair": ("chosen", "rejected"),
    "judged": ("text",),
    "prompt": ("prompt",),
}
_SHAPES: dict[str, Shape] = {
    "reward": "pair", "dpo": "pair", "orpo": "pair", "kto": "judged", "ppo": "prompt", "grpo": "prompt",
    "rloo": "prompt",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """What, besides data, tokenizer and template, decides about the result.

    Attributes:
        shape: `text` (one sequence for each row), `pair` (chosen and rejected), `judged` (an answer with a label; a
            pair makes two of them), `prompt` (up to the generation prompt, nothing trained).
        train_roles, train_on_eos, max_length, truncation, response_marker: as `render` has them.
        whole: leave out what is longer than `max_length` instead of cutting it.
        seed: draws the rows of a mixture.
    """

    shape: Shape = "text"
    train_roles: tuple[str, ...] | None = ("assistant",)
    train_on_eos: TrainOnEos = "turn"
    max_length: int | None = None
    truncation: Truncation = "keep_start"
    whole: bool = False
    seed: int = 42
    response_marker: str | None = None

    @classmethod
    def of(cls, recipe: "Recipe") -> "PrepareSettings":
        """The settings that a resolved recipe asks for."""
        stage = recipe.stage or "sft"
        shape = _SHAPES.get(stage, "text")
        return cls(
            shape=shape,
            # A prompt without its end is another question, and a reward is read off an answer's last token.
            whole=shape == "prompt" or stage == "reward",
            train_roles=None if stage == "pretrain" else tuple(recipe.train_roles or ("assistant",)),
            train_on_eos=recipe.train_on_eos or "turn",
            max_length=recipe.max_length,
            response_marker=None if stage == "pretrain" else recipe.response_marker,
            seed=recipe.seed if recipe.seed is not None else 42,
        )

    def renderer(self, tokenizer: "Tokenizer", template: "ChatTemplate | None") -> Renderer:
        """What renders the rows."""
        return Renderer(
            tokenizer,
            template,
            train_roles=self.train_roles,
            train_on_eos=self.train_on_eos,
            max_length=self.max_length,
            truncation=self.truncation,
            response_marker=self.response_marker,
        )


def prepare(
    entries: "Sequence[DatasetEntry | str | Path]",
    tokenizer: "Tokenizer",
    template: "ChatTemplate | None",
    settings: PrepareSettings,
    *,
    root: Path | None = None,
    task: Task | None = None,
) -> Prepared:
    """Encode datasets, or find them encoded already.

    Args:
        entries: the sources; where one has a `weight`, an epoch has as many examples as all sources together, each
            source in its share: a small one is repeated, a large one sampled.
        template: the chat template; None where no source holds conversations.
        root: where prepared folders are kept; the cache by default.

    Returns:
        the examples. `summary` says `rows`, `kept`, `examples` (in an epoch), `tokens`, `trained_tokens`, `lengths`
        (percentiles, of the kept), `truncated` (rows, tokens and trained tokens lost), `dropped`
        (`{reason: {count, source, row, line, why, trained_tokens}}`), `problems` (sentences) and `sources`.

    Raises:
        InputFault: a source cannot be read or its format is unclear, or no row has a trained token.
        EnvironmentFault: the cache cannot be written.
        Cancelled: the task was cancelled; nothing stays.
    """
    from tuiwb import data

    task = task or Task()
    if not entries:
        raise InputFault("names no dataset", key="datasets")
    task.step("opening datasets")
    views = [data.open(entry, task=task) for entry in entries]
    weights = [getattr(entry, "weight", None) for entry in entries]
    fingerprint = _fingerprint(views, weights, tokenizer, template, settings)
    path = (root or cache_root() / "prepared") / fingerprint
    if (path / "header.json").exists():
        return Prepared.open(path)
    renderer = settings.renderer(tokenizer, template)
    tally = Tally()
    with Writer(path, _SIDES[settings.shape]) as writer:
        for number, view in enumerate(views):
            keep = functools.partial(writer.add, number)
            Reading(view, renderer, settings, tally, keep).read(view.scan(), len(view), task)
        if not tally.kept:
            raise InputFault(tally.nothing_left(), key="datasets")
        order = epoch([row[0] for row in writer.rows], weights, settings.seed)
        summary = _summary(tally, writer, views, len(order), tokenizer)
        return writer.finish(fingerprint, order, summary)


class Keep(Protocol):
    """Takes a row that is kept: its number, ids and mask of each of its sides, and its label if it has one."""

    def __call__(self, row: int, sides: "Sequence[tuple[Array, Array]]", label: bool | None) -> None: ...


class Reading:
    """Rows of one source on their way to the trainer, counted.

    Args:
        keep: gets each row that is kept; None where counting is all.
    """

    def __init__(
        self, view: "View", renderer: Renderer, settings: PrepareSettings, tally: Tally, keep: Keep | None = None
    ) -> None:
        self.view = view
        self.renderer = renderer
        self.settings = settings
        self.tally = tally
        self._keep_row = keep

    def read(self, rows: "Iterable[Row]", total: int, task: Task) -> None:
        """Count rows, of which there are `total`.

        Raises:
            InputFault: there is no chat template, and rows are conversations.
            Cancelled: the task was cancelled.
        """
        batch: list[tuple[Example, int | None]] = []
        for done, row in enumerate(rows):
            if done % _BATCH == 0:
                self._encode(batch)
                batch = []
                task.step("preparing", done, total, "rows")
            self.tally.rows += 1
            if row.fault is not None:
                self._drop("unusable", row.id, row.line, row.fault.message)
                continue
            try:
                batch.append((self.view.example(row), row.line))
            except TuiwbError as error:
                left_out = isinstance(error, BadRow) and error.code == "left_out"
                self._drop("left_out" if left_out else "unusable", row.id, row.line, error.message)
        self._encode(batch)

    def _encode(self, batch: Sequence[tuple[Example, int | None]]) -> None:
        layouts: list[Layout] = []
        laid: list[tuple[Example, int | None, int, bool | None]] = []
        for example, line in batch:
            if example.kind == "tokenized" and self.settings.shape == "text":
                laid.append((example, line, 0, None))
                continue
            try:
                made = self._layouts(example)
            except InputFault as error:
                reason = "kind" if error.key == "datasets" else "refused"
                if error.key == "chat_template":
                    raise
                self._drop(reason, example.id, line, error.message)
                continue
            for sides, label in made:
                layouts += sides
                laid.append((example, line, len(sides), label))
        encoded = iter(self.renderer.encode(layouts))
        written = iter(layouts)
        for example, line, count, label in laid:
            if not count:
                self._keep(example, line, [self.renderer.from_tokens(example)], [])
                continue
            both = [next(encoded) for _ in range(count)]
            self._keep(example, line, both, [next(written) for _ in range(count)], label)

    def _layouts(self, example: Example) -> list[tuple[list[Layout], bool | None]]:
        """The sides of each prepared row that an example makes, with its label."""
        shape, answer = self.settings.shape, self.renderer.answer
        if shape == "text":
            return [([self.renderer.layout(example)], None)]
        if shape == "prompt":
            return [([self.renderer.prompt(example)], None)]
        prompt = example.prompt or ""
        if shape == "judged" and example.completion is not None and example.label is not None:
            return [([answer(prompt, example.completion, example.tools)], example.label)]
        if example.chosen is None or example.rejected is None:
            lack = "labels" if shape == "judged" else "pair to compare"
            raise InputFault(f"rows of the kind {example.kind} hold no {lack}", key="datasets")
        chosen, rejected = (answer(prompt, side, example.tools) for side in (example.chosen, example.rejected))
        return [([chosen], True), ([rejected], False)] if shape == "judged" else [([chosen, rejected], None)]

    def _keep(
        self,
        example: Example,
        line: int | None,
        sides: Sequence[Encoded],
        layouts: Sequence[Layout],
        label: bool | None = None,
    ) -> None:
        trained = self.settings.shape != "prompt"
        if self.settings.whole and any(side.truncated for side in sides):
            self._drop("cut", example.id, line, sides=sides)
        elif trained and not all(side.mask.any() for side in sides):
            lost = any(side.truncated_trained for side in sides if not side.mask.any())
            self._drop("too_long" if lost else "untrained", example.id, line, sides=sides)
        elif len(sides) == 2 and sides[0].ids.tolist() == sides[1].ids.tolist():
            self._drop("same", example.id, line)
        else:
            self.tally.keep(sides, layouts, self.renderer.tokenizer, trained=trained, label=label)
            if self._keep_row is not None:
                self._keep_row(example.id, [(side.ids, side.mask) for side in sides], label)

    def _drop(self, reason: str, row: int, line: int | None, why: str = "", sides: Sequence[Encoded] = ()) -> None:
        self.tally.drop(reason, str(self.view.path), row, line, why, sides)


def _fingerprint(
    views: "Sequence[View]",
    weights: Sequence[float | None],
    tokenizer: "Tokenizer",
    template: "ChatTemplate | None",
    settings: PrepareSettings,
) -> str:
    parts = {
        "version": VERSION,
        "sources": [view.fingerprint for view in views],
        "weights": weights,
        "tokenizer": tokenizer.fingerprint,
        "template": None if template is None else template.fingerprint,
        "settings": asdict(settings),
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _summary(
    tally: Tally, writer: Writer, views: "Sequence[View]", examples: int, tokenizer: "Tokenizer"
) -> dict[str, Any]:
    import numpy as np

    lengths = np.asarray(writer.lengths)
    marks = (0, 5, 25, 50, 75, 95, 99, 100)
    return {
        "rows": tally.rows,
        "kept": tally.kept,
        "examples": examples,
        "tokens": int(lengths.sum()),
        "trained_tokens": tally.trained_tokens,
        "lengths": {f"p{mark}": int(value) for mark, value in zip(marks, np.percentile(lengths, marks), strict=True)},
        "truncated": {
            "rows": tally.truncated_rows,
            "tokens": tally.truncated_tokens,
            "trained_tokens": tally.truncated_trained_tokens,
        },
        "dropped": {reason: asdict(found) for reason, found in tally.dropped.items()},
        "problems": [finding.message for finding in tally.findings(tokenizer)],
        "sources": [str(view.path) for view in views],
        "fingerprints": [view.fingerprint for view in views],
    }


__all__ = ["PrepareSettings", "Prepared", "prepare"]
