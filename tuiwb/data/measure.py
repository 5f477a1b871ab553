"""How long the examples are, how much of them is trained, what the cut at `max_length` loses: a few rows first, then
all of them, as numbers that a chart and its drill-down are made of."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data.example import Example
from tuiwb.data.language import language_of
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
    from tuiwb.data.layout import Layout
    from tuiwb.data.render import Renderer
    from tuiwb.data.view import View

Numbers = npt.NDArray[np.int64]

SAMPLE = 1000
_BATCH = 64
SOURCE_COLUMNS = ("source", "dataset", "origin", "category", "subset", "domain", "task")


@dataclass(frozen=True, slots=True)
class Measures:
    """Numbers of rows, each array `(n,)`.

    Attributes:
        unit: of `length`: `tokens` with a tokenizer, `characters` without.
        rows: which rows they are; `total` is how many the source has.
        length: of the whole example before it is cut (of both answers together, for pairs).
        trained: tokens that carry loss after the cut; zeros without a tokenizer.
        cut, cut_trained: tokens that `max_length` cuts off, and how many of those would have been trained.
        turns: of the conversation.
        groups: by name (`language`, `source`): the names that occur, and for each row which.
    """

    unit: str
    total: int
    max_length: int | None
    rows: Numbers
    length: Numbers
    trained: Numbers
    cut: Numbers
    cut_trained: Numbers
    turns: Numbers
    groups: dict[str, tuple[tuple[str, ...], Numbers]]

    @property
    def whole(self) -> bool:
        """Whether these are all rows that could be measured, not a sample."""
        return self.total < 0 or len(self.rows) >= self.total

    @property
    def share(self) -> Numbers:
        """Trained tokens of each row, in percent of what is left after the cut."""
        kept = np.maximum(self.length - self.cut, 1)
        found: Numbers = 100 * self.trained // kept
        return found


@dataclass(frozen=True, slots=True)
class Bar:
    """Some rows of a chart: what they have in common, and which they are."""

    label: str
    rows: Numbers
    low: int = 0
    high: int = 0
    """For a range, `[low, high)`."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the smallest value or the most frequent name down; `note` says what all of it comes to."""

    title: str
    bars: tuple[Bar, ...]
    note: str = ""


CHARTS = ("length", "turns", "trained", "cut", "language", "source")


def measure(
    view: "View", renderer: "Renderer | None", rows: Sequence[int] | Numbers | None = None, task: Task | None = None
) -> Measures:
    """Measure rows that can be trained on; others are passed over.

    Args:
        renderer: counts tokens; without one characters are counted.
        rows: which; all of them if left out.

    Raises:
        InputFault: the format is not clear, or the template is none.
        Cancelled: the task was cancelled.
    """
    view.require_format()
    wanted = range(len(view)) if rows is None else rows
    column = next((name for name in view.columns if name.lower() in SOURCE_COLUMNS), None)
    numbers: list[tuple[int, ...]] = []
    names: dict[str, tuple[dict[str, int], list[int]]] = {"language": ({}, []), "source": ({}, [])}
    many = len(view.store.files()) > 1
    batch: list[tuple[int, Example]] = []

    def flush() -> None:
        for (number, example), sizes in zip(batch, _sizes([each for _, each in batch], renderer), strict=True):
            if sizes is None:
                continue
            numbers.append((number, *sizes, _turns(example)))
            _count(names["language"], language_of(_words(example)))
            if column is not None:
                said = example.extra.get(column)
                _count(names["source"], said if isinstance(said, str) else "—" if said is None else str(said))
            elif many:
                _count(names["source"], view.store.file_of(number).name)
        batch.clear()

    for done, at in enumerate(wanted):
        if done % _BATCH == 0:
            flush()
            if task:
                task.step("measuring", done, len(wanted), "rows")
        row = view.row(int(at))
        try:
            if row.fault is None:
                batch.append((row.id, view.example(row)))
        except BadRow:
            continue
    flush()
    table = np.asarray(numbers, np.int64).reshape(-1, 6)
    return Measures(
        "tokens" if renderer else "characters",
        -1 if rows is None else len(view),
        renderer.max_length if renderer else None,
        table[:, 0],
        table[:, 1],
        table[:, 2],
        table[:, 3],
        table[:, 4],
        table[:, 5],
        {name: (tuple(seen), np.asarray(codes, np.int64)) for name, (seen, codes) in names.items() if codes},
    )


def sample_rows(view: "View", count: int = SAMPLE) -> Numbers:
    """Rows from everywhere that is known now, the same ones each time."""
    known = view.known
    if known <= count:
        return np.arange(known, dtype=np.int64)
    return np.sort(np.random.default_rng(0).choice(known, count, replace=False)).astype(np.int64)


def chart(measures: Measures, which: str, bars: int = 14) -> Chart:
    """One of `CHARTS`.

    Args:
        bars: at most so many; of names, the rest is one bar.
    """
    note = _scope(measures)
    if which == "length":
        found = tuple(_ranges(measures.rows, measures.length, bars, measures.max_length))
        return Chart(f"length in {measures.unit}", found, f"{_spread(measures.length)} · {note}")
    if which == "turns":
        return Chart("turns", tuple(_ranges(measures.rows, measures.turns, bars)), note)
    if which == "trained":
        if measures.unit != "tokens":
            return Chart("trained share", (), "no model is open, so no token is trained or masked")
        tokens = int((measures.length - measures.cut).sum())
        trained = int(measures.trained.sum())
        share = f"{trained:,} of {tokens:,} tokens are trained ({100 * trained / max(tokens, 1):.0f} %)"
        return Chart("trained share in percent", tuple(_tenths(measures)), f"{share} · {note}")
    if which == "cut":
        return _cut(measures, bars, note)
    names, codes = measures.groups.get(which, ((), np.zeros(0, np.int64)))
    if not len(codes):
        missing = "no column such as source says where rows come from" if which == "source" else "nothing measured"
        return Chart(which, (), missing)
    return Chart(which, tuple(_named(measures.rows, names, codes, bars)), note)


def _cut(measures: Measures, bars: int, note: str) -> Chart:
    if measures.max_length is None:
        return Chart("the cut", (), "no max_length: nothing is cut off (open a recipe with one)")
    over = measures.cut > 0
    lost, trained = int(measures.cut.sum()), int(measures.cut_trained.sum())
    rows = f"{int(over.sum()):,} of {len(over):,} rows are cut ({100 * over.mean() if len(over) else 0:.1f} %)"
    said = f"{rows}: {lost:,} tokens lost, {trained:,} of them trained · {note}"
    found = (
        Bar("nothing", measures.rows[~over]),
        *_ranges(measures.rows[over], measures.cut[over], bars - 1),
    )
    return Chart(f"tokens cut off at max_length {measures.max_length:,}", found, said)


def _ranges(rows: Numbers, values: Numbers, bars: int, edge: int | None = None) -> Iterator[Bar]:
    """Bars of round widths; where `edge` is within, one bar ends there."""
    if not len(values):
        return
    top = int(values.max())
    edges = _edges(int(values.min()), top, bars)
    if edge is not None and edges[0] < edge <= top:
        edges = sorted({*edges, edge + 1})
    for low, high in itertools.pairwise(edges):
        here = rows[(values >= low) & (values < high)]
        yield Bar(f"{low:,}" if high - low == 1 else f"{low:,}–{high - 1:,}", here, low, high)


def _edges(low: int, high: int, bars: int) -> list[int]:
    """From below `low` to above `high` in steps of 1, 2 or 5 times a power of ten; doubling where the range is wide."""
    if high >= 40 * max(low, 8):
        edges = [0, 8]
        while edges[-1] <= high:
            edges.append(edges[-1] * 2)
        while len(edges) > 2 and edges[1] <= low:
            edges.pop(0)
        return edges
    step = 1
    while (high - low) // step >= bars:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    first = low // step * step
    return list(range(first, high + step + 1, step))


def _tenths(measures: Measures) -> Iterator[Bar]:
    share = measures.share
    for low in range(0, 100, 10):
        high = 101 if low == 90 else low + 10
        yield Bar(f"{low}–{min(high, 101) - 1} %", measures.rows[(share >= low) & (share < high)], low, high)


def _named(rows: Numbers, names: Sequence[str], codes: Numbers, bars: int) -> Iterator[Bar]:
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    for number in order[:bars]:
        yield Bar(names[number], rows[codes == number])
    if len(order) > bars:
        yield Bar(f"{len(order) - bars:,} others", rows[np.isin(codes, order[bars:])])


def _scope(measures: Measures) -> str:
    count = f"{len(measures.rows):,} rows"
    return count if measures.whole else f"a sample of {count}"


def _spread(values: Numbers) -> str:
    if not len(values):
        return "no rows"
    low, middle, high = (int(value) for value in np.percentile(values, (5, 50, 95)))
    return f"{middle:,} in the middle, {low:,} to {high:,} for 90 %, {int(values.max()):,} at most"


def _sizes(examples: Sequence[Example], renderer: "Renderer | None") -> list[tuple[int, int, int, int] | None]:
    """Length, trained, cut and cut trained of each; None where the template refuses it."""
    if renderer is None:
        return [(len(_words(example)), 0, 0, 0) for example in examples]
    layouts: list[Layout] = []
    counts: list[int] = []
    for example in examples:
        sides = _layouts(example, renderer)
        counts.append(-1 if sides is None else len(sides))
        layouts += sides or ()
    encoded = iter(renderer.encode(layouts))
    found: list[tuple[int, int, int, int] | None] = []
    for example, count in zip(examples, counts, strict=True):
        if count < 0:
            found.append(None)
            continue
        tokens = [renderer.from_tokens(example)] if not count else [next(encoded) for _ in range(count)]
        found.append(
            (
                sum(len(one.ids) + one.truncated for one in tokens),
                sum(int(one.mask.sum()) for one in tokens),
                sum(one.truncated for one in tokens),
                sum(one.truncated_trained for one in tokens),
            )
        )
    return found


def _layouts(example: Example, renderer: "Renderer") -> "list[Layout] | None":
    from tuiwb.data.sides import layouts

    if example.kind == "tokenized":
        return []
    try:
        return list(layouts(example, renderer).values())
    except InputFault as fault:
        if fault.key == "chat_template":
            raise
        return None


def _turns(example: Example) -> int:
    lists = (example.messages, example.prompt, example.chosen, example.completion)
    found = sum(len(turns) for turns in lists if isinstance(turns, list))
    return found or (2 if example.completion is not None or example.chosen is not None else 1)


def _words(example: Example) -> str:
    """All that is said in an example."""
    parts: list[Any] = [example.text, example.prompt, example.completion, example.chosen, example.messages]
    said: list[str] = [text for text, _ in example.steps or ()]
    for part in parts:
        if isinstance(part, str):
            said.append(part)
        elif part is not None:
            said += [turn["content"] for turn in part]
    return "\n".join(said)


def _count(names: tuple[dict[str, int], list[int]], name: str) -> None:
    seen, codes = names
    codes.append(seen.setdefault(name, len(seen)))
