"""From datasets to prepared examples: every row translated, rendered and encoded once, whoever trains how often.

The result is a folder named after a fingerprint of all that it depends on, so the same data, tokenizer, template and
settings are never encoded twice.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuiwb.base.errors import InputFault, TuiwbError
from tuiwb.base.settings import cache_root
from tuiwb.base.tasks import Task
from tuiwb.data.example import Example
from tuiwb.data.layout import Encoded, Layout, Truncation
from tuiwb.data.mixture import epoch
from tuiwb.data.prepared import VERSION, Prepared, Writer
from tuiwb.data.render import Renderer, TrainOnEos
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
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
# Why a row is left out, in words; `{why}` is what was said about the first one.
_REASONS = {
    "unusable": "cannot be used: {why}",
    "left_out": "is {why}",
    "kind": "is of another kind: {why}",
    "refused": "is refused by the chat template: {why}",
    "untrained": "has no turn that is trained",
    "too_long": "has no trained token within max_length",
    "cut": "is longer than max_length, and its end is what matters",
    "same": "has the same chosen and rejected answer",
}


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


@dataclass(slots=True)
class _Dropped:
    """Rows left out for one reason; the first of them is named."""

    count: int = 0
    source: str = ""
    row: int = 0
    line: int | None = None
    why: str = ""


@dataclass(slots=True)
class _Tally:
    """What happened to the rows."""

    rows: int = 0
    kept: int = 0
    trained_tokens: int = 0
    truncated_rows: int = 0
    truncated_tokens: int = 0
    truncated_trained_tokens: int = 0
    unstopped: int = 0
    double_bos: int = 0
    learned: set[int] = field(default_factory=set)  # ids of trained tokens, until there are two
    unseen: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, _Dropped] = field(default_factory=dict)

    def drop(self, reason: str, source: str, row: int, line: int | None, why: str = "") -> None:
        found = self.dropped.setdefault(reason, _Dropped(0, source, row, line, why))
        found.count += 1


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
        (`{reason: {count, source, row, line, why}}`), `problems` (sentences) and `sources`.

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
    renderer = Renderer(
        tokenizer,
        template,
        train_roles=settings.train_roles,
        train_on_eos=settings.train_on_eos,
        max_length=settings.max_length,
        truncation=settings.truncation,
        response_marker=settings.response_marker,
    )
    tally = _Tally()
    with Writer(path, _SIDES[settings.shape]) as writer:
        for number, view in enumerate(views):
            _Source(number, view, renderer, settings, writer, tally).read(task)
        if not tally.kept:
            raise InputFault(_nothing_left(tally), key="datasets")
        order = epoch([row[0] for row in writer.rows], weights, settings.seed)
        summary = _summary(tally, writer, views, len(order), tokenizer)
        return writer.finish(fingerprint, order, summary)


class _Source:
    """Reads one source into the writer."""

    def __init__(
        self,
        number: int,
        view: "View",
        renderer: Renderer,
        settings: PrepareSettings,
        writer: Writer,
        tally: _Tally,
    ) -> None:
        self.number = number
        self.view = view
        self.renderer = renderer
        self.settings = settings
        self.writer = writer
        self.tally = tally
        self._special = renderer.tokenizer.special_ids

    def read(self, task: Task) -> None:
        total = len(self.view)
        batch: list[tuple[Example, int | None]] = []
        for done, row in enumerate(self.view.scan()):
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
        tally = self.tally
        if self.settings.whole and any(side.truncated for side in sides):
            self._drop("cut", example.id, line)
            return
        if self.settings.shape != "prompt" and not all(side.mask.any() for side in sides):
            lost = any(side.truncated_trained for side in sides if not side.mask.any())
            self._drop("too_long" if lost else "untrained", example.id, line)
            return
        if len(sides) == 2 and sides[0].ids.tolist() == sides[1].ids.tolist():
            self._drop("same", example.id, line)
            return
        tally.kept += 1
        tally.truncated_rows += any(side.truncated for side in sides)
        for side in sides:
            tally.trained_tokens += int(side.mask.sum())
            if len(tally.learned) < 2:
                tally.learned.update(side.ids[side.mask].tolist())
            if side.truncated:
                tally.truncated_tokens += side.truncated
                tally.truncated_trained_tokens += side.truncated_trained
            elif self.settings.shape != "prompt" and not self._special.intersection(side.ids[side.mask].tolist()):
                tally.unstopped += 1
            bos = self.renderer.tokenizer.bos_token_id
            if bos is not None and len(side.ids) > 1 and side.ids[0] == side.ids[1] == bos:
                tally.double_bos += 1
        for role in {role for layout in layouts for role in layout.unseen}:
            tally.unseen[role] = tally.unseen.get(role, 0) + 1
        self.writer.add(self.number, example.id, [(side.ids, side.mask) for side in sides], label)

    def _drop(self, reason: str, row: int, line: int | None, why: str = "") -> None:
        self.tally.drop(reason, str(self.view.path), row, line, why)


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


def _nothing_left(tally: _Tally) -> str:
    if not tally.rows:
        return "the datasets have no rows"
    reason, first = max(tally.dropped.items(), key=lambda item: item[1].count)
    words = _REASONS[reason].format(why=first.why)
    place = f"{first.source}, row {first.row}" + (f" (line {first.line})" if first.line is not None else "")
    return f"none of the {tally.rows:,} rows can be trained on; the first, in {place}, {words}"


def _summary(
    tally: _Tally, writer: Writer, views: "Sequence[View]", examples: int, tokenizer: "Tokenizer"
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
        "problems": list(_problems(tally, tokenizer)),
        "sources": [str(view.path) for view in views],
        "fingerprints": [view.fingerprint for view in views],
    }


def _problems(tally: _Tally, tokenizer: "Tokenizer") -> Iterable[str]:
    for reason, first in tally.dropped.items():
        words = _REASONS[reason].format(why=first.why)
        place = f"row {first.row} of {first.source}"
        yield f"{first.count:,} of {tally.rows:,} rows are left out; the first, {place}, {words}"
    if tally.truncated_rows:
        yield (
            f"{tally.truncated_rows:,} rows are longer than max_length and were cut, which lost "
            f"{tally.truncated_trained_tokens:,} trained tokens"
        )
    if tally.unstopped:
        end = f" such as {tokenizer.eos_token}" if tokenizer.eos_token else ""
        yield f"{tally.unstopped:,} rows end without a trained stop token{end}: the model may not learn to stop"
    if len(tally.learned) == 1 and tally.trained_tokens > 1:
        (only,) = tally.learned
        yield f"every trained token is {tokenizer.token(only)}: the model would learn to write nothing else"
    if tally.double_bos:
        yield f"{tally.double_bos:,} rows begin with two {tokenizer.bos_token}: the text holds one already"
    for role, count in tally.unseen.items():
        yield f"{count:,} rows have a message of the role {role} that the chat template leaves out"


__all__ = ["PrepareSettings", "Prepared", "prepare"]
