"""Rows of a source with their format, edits and cleaning steps: what the screen, the verbs and the workers see."""

import functools
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.checks import findings
from tuiwb.data.detection import Detection, detect, sample
from tuiwb.data.edited import EditedStore
from tuiwb.data.example import Example
from tuiwb.data.filestore import changed
from tuiwb.data.formats import FormatName
from tuiwb.data.journal import Journal, Mark
from tuiwb.data.lint import lint
from tuiwb.data.problems import Case, Problem, Tally
from tuiwb.data.rows import Row, RowStore, Value
from tuiwb.data.sources import open_store
from tuiwb.data.translate import to_example
from tuiwb.data.turns import BadRow
from tuiwb.data.verify import Verdict, verify

if TYPE_CHECKING:
    from tuiwb.data.clean.run import Cleaned
    from tuiwb.data.clean.steps import Step

_TRANSLATION = 2
"""Raised when the translation of rows changes what training sees, so that nothing prepared before is used again."""

_TRAINED_ELSEWHERE = {"no_assistant", "nothing_trained"}
"""Which turns are trained depends on the recipe: its mask decides, not the row."""


class View:
    """Rows of one source with their format. Reading is safe from several threads."""

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        max_examples: int | None = None,
        split: str | None = None,
        subset: str | None = None,
        journal: Path | None = None,
        steps: "Sequence[Step]" = (),
    ) -> None:
        """As `opening.open_view`."""
        self.path = path
        self.given = (name, columns)
        """Format and columns as the user named them."""
        self.part = (split, subset)
        """Split and subset, where the source has several."""
        chosen, self._limit = _slice(split)
        self.store: RowStore = open_store(path, split=chosen, subset=subset)
        self.journal = None if journal is None else Journal(journal)
        """What people did to rows by hand; None where nobody asked for it."""
        if self.journal is not None:
            self.store = EditedStore(self.store, self.journal)
        if max_examples is not None:
            self._limit = (max_examples, False)
        self.steps = tuple(steps)
        """What cleans the rows, in order."""
        self._cleaned: Cleaned | None = None
        self._cleaning = threading.Lock()
        self._change = _changes(self.steps)
        self._statuses = {file: file.stat() for file in self.store.files()}
        self._verdict: Verdict | None = None
        self.format: Detection = self._detect()
        """What the rows are; judged by the first rows until the index is complete, then by rows from anywhere."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """All rows, unreadable ones too. Indexes first."""
        self.index()
        return self.known

    def __bool__(self) -> bool:
        """True, always: `if view` must not wait for the index to count rows."""
        return True

    @property
    def known(self) -> int:
        """Rows that can be reached now."""
        known = self.store.known
        if self._limit is None:
            return known
        most, percent = self._limit
        return known * most // 100 if percent else min(most, known)

    @property
    def complete(self) -> bool:
        """Whether every row is known."""
        return self.store.complete

    def index(self, task: Task | None = None) -> None:
        """Find every row, then look at the format again with rows from the whole file.

        Raises:
            InputFault: the format that was named contradicts the rows.
            Cancelled, EnvironmentFault: as `RowStore.index`.
        """
        before = self.store.complete
        self.store.index(task)
        if not before:
            self.format = self._detect()

    def row(self, number: int) -> Row:
        """A row by its number; waits for the index where it is not known yet.

        Raises:
            IndexError: there is no such row.
        """
        if number >= self.known:
            self.index()
        if not 0 <= number < self.known:
            raise IndexError(f"row {number} of {self.known}")
        return self.store.row(number)

    def rows(self, start: int, count: int) -> list[Row]:
        """Known rows from `start`; fewer at the end."""
        return self.store.rows(start, max(min(count, self.known - start), 0))

    def raw(self, number: int, limit: int | None = None) -> bytes:
        """The row as it stands in the file."""
        return self.store.raw(number, limit)

    def scan(self, task: Task | None = None) -> Iterator[Row]:
        """Every row in order, unreadable ones too."""
        self.index(task)
        yield from self.store.scan(task, 0, self.known)

    def example(self, row: Row) -> Example:
        """The row as an example to train on.

        Raises:
            BadRow: it is none, or has an error that `problems` counts.
            InputFault: the format is not clear.
        """
        if why := self.left_out(row.id):
            raise BadRow("left_out", why)
        example = self.translate(row)
        self.require_sound(example)
        return example

    def require_sound(self, example: Example) -> None:
        """
        Raises:
            BadRow: the example has an error that `problems` counts.
        """
        for code, detail in findings(example):
            if Tally.is_error(code) and code not in _TRAINED_ELSEWHERE:
                raise BadRow(code, detail)

    def mark(self, number: int) -> Mark | None:
        """What was done to a row by hand; None for most."""
        return self.store.mark(number) if isinstance(self.store, EditedStore) else None

    def left_out(self, number: int) -> str | None:
        """Why a row takes no part in training though it can be read; None where it does."""
        mark = self.mark(number)
        if mark is not None and mark.verdict == "rejected":
            return "rejected by hand"
        return self.cleaned().why(number) if self.steps else None

    def cleaned(self, task: Task | None = None) -> "Cleaned":
        """What the steps leave out and why; made when first asked for, and kept from then on.

        Raises:
            InputFault, EnvironmentFault, Cancelled: as `clean.run.clean`.
        """
        from tuiwb.data.clean.cache import cleaned

        with self._cleaning:
            if self._cleaned is None:
                self._cleaned = cleaned(self, self.steps, task)
            return self._cleaned

    def translate(self, row: Row) -> Example:
        """The row as an example to look at, whatever is wrong with it; errors as `example`, but for its contents."""
        return self.as_it_stands(self.as_changed(row))

    def as_changed(self, row: Row) -> Row:
        """The row with the changes that steps make to it, such as a mask over personal data."""
        return row if self._change is None else row._replace(value=self._change(row.value))

    def as_it_stands(self, row: Row) -> Example:
        """As `translate`, without the changes that steps make to a row."""
        return to_example(row, self.require_format(), self.format.columns)

    def require_format(self) -> FormatName:
        """The format.

        Raises:
            InputFault: it is not clear, and must be named.
        """
        if self.format.name is None:
            raise InputFault(self.format.reason, file=self.path, key="format")
        return self.format.name

    def examples(self, task: Task | None = None) -> Iterator[Example]:
        """Every row that can be trained on.

        Raises:
            InputFault: the format is not clear.
        """
        self.index(task)
        self.require_format()
        for row in self.scan(task):
            try:
                yield self.example(row)
            except BadRow:
                continue

    def verify(self, task: Task | None = None) -> Verdict:
        """Read the whole source; the result is kept."""
        self.index(task)
        if self._verdict is None:
            found = verify(self.store, self.format, limit=self.known, task=task)
            self._verdict = self._by_hand(replace(found, problems=self._placed(found.problems)))
        return self._verdict

    @property
    def verdict(self) -> Verdict | None:
        """What `verify` found, if it was called."""
        return self._verdict

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is known to be wrong: with the sampled rows, or with all of them after `verify`."""
        if self._verdict:
            return self._verdict.problems
        tally = Tally()
        for row in sample(self.store):
            self._check(row, tally)
        if not self.known and self.complete:
            tally.add("no_rows")
        elif self.format.name is None:
            tally.add("unknown_format", self.format.reason)
        return self._placed(tally.problems())

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names: those of the sampled rows, or of all rows after `verify`."""
        if self._verdict:
            return self._verdict.columns
        names = dict.fromkeys(self.store.columns())
        for row in sample(self.store):
            names |= dict.fromkeys(row.value)
        return tuple(names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when a different example could come out: contents, format, columns, limit, edits, steps."""
        if not self.steps:
            return self.source_fingerprint
        from tuiwb.data.clean.cache import fingerprint

        return fingerprint(self, self.steps)

    @property
    def source_fingerprint(self) -> str:
        """As `fingerprint`, whatever the steps; follows the journal."""
        edits = None if self.journal is None or not self.journal.marks else self.journal.digest()
        columns = sorted(self.format.columns.items())
        how = [_TRANSLATION, self._content, self.format.name, columns, self._limit, edits]
        return hashlib.blake2b(json.dumps(how).encode(), digest_size=16).hexdigest()

    @functools.cached_property
    def _content(self) -> list[str]:
        return [self._digest(file) for file in self.store.files()]

    def _digest(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "blake2b").hexdigest()
        except OSError as error:
            raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=path) from error

    def _placed(self, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
        """The problems with the file of each case, where the source has several."""
        if len(self.store.files()) == 1:
            return problems

        def placed(case: Case) -> Case:
            return case if case.row is None else replace(case, file=self.store.file_of(case.row).name)

        return tuple(replace(one, examples=tuple(map(placed, one.examples))) for one in problems)

    def _by_hand(self, verdict: Verdict) -> Verdict:
        """The verdict with what the journal adds: rows left out, and edits of rows that are no longer there."""
        if not isinstance(self.store, EditedStore):
            return verdict
        tally = Tally()
        stale = self.store.stale()
        if stale:
            tally.add("stale_edit", f"the source has changed where {len(stale):,} rows were edited", stale[0])
        if broken := self.store.journal.broken:
            tally.add("broken_journal", f"{broken:,} of the changes in the journal of edits cannot be read")
        out = [row for row in self.store.journal.marks if self.left_out(row)]
        for row in sorted(out):
            tally.add("left_out", self.left_out(row) or "", row)
        problems = (*verdict.problems, *tally.problems())
        return replace(verdict, problems=problems)

    def changed(self) -> str | None:
        """What happened to the file since it was opened, such as `grew` or `vanished`; None if nothing did."""
        return next((what for file, status in self._statuses.items() if (what := changed(file, status))), None)

    def close(self) -> None:
        self.store.close()

    def _detect(self) -> Detection:
        try:
            return detect(sample(self.store), *self.given, declared=self.store.columns())
        except InputFault as error:
            raise InputFault(error.message, file=self.path, line=error.line, key=error.key) from error

    def _check(self, row: Row, tally: Tally) -> None:
        if row.fault:
            tally.add(row.fault.code, row.fault.message, row.id, row.line)
        elif self.format.name is not None:
            try:
                example = self.translate(row)
                for code, detail in dict((*findings(example), *lint(example))).items():
                    tally.add(code, detail, row.id, row.line)
            except BadRow as fault:
                tally.add(fault.code, fault.detail, row.id, row.line)


def _slice(split: str | None) -> tuple[str | None, tuple[int, bool] | None]:
    """`train[:5%]` as its name and as how much of it: a number, and whether that is a percentage."""
    name, bracket, rest = (split or "").partition("[")
    if not bracket:
        return split, None
    first = re.fullmatch(r":(\d+)(%?)\]", rest)
    if first is None:
        raise InputFault(f"of a split the first rows can be taken, as in {name}[:100] or {name}[:5%]", key="split")
    return name, (int(first[1]), bool(first[2]))


def _changes(steps: "Sequence[Step]") -> Callable[[Value], Value] | None:
    if not steps:
        return None
    from tuiwb.data.clean.steps import changes

    return changes(tuple(steps))
