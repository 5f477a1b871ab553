"""The whole file, row by row: everything that is wrong, what the columns hold, how long the examples are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuiwb.base.tasks import Task
from tuiwb.base.units import count
from tuiwb.data.checks import findings
from tuiwb.data.detection import Detection
from tuiwb.data.example import Example, Turns
from tuiwb.data.problems import Problem, Tally
from tuiwb.data.rows import Row, RowStore
from tuiwb.data.translate import to_example
from tuiwb.data.turns import BadRow, type_name

_STEP = 1000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Sizes of examples in characters: mean, percentiles, extremes."""

    mean: float
    min: int
    p50: int
    p90: int
    p99: int
    max: int

    def to_json(self) -> dict[str, Any]:
        names = ("mean", "min", "p50", "p90", "p99", "max")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reading the whole source found."""

    rows: int
    """Rows that can be read."""
    usable: int
    """Rows without an error."""
    columns: tuple[str, ...]
    types: dict[str, dict[str, int]]
    """Column to type to rows that have it."""
    problems: tuple[Problem, ...]
    lengths: dict[str, Lengths]
    """`example` and `answer`, in characters; empty where no row is an example."""


def verify(store: RowStore, detection: Detection, *, limit: int | None = None, task: Task | None = None) -> Verdict:
    """Read every row.

    Args:
        limit: rows to read at most.

    Raises:
        Cancelled: the task was cancelled.
        EnvironmentFault: the file cannot be read any more.
    """
    store.index(task)
    total = store.known if limit is None else min(limit, store.known)
    tally, columns = Tally(), _Columns(store.columns())
    for code, detail, line in store.faults():
        tally.add(code, detail, line=line)
    read = usable = 0
    sizes: list[tuple[int, int]] = []
    for row in _first(store.scan(), total):
        if row.id % _STEP == 0 and task:
            task.step("checking", row.id, total, "rows")
        if row.fault:
            tally.add(row.fault.code, row.fault.message, row.id, row.line)
            continue
        read += 1
        columns.add(row)
        if detection.name is None:
            continue
        try:
            example = to_example(row, detection.name, detection.columns)
        except BadRow as fault:
            tally.add(fault.code, fault.detail, row.id, row.line)
            continue
        found = dict(findings(example))
        for code, detail in found.items():
            tally.add(code, detail, row.id, row.line)
        usable += not any(tally.is_error(code) for code in found)
        sizes.append(_size(example))
    if not read and not total:
        tally.add("no_rows")
    elif detection.name is None and read:
        tally.add("unknown_format", detection.reason)
    columns.report(tally)
    return Verdict(
        read, usable, tuple(columns.names), columns.counts(), tally.problems(), _lengths(sizes) if sizes else {}
    )


class _Columns:
    """Which types each column holds, and where each was met first."""

    def __init__(self, declared: list[str]) -> None:
        self._types: dict[str, dict[type, tuple[int, int, int | None]]] = {name: {} for name in declared}

    @property
    def names(self) -> list[str]:
        return list(self._types)

    def add(self, row: Row) -> None:
        for name, value in row.value.items():
            types = self._types.get(name)
            if types is None:
                types = self._types[name] = {}
            number, first, line = types.get(type(value), (0, row.id, row.line))
            types[type(value)] = (number + 1, first, line)

    def counts(self) -> dict[str, dict[str, int]]:
        result: dict[str, dict[str, int]] = {}
        for name, types in self._types.items():
            counts = result[name] = {}
            for kind, seen in types.items():
                counts[_type(kind)] = counts.get(_type(kind), 0) + seen[0]
        return result

    def report(self, tally: Tally) -> None:
        """Columns that hold more than one type, missing values apart; the fewer are the fault."""
        for name, types in self._types.items():
            kinds: dict[str, tuple[int, int, int | None]] = {}
            for kind, (number, row, line) in types.items():
                if kind is not type(None):
                    known = kinds.get(_type(kind), (0, row, line))
                    kinds[_type(kind)] = (known[0] + number, *min(known[1:], (row, line), key=lambda place: place[0]))
            usual = max(kinds, key=lambda what: kinds[what][0], default="")
            for what, (number, row, line) in kinds.items():
                if what != usual:
                    detail = f"{name} is {usual} in {count(kinds[usual][0])} rows and {what} in {count(number)}"
                    tally.add("mixed_types", detail, row, line, count=number)


def _type(kind: type) -> str:
    return "nothing" if kind is type(None) else type_name(kind())


def _first(rows: Iterator[Row], total: int) -> Iterator[Row]:
    for row in rows:
        if row.id >= total:
            return
        yield row


def _size(example: Example) -> tuple[int, int]:
    """Characters of the example and of its answer."""
    if example.messages is not None:
        answer = sum(len(turn["content"]) for turn in example.messages if turn["role"] == "assistant")
        return _characters(example.messages), answer
    if example.steps is not None:
        answer = sum(len(text) for text, _ in example.steps)
    elif example.text is not None:
        return len(example.text), len(example.text)
    else:
        answer = max(_characters(example.completion), _characters(example.chosen), _characters(example.rejected))
    return _characters(example.prompt) + answer, answer


def _characters(turns: Turns | None) -> int:
    if turns is None:
        return 0
    return len(turns) if isinstance(turns, str) else sum(len(turn["content"]) for turn in turns)


def _lengths(sizes: list[tuple[int, int]]) -> dict[str, Lengths]:
    table = np.array(sizes, np.int64)
    result = {}
    for number, what in enumerate(("example", "answer")):
        low, half, most, nearly, high = np.percentile(table[:, number], [0, 50, 90, 99, 100], method="lower").tolist()
        result[what] = Lengths(round(float(table[:, number].mean()), 1), low, half, most, nearly, high)
    return result
