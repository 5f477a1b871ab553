"""The only way into data: `open` gives a `View` of a source, for the screen, the verbs and the workers alike."""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.checks import findings
from tuiwb.data.detection import Detection, detect, sample
from tuiwb.data.example import Example
from tuiwb.data.filestore import changed
from tuiwb.data.formats import FormatName
from tuiwb.data.problems import Problem, Tally
from tuiwb.data.rows import Row
from tuiwb.data.sources import open_store
from tuiwb.data.translate import to_example
from tuiwb.data.turns import BadRow
from tuiwb.data.verify import Verdict, verify

if TYPE_CHECKING:
    from tuiwb.recipe import DatasetEntry

_TRANSLATION = 1
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
    ) -> None:
        """As `open_view`."""
        self.path = path
        self.given = (name, columns)
        """Format and columns as the user named them."""
        self._limit = max_examples
        self.store = open_store(path)
        self._status = path.stat()
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
        return self.store.known if self._limit is None else min(self._limit, self.store.known)

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
        total = self.known
        for row in self.store.scan(task):
            if row.id >= total:
                return
            yield row

    def example(self, row: Row) -> Example:
        """The row as an example to train on.

        Raises:
            BadRow: it is none, or has an error that `problems` counts.
            InputFault: the format is not clear.
        """
        example = self.translate(row)
        for code, detail in findings(example):
            if Tally.is_error(code) and code not in _TRAINED_ELSEWHERE:
                raise BadRow(code, detail)
        return example

    def translate(self, row: Row) -> Example:
        """The row as an example to look at, whatever is wrong with it; errors as `example`, but for its contents."""
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
            self._verdict = verify(self.store, self.format, limit=self._limit, task=task)
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
        return tally.problems()

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
        """Changes when a different example could come out: contents, format, columns, limit."""
        try:
            with self.path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").hexdigest()
        except OSError as error:
            raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=self.path) from error
        how = [_TRANSLATION, content, self.format.name, sorted(self.format.columns.items()), self._limit]
        return hashlib.blake2b(json.dumps(how).encode(), digest_size=16).hexdigest()

    def changed(self) -> str | None:
        """What happened to the file since it was opened, such as `grew` or `vanished`; None if nothing did."""
        return changed(self.path, self._status)

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
                for code, detail in dict(findings(self.translate(row))).items():
                    tally.add(code, detail, row.id, row.line)
            except BadRow as fault:
                tally.add(fault.code, fault.detail, row.id, row.line)


def open_view(
    source: "DatasetEntry | str | Path",
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    task: Task | None = None,
) -> View:
    """Open a dataset. The first rows can be read when this returns, whatever the file's size.

    Args:
        source: a file, or a recipe's entry, which may name format and columns.
        name: the format, one of `formats.FORMATS`, where the user names it.
        columns: part of the format to column, where the user names them.
        task: with one, the source is made ready to be read whole: indexed, and its format must be clear.

    Raises:
        InputFault: there is no such file, it is no dataset, or what was named contradicts its rows.
        EnvironmentFault: it cannot be opened.
    """
    view = _open(source, name, columns)
    if task:
        try:
            view.index(task)
            view.require_format()
        except BaseException:
            view.close()
            raise
    return view


def _open(source: "DatasetEntry | str | Path", name: str | None, columns: Mapping[str, str] | None) -> View:
    if isinstance(source, (str, Path)):
        return View(_path(str(source)), name=name, columns=columns)
    for key in ("subset", "split", "revision", "steps", "journal"):
        if getattr(source, key) is not None:
            raise InputFault(f"{key} cannot be used yet: write the rows that you mean into a file", key="datasets")
    return View(
        _path(source.path),
        name=name or source.format,
        columns=columns or source.columns,
        max_examples=source.max_examples,
    )


def _path(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.exists() and not path.is_absolute() and text.count("/") == 1 and not path.suffix:
        raise InputFault(
            "there is no such file; if this is a dataset of the hub, bring it first: "
            f"hf download --repo-type dataset {text}",
            file=text,
        )
    return path
