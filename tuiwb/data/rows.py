"""What a source of rows is, and what one row is, before anybody has asked for its format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tuiwb.base.tasks import Task
from tuiwb.data.needle import Needle, Places

Value = dict[str, Any]
"""A row as its file has it: column name to value."""

MISSING: Any = object()
"""In place of a value that a row does not have."""


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why a row cannot be read. `code` is one of `problems.RULES`."""

    code: str
    message: str


class Row(NamedTuple):
    """One row. Unreadable ones are rows too, so that numbers and lines stay true; then `value` is empty.

    A tuple, because millions of them are made in a row.
    """

    id: int
    """Number of the row in its source, from 0."""
    line: int | None
    """Line of the file on which it starts, from 1; None where the source has no lines (parquet, arrow)."""
    value: Value
    fault: RowFault | None = None


class RowStore(Protocol):
    """Rows of one source by number. Reading is safe from several threads while one of them indexes."""

    @property
    def path(self) -> Path: ...

    @property
    def kind(self) -> str:
        """What it is, for people: `JSON lines`, `JSON array`, `CSV`, `parquet` …"""

    @property
    def nbytes(self) -> int: ...

    @property
    def packed(self) -> bool:
        """Whether rows are packed together, so that one of them takes as long to read as many that follow it."""

    @property
    def address(self) -> dict[str, Any] | None:
        """What `sources.open_address` needs to open the same rows in another process; None where that process would
        have to read all that comes before a row."""

    @property
    def known(self) -> int:
        """Rows that can be reached now; all of them once `complete`."""

    @property
    def complete(self) -> bool: ...

    def index(self, task: Task | None = None) -> None:
        """Find every row; returns at once when that is done already, goes on where a cancelled call stopped.

        Raises:
            Cancelled: the task was cancelled; what was found stays usable.
            EnvironmentFault: the file cannot be read any more.
        """

    def row(self, number: int) -> Row:
        """A known row.

        Raises:
            IndexError: `number` is not below `known`.
        """

    def rows(self, start: int, count: int) -> list[Row]:
        """Known rows from `start`; fewer at the end."""

    def pick(self, numbers: Sequence[int]) -> Iterator[Row]:
        """Known rows by their numbers, which ascend."""

    def raw(self, number: int, limit: int | None = None) -> bytes:
        """The row (its first `limit` bytes) as it stands in the file, or as a line of JSON where that is binary."""

    def scan(self, task: Task | None = None, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """The rows from `start` up to `stop` (all of them) in order, read in large blocks. Indexes first."""

    def holding(self, needle: Needle, start: int, stop: int) -> Places:
        """Which known rows from `start` up to `stop` hold these words. Far faster than reading each row."""

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """What known rows from `start` up to `stop` have in a column, `MISSING` where they have nothing or cannot be
        read. Faster than reading the rows."""

    def file_of(self, number: int) -> Path:
        """The file that holds a row: `path`, unless that is a folder."""

    def files(self) -> tuple[Path, ...]:
        """Every file that rows come from."""

    def columns(self) -> list[str]:
        """Names that the file itself declares (header, schema); empty where each row brings its own."""

    def faults(self) -> list[tuple[str, str, int | None]]:
        """What is wrong with the file as a whole, as (problem code, detail, line); complete once indexed."""

    def close(self) -> None: ...
