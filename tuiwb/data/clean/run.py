"""Steps applied to a view: which rows are left out, by which step, and why. Nothing is deleted and nothing is written.

Rows keep their numbers and their order. Each step sees what those before it have left, as they left it: consecutive
steps that look at one row at a time share one pass over the source, and steps that compare rows join the pass before
them.
"""

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuiwb.base.tasks import Task
from tuiwb.data.clean.compare import CompareStep, Found
from tuiwb.data.clean.steps import Judge, RowStep, Step
from tuiwb.data.clean.texts import texts
from tuiwb.data.rows import Row, Value
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
    from tuiwb.data.view import View

UNUSABLE = -1
"""In place of a step's number: the row cannot be trained on at all."""

BY_HAND = -2
"""The row was rejected by hand."""

SAMPLES = 8
_CHECK = 500
_NEAR = 0.8


@dataclass(frozen=True, slots=True)
class Removal:
    """Why a row is left out. `step` is the number of the step in the list; `twin` the row that this one repeats or
    holds, of `file` where that is another one."""

    row: int
    step: int
    why: str
    twin: int | None = None
    file: str = ""
    likeness: float = 0.0
    """To the twin, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did."""

    step: Step
    looked: int
    """Rows that the steps before had left."""
    removed: int
    changed: int
    samples: tuple[Removal, ...]
    """Some of the rows that it leaves out, from all over the source."""
    near: tuple[Removal, ...]
    """Rows that stay, the nearest to the limit first."""
    altered: tuple[int, ...] = ()
    """The rows that it changes, in order."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a list of steps makes of a view."""

    steps: tuple[Step, ...]
    rows: int
    removals: dict[int, Removal]
    """By row, in order."""
    outcomes: tuple[Outcome, ...]

    @property
    def kept(self) -> int:
        return self.rows - len(self.removals)

    @property
    def flagged(self) -> int:
        """Rows that a step leaves out."""
        return sum(outcome.removed for outcome in self.outcomes)

    def why(self, row: int) -> str | None:
        """Why a row is left out by a step or by hand; None where it stays, or is no example at all."""
        removal = self.removals.get(row)
        if removal is None or removal.step == UNUSABLE:
            return None
        return removal.why if removal.step < 0 else f"{self.steps[removal.step].name}: {removal.why}"

    def stay(self) -> Iterator[int]:
        """The numbers of the rows that stay."""
        return (row for row in range(self.rows) if row not in self.removals)


@dataclass(slots=True)
class _Account:
    """What a step did so far."""

    looked: int = 0
    removed: int = 0
    changed: int = 0
    samples: list[Removal] = field(default_factory=list)
    near: list[tuple[float, int, Callable[[], str]]] = field(default_factory=list)
    nearest: list[Removal] = field(default_factory=list)
    altered: list[int] = field(default_factory=list)


class _Run:
    def __init__(self, view: "View", steps: Sequence[Step], task: Task) -> None:
        self.view = view
        self.steps = tuple(steps)
        self.task = task
        self.removals: dict[int, Removal] = {}
        self.accounts = [_Account() for _ in self.steps]
        self._random = random.Random(0)

    def run(self) -> Cleaned:
        total = len(self.view)
        self.view.require_format()
        start = 0
        first = True
        while start < len(self.steps) or first:
            end = start
            while end < len(self.steps) and isinstance(self.steps[end], RowStep):
                end += 1
            compare = end
            while end < len(self.steps) and isinstance(self.steps[end], CompareStep):
                end += 1
            self._pass(start, compare, end, total, first=first)
            start, first = end, False
        outcomes = tuple(self._outcome(number) for number in range(len(self.steps)))
        return Cleaned(self.steps, total, dict(sorted(self.removals.items())), outcomes)

    def _pass(self, start: int, compare: int, end: int, total: int, *, first: bool) -> None:
        """Read the source once for the row steps from `start` and the comparing ones from `compare` up to `end`."""
        acting: list[tuple[int, Judge | None, Callable[[Value], Value] | None]] = [
            (number, step.judge() if number >= start else None, step.change())
            for number, step in enumerate(self.steps[:compare])
            if isinstance(step, RowStep) and (number >= start or step.change())
        ]
        collectors = [step.collector(self.task) for step in self.steps[compare:end] if isinstance(step, CompareStep)]
        doing = self.steps[start].name if start < len(self.steps) else "checking"
        for row in self.view.scan():
            if row.id % _CHECK == 0:
                self.task.step(doing.replace("_", " "), row.id, total, "rows")
            if row.id not in self.removals:
                self._row(row, start, acting, collectors, first=first)
        for number, collector in enumerate(collectors, compare):
            account = self.accounts[number]
            account.looked = total - len(self.removals)
            found, near = collector.finish(lambda row: row not in self.removals, self.task)
            for one in found:
                self._flag(_removal(one, number))
            account.nearest = [_removal(one, number) for one in near if one.row not in self.removals][:SAMPLES]

    def _row(self, row: Row, start: int, acting: list[Any], collectors: list[Any], *, first: bool) -> None:
        mark = self.view.mark(row.id)
        if first and mark is not None and mark.verdict == "rejected":
            self.removals[row.id] = Removal(row.id, BY_HAND, "rejected by hand")
            return
        try:
            example = self.view.as_it_stands(row)
            if first:
                self.view.require_sound(example)
        except BadRow as fault:
            self.removals[row.id] = Removal(row.id, UNUSABLE, fault.message)
            return
        text = texts(example)
        for number, judge, change in acting:
            account = self.accounts[number]
            if judge is not None:
                account.looked += 1
                verdict = judge(text)
                if verdict.flagged:
                    if self._flag(Removal(row.id, number, verdict.why())):
                        return
                elif verdict.near >= _NEAR:
                    entry = (verdict.near, -row.id, verdict.why)
                    (heapq.heappush if len(account.near) < SAMPLES else heapq.heappushpop)(account.near, entry)
            if change is not None:
                value = change(row.value)
                if value is not row.value:
                    if number >= start:
                        account.changed += 1
                        account.altered.append(row.id)
                    row = row._replace(value=value)
                    text = texts(self.view.as_it_stands(row))
        for collector in collectors:
            collector.add(row.id, text)

    def _flag(self, removal: Removal) -> bool:
        """Leave a row out, unless a person accepted it."""
        mark = self.view.mark(removal.row)
        if mark is not None and mark.verdict == "accepted":
            return False
        self.removals[removal.row] = removal
        account = self.accounts[removal.step]
        account.removed += 1
        self._some(account.samples, removal, account.removed)
        return True

    def _some(self, samples: list[Any], one: Any, met: int) -> None:
        """Keep some of all that are met, each as likely as the others."""
        if len(samples) < SAMPLES:
            samples.append(one)
        elif (place := self._random.randrange(met)) < SAMPLES:
            samples[place] = one

    def _outcome(self, number: int) -> Outcome:
        account = self.accounts[number]
        near = [
            Removal(-row, number, why()) for _, row, why in sorted(account.near, key=lambda one: (-one[0], -one[1]))
        ]
        samples = tuple(sorted(account.samples, key=lambda removal: removal.row))
        nearest = tuple(account.nearest or near)
        counts = (account.looked, account.removed, account.changed)
        return Outcome(self.steps[number], *counts, samples, nearest, tuple(account.altered))


def clean(view: "View", steps: Sequence[Step], task: Task | None = None) -> Cleaned:
    """Judge every row of a view.

    Args:
        steps: in the order in which they act; none of them still tells which rows cannot be trained on.

    Raises:
        InputFault: the format is not clear, or a file that a step names is at fault.
        EnvironmentFault: something that a step needs is not there.
        Cancelled: the task was cancelled.
    """
    return _Run(view, steps, task or Task()).run()


def _removal(found: Found, number: int) -> Removal:
    return Removal(found.row, number, found.why, found.twin, found.file, round(found.likeness, 4))
