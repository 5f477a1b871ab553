"""What reading rows finds, counted so that the counts of two parts of a file can be added."""

import base64
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tuiwb.base.tasks import Task
from tuiwb.base.units import count
from tuiwb.data.checks import findings
from tuiwb.data.clean.texts import texts
from tuiwb.data.detection import Detection
from tuiwb.data.example import Example, Turns
from tuiwb.data.lint import digest, lint
from tuiwb.data.problems import Problem, Tally
from tuiwb.data.rows import Row, RowStore
from tuiwb.data.translate import to_example
from tuiwb.data.turns import BadRow, type_name

_STEP = 500
_LOOK = 100_000

Place = tuple[int, int, int | None]
"""Rows that have it, and row and line of the first."""


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
        return {name: getattr(self, name) for name in ("mean", "min", "p50", "p90", "p99", "max")}


class Survey:
    """Counts of rows, problems, types and lengths."""

    def __init__(self, declared: list[str]) -> None:
        """
        Args:
            declared: columns that the file itself names.
        """
        self.read = 0
        self.usable = 0
        self.tally = Tally()
        self._types: dict[str, dict[str, Place]] = {name: {} for name in declared}
        self._sizes: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self.digests = array("Q")
        """One a row, in order: equal where examples say the same; 0 where there is none."""

    def add(self, row: Row, detection: Detection) -> None:
        """Count a row; they come in order, none left out."""
        self.digests.append(0)
        if row.fault:
            self.tally.add(row.fault.code, row.fault.message, row.id, row.line)
            return
        self.read += 1
        for name, value in row.value.items():
            types = self._types.get(name)
            if types is None:
                types = self._types[name] = {}
            kind = _TYPES.get(type(value)) or type_name(value)
            known = types.get(kind)
            types[kind] = (1, row.id, row.line) if known is None else (known[0] + 1, *known[1:])
        if detection.name is not None:
            self._add_example(row, detection)

    def _add_example(self, row: Row, detection: Detection) -> None:
        assert detection.name is not None
        try:
            example = to_example(row, detection.name, detection.columns)
        except BadRow as fault:
            self.tally.add(fault.code, fault.detail, row.id, row.line)
            return
        bad = False
        found = texts(example)
        for code, detail in dict((*findings(example), *lint(example, found))).items():
            self.tally.add(code, detail, row.id, row.line)
            bad = bad or Tally.is_error(code)
        self.digests[-1] = digest(found)
        self.usable += not bad
        whole, answer = _size(example)
        self._sizes[0][whole] += 1
        self._sizes[1][answer] += 1

    def merge(self, other: "Survey") -> None:
        """Add the counts of the rows that follow."""
        self.read += other.read
        self.usable += other.usable
        self.tally.merge(other.tally)
        for name, types in other._types.items():
            mine = self._types.setdefault(name, {})
            for kind, (number, row, line) in types.items():
                known = mine.get(kind)
                mine[kind] = (number, row, line) if known is None else (known[0] + number, *known[1:])
        for sizes, others in zip(self._sizes, other._sizes, strict=True):
            sizes.update(others)
        self.digests += other.digests

    def repeated(self, most: int) -> tuple[int, list[int]]:
        """How many examples say what an earlier one says, and the first of them, `most` at most, as places in order."""
        import numpy as np

        digests = np.frombuffer(self.digests, np.uint64)
        values = np.sort(digests[digests != 0])
        values = values[1:][values[1:] == values[:-1]]
        total = len(values)
        values = np.unique(values)
        seen: set[int] = set()
        found: list[int] = []
        for start in range(0, len(digests) if total else 0, _LOOK):
            for place in (np.flatnonzero(np.isin(digests[start : start + _LOOK], values)) + start).tolist():
                if self.digests[place] in seen:
                    found.append(place)
                seen.add(self.digests[place])
                if len(found) >= min(most, total):
                    return total, found
        return total, found

    @property
    def columns(self) -> list[str]:
        return list(self._types)

    @property
    def types(self) -> dict[str, dict[str, int]]:
        return {name: {kind: place[0] for kind, place in types.items()} for name, types in self._types.items()}

    @property
    def lengths(self) -> dict[str, Lengths]:
        return {what: _lengths(sizes) for what, sizes in zip(("example", "answer"), self._sizes, strict=True) if sizes}

    def problems(self) -> tuple[Problem, ...]:
        """All problems; columns that hold more than one type too, missing values apart: the fewer are the fault."""
        tally = Tally()
        tally.merge(self.tally)
        for name, types in self._types.items():
            kinds = {kind: place for kind, place in types.items() if kind != _NOTHING}
            usual = max(kinds, key=lambda kind: kinds[kind][0], default="")
            for kind, (number, row, line) in kinds.items():
                if kind != usual:
                    detail = f"{name} is {usual} in {count(kinds[usual][0])} rows and {kind} in {count(number)}"
                    tally.add("mixed_types", detail, row, line, count=number)
        return tally.problems()

    def to_json(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "usable": self.usable,
            "tally": self.tally.to_json(),
            "types": self._types,
            "sizes": [list(sizes.items()) for sizes in self._sizes],
            "digests": base64.b64encode(self.digests.tobytes()).decode(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Survey":
        found = cls([])
        found.read, found.usable = document["read"], document["usable"]
        found.tally = Tally.from_json(document["tally"])
        found._types = {
            name: {kind: (place[0], place[1], place[2]) for kind, place in types.items()}
            for name, types in document["types"].items()
        }
        found._sizes = (Counter(dict(document["sizes"][0])), Counter(dict(document["sizes"][1])))
        found.digests.frombytes(base64.b64decode(document["digests"]))
        return found


def survey(store: RowStore, detection: Detection, start: int, stop: int, task: Task | None = None) -> Survey:
    """Read the rows from `start` up to `stop`.

    Raises:
        Cancelled: the task was cancelled.
        EnvironmentFault: the file cannot be read any more.
    """
    found = Survey(store.columns())
    for row in store.scan(start=start, stop=stop):
        if task and row.id % _STEP == 0:
            task.step("checking", row.id - start, stop - start, "rows")
        found.add(row, detection)
    return found


_NOTHING = "nothing"
_SAMPLES: tuple[object, ...] = (None, "", True, 0, 0.0, [], {})
_TYPES = {type(value): type_name(value) for value in _SAMPLES}


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


def _lengths(sizes: Counter[int]) -> Lengths:
    """Percentiles are sizes that occur: the least one that so many examples do not exceed."""
    total = sizes.total()
    wanted = [(total - 1) * percent // 100 for percent in (50, 90, 99)]
    found: list[int] = []
    seen = 0
    for size in sorted(sizes):
        seen += sizes[size]
        while len(found) < 3 and wanted[len(found)] < seen:
            found.append(size)
    mean = sum(size * number for size, number in sizes.items()) / total
    return Lengths(round(mean, 1), min(sizes), found[0], found[1], found[2], max(sizes))
