"""Several sources in one epoch, each in its share: a small one is repeated, a large one sampled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
    from tuiwb.data.render import Renderer
    from tuiwb.data.view import View

Rows = npt.NDArray[np.int64]
_SAMPLE = 1000
_STEP = 1000


def epoch(sources: Sequence[int], weights: Sequence[float | None], seed: int) -> Rows:
    """Which row each example of an epoch is.

    Args:
        sources: for each row, the number of its source.
        weights: of each source; where one has a weight, an epoch has as many examples as there are rows, each source
            in its share.
    """
    of = np.asarray(sources, dtype=np.int64)
    if not any(weight is not None for weight in weights):
        return np.arange(len(of))
    sizes = np.bincount(of, minlength=len(weights))
    given = [weight for weight in weights if weight is not None]
    # A source without a weight among weighted ones counts as much as their mean.
    shares = np.asarray([sum(given) / len(given) if weight is None else weight for weight in weights])
    shares = np.where(sizes > 0, shares, 0)
    random = np.random.default_rng(seed)
    chosen = []
    for number, wanted in enumerate(np.round(len(of) * shares / shares.sum()).astype(int)):
        rows = np.flatnonzero(of == number)
        if len(rows):
            whole, rest = divmod(max(int(wanted), 1), len(rows))
            chosen.append(np.concatenate([np.tile(rows, whole), np.sort(random.permutation(rows)[:rest])]))
    return np.concatenate(chosen)


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a mixture: its usable rows, its share of an epoch and what that comes to.

    Attributes:
        fixed: the share that was asked for; None where it follows from the rows.
        tokens, trained: of its examples in an epoch, estimated from a sample; None without a tokenizer.
    """

    path: str
    usable: int
    fixed: float | None
    share: float
    examples: int
    tokens: int | None = None
    trained: int | None = None

    @property
    def repeats(self) -> float:
        """How often each row is seen in an epoch."""
        return self.examples / self.usable if self.usable else 0.0

    def to_json(self) -> dict[str, Any]:
        names = ("path", "usable", "share", "examples", "tokens", "trained")
        return {**{name: getattr(self, name) for name in names}, "repeats": round(self.repeats, 4)}


@dataclass(frozen=True, slots=True)
class Mixture:
    """Sources, and an epoch of them as (number of the source, number of the row), int64 `(examples, 2)`."""

    sources: tuple[Source, ...]
    rows: Rows

    @property
    def weights(self) -> list[float]:
        """What the recipe's entries say to get this mixture."""
        return [round(source.share, 6) for source in self.sources]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of sources already, for as long as they stay as they are: rows that can be trained on, and mean
    tokens and trained tokens of an example."""

    usable: "dict[View, Rows]" = field(default_factory=dict)
    tokens: "dict[tuple[View, Renderer], tuple[float, float]]" = field(default_factory=dict)


def mix(
    views: "Sequence[View]",
    fixed: Sequence[float | None],
    *,
    seed: int = 42,
    max_repeats: float | None = None,
    renderer: "Renderer | None" = None,
    counted: Counted | None = None,
    task: Task | None = None,
) -> Mixture:
    """An epoch of several sources.

    Args:
        fixed: the share of each source, from 0 to 1; the sources without one divide what is left by their rows.
        max_repeats: no row is seen more often than this; a share that would need it becomes smaller.
        renderer: counts tokens.
        counted: is read, and filled, so that other shares of the same sources are there at once.

    Raises:
        UsageFault: the shares come to more than 1, or to less with no source to take the rest.
        InputFault: the format of a source is not clear.
        Cancelled: the task was cancelled.
    """
    counted = counted or Counted()
    for view in views:
        if view not in counted.usable:
            counted.usable[view] = _usable(view, task)
        if renderer is not None and (view, renderer) not in counted.tokens:
            counted.tokens[view, renderer] = _tokens(view, counted.usable[view], renderer, task)
    usable = [counted.usable[view] for view in views]
    sizes = [len(rows) for rows in usable]
    given = sum(share for share in fixed if share is not None)
    free = sum(size for size, share in zip(sizes, fixed, strict=True) if share is None)
    if given > 1 + 1e-9 or (not free and abs(given - 1) > 1e-9):
        raise UsageFault(f"the shares add up to {given:g} and not to 1; a source without one takes the rest")
    shares = [(1 - given) * size / free if share is None else share for size, share in zip(sizes, fixed, strict=True)]
    if max_repeats is not None:
        shares = _capped(shares, sizes, max_repeats)
    of = np.repeat(np.arange(len(views)), sizes)
    plain = all(share is None for share in fixed)
    order = epoch(of.tolist(), [None if plain else share or 1e-12 for share in shares], seed)
    examples = np.bincount(of[order], minlength=len(views))
    numbers = np.concatenate(usable) if len(of) else np.zeros(0, np.int64)
    rows = np.stack([of[order], numbers[order]], axis=1) if len(of) else np.zeros((0, 2), np.int64)
    found = []
    for number, view in enumerate(views):
        tokens, trained = counted.tokens[view, renderer] if renderer else (None, None)
        seen = int(examples[number])
        found.append(
            Source(
                str(view.path),
                sizes[number],
                fixed[number],
                seen / len(order) if len(order) else 0.0,
                seen,
                None if tokens is None else round(tokens * seen),
                None if trained is None else round(trained * seen),
            )
        )
    return Mixture(tuple(found), rows)


def epoch_lines(
    views: "Sequence[View]", mixture: Mixture, to: str | None = None, *, seed: int = 42, task: Task | None = None
) -> Iterator[bytes]:
    """The rows of an epoch in a seeded order, as lines of JSON.

    Args:
        to: the format of all rows; without it each stands as in its source, and all must have the same.

    Raises:
        UsageFault: the formats differ and `to` is missing, or rows cannot be written so.
        BadRow: a row cannot be written so.
        Cancelled: the task was cancelled.
    """
    import orjson

    from tuiwb.data.convert import TARGETS, from_example
    from tuiwb.data.subset import line_of

    formats = {view.format.name for view in views}
    if len(formats) > 1 and to is None:
        names = ", ".join(sorted(str(name) for name in formats))
        raise UsageFault(f"the sources have different formats ({names}): name one to write", key="--to")
    if to is not None and to not in TARGETS:
        raise UsageFault(f"rows cannot be written as {to}; choose one of {', '.join(TARGETS)}", key="--to")
    order = np.random.default_rng(seed).permutation(len(mixture.rows))
    for done, at in enumerate(order):
        if task and done % _STEP == 0:
            task.step("writing", done, len(order), "rows")
        view, number = views[int(mixture.rows[at][0])], int(mixture.rows[at][1])
        if to is None or view.format.name == to:
            yield line_of(view, number)
        else:
            for row in from_example(view.example(view.row(number)), to):
                yield orjson.dumps(row)


def _usable(view: "View", task: Task | None) -> Rows:
    """The rows that can be trained on."""
    view.index(task)
    view.require_format()
    total = len(view)
    rows = []
    for row in view.scan():
        if task and row.id % _STEP == 0:
            task.step(f"reading {view.path.name}", row.id, total, "rows")
        if row.fault is None:
            try:
                view.example(row)
            except BadRow:
                continue
            rows.append(row.id)
    return np.asarray(rows, np.int64)


def _capped(shares: list[float], sizes: list[int], most: float) -> list[float]:
    """Shares at which no source is repeated more often, what they lose divided among the others."""
    total = sum(sizes)
    capped: set[int] = set()
    while True:
        limits = [most * size / total for size in sizes]
        over = {number for number, share in enumerate(shares) if share > limits[number] + 1e-12} - capped
        if not over:
            return shares
        capped |= over
        left = 1 - sum(limits[number] for number in capped)
        rest = sum(share for number, share in enumerate(shares) if number not in capped)
        if rest <= 0:
            return [size / total for size in sizes]
        shares = [limits[number] if number in capped else share * left / rest for number, share in enumerate(shares)]


def _tokens(view: "View", rows: Rows, renderer: "Renderer", task: Task | None) -> tuple[float, float]:
    """Mean tokens and trained tokens of an example, from a sample."""
    from tuiwb.data.sides import render_sides

    if not len(rows):
        return 0.0, 0.0
    few = rows if len(rows) <= _SAMPLE else np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
    total = trained = 0
    for at, number in enumerate(few):
        if task and at % 50 == 0:
            task.step(f"counting tokens of {view.path.name}", at, len(few), "rows")
        for side in render_sides(view.example(view.row(int(number))), renderer).values():
            total += len(side.ids)
            trained += side.trained
    return total / len(few), trained / len(few)
