"""The rows of the browser: pages read in threads, cells folded to one line, columns fitted to what they hold."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from tuiwb.base.text import gate_line
from tuiwb.base.units import count
from tuiwb.tui.widgets.table import Cell, Column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tuiwb.data import Row, View

PAGE = 64
_KEPT = 24
_WIDEST = 60
"""Cells of a column that are asked for; more is folded away."""

_SHOWN = 160
"""Characters of a value that can ever be seen in a cell."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A row ready to be drawn: its number, the worst that is wrong with it, its cells by column."""

    number: int
    severity: str
    cells: dict[str, str]
    mark: tuple[str, str] = ("", "")
    """What was done by hand, as a sign and its tone."""


def read_page(view: "View", numbers: Sequence[int]) -> list[Shown]:
    """Rows by their numbers, read and folded."""
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
        rows = view.rows(int(numbers[0]), len(numbers))
    else:
        rows = [view.row(int(number)) for number in numbers]
    return [_shown(view, row) for row in rows]


def _shown(view: "View", row: "Row") -> Shown:
    mark = _sign(view, row.id)
    if row.fault:
        return Shown(row.id, "error", {"": row.fault.message}, mark)
    return Shown(row.id, severity(view, row), {name: fold(value) for name, value in row.value.items()}, mark)


def _sign(view: "View", number: int) -> tuple[str, str]:
    """The one sign for what was done to a row: verdicts before corrections, ratings and tags."""
    mark = view.mark(number)
    if mark is None:
        return "", ""
    if mark.verdict:
        return ("✓", "good") if mark.verdict == "accepted" else ("−", "bad")
    if mark.value is not None:
        return "✎", "accent"
    return (str(mark.rating), "accent") if mark.rating else ("#", "accent")


def severity(view: "View", row: "Row") -> str:
    """The worst problem of a row: `error`, `warning` or nothing."""
    from tuiwb.data import BadRow
    from tuiwb.data.checks import findings
    from tuiwb.data.lint import lint
    from tuiwb.data.problems import RULES

    if view.format.name is None:
        return ""
    try:
        example = view.translate(row)
        found = {RULES[code].severity for code, _ in (*findings(example), *lint(example))}
    except BadRow:
        return "error"
    return "error" if "error" in found else "warning" if "warning" in found else ""


def fold(value: Any) -> str:
    """A value on one line, as short as it can be told."""
    if value is None:
        return "∅"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return gate_line(value[:_SHOWN].replace("\r\n", "\n").replace("\n", "↵").replace("\t", " "))
    if isinstance(value, (list, tuple)):
        return _fold_list(value)
    if isinstance(value, dict):
        said = value.get("content", value.get("value"))
        if isinstance(said, str):
            return fold(said)
        return gate_line("{" + ", ".join(f"{key}: {fold(part)}" for key, part in list(value.items())[:4]) + "}", _SHOWN)
    return gate_line(str(value)[:_SHOWN])


def _fold_list(value: Sequence[Any]) -> str:
    turns = [turn for turn in value[:4] if isinstance(turn, dict)]
    if turns and any(key in turns[0] for key in ("role", "from")):
        first = next((turn for turn in turns if turn.get("role", turn.get("from")) not in ("system",)), turns[0])
        return f"{len(value)} turn{'s' if len(value) != 1 else ''}: {fold(first)}"[:_SHOWN]
    return f"[{len(value)}] {', '.join(fold(part) for part in value[:4])}"[:_SHOWN]


class RowPages:
    """What the table shows of a source: pages that were read, and those that are to be read.

    Args:
        ask: called with the page numbers that are wanted and not there; the answer comes to `take`.
    """

    def __init__(self, view: "View", ask: Callable[[list[int]], None]) -> None:
        self.view = view
        self.ids: npt.NDArray[np.int64] | None = None
        self.twins: dict[int, int] = {}
        """Rows that are shown as a repetition of another one, and which."""
        self.why: Callable[[int], str | None] | None = None
        """Why a row is left out by the cleaning steps that were tried; None where it stays."""
        self.what = ""
        """In words, which rows they are when not all, such as `with “cat”`, and in what order."""
        self.first_column = 0
        self._ask = ask
        self._pages: OrderedDict[int, list[Shown]] = OrderedDict()
        self._columns: list[str] = []
        self._wanted: list[int] = []

    def __len__(self) -> int:
        return self.view.known if self.ids is None else len(self.ids)

    @property
    def columns(self) -> list[str]:
        return self._columns

    def number(self, at: int) -> int:
        """The row at a line of the table."""
        return at if self.ids is None else int(self.ids[at])

    def line(self, number: int) -> int:
        """The line of the table that shows a row, or the one where it would be."""
        if self.ids is None:
            return number
        here = (self.ids == number).nonzero()[0]
        return int(here[0]) if len(here) else 0

    def has(self, number: int) -> bool:
        """Whether a row is among those that are shown."""
        return self.ids is None or bool((self.ids == number).any())

    def numbers(self, page: int) -> list[int]:
        start = page * PAGE
        stop = min(start + PAGE, len(self))
        return list(range(start, stop)) if self.ids is None else [int(number) for number in self.ids[start:stop]]

    def show_only(
        self, ids: "npt.NDArray[np.int64] | None", what: str = "", twins: dict[int, int] | None = None
    ) -> None:
        """Show these rows in this order, or all in the order of the file."""
        self.ids, self.what, self.twins = ids, what if ids is not None else "", twins or {}
        self.forget()

    def forget_row(self, number: int) -> None:
        """Read the page of a row again."""
        if self.has(number):
            self._pages.pop(self.line(number) // PAGE, None)

    def forget(self) -> None:
        """Read every page again."""
        self._pages.clear()
        self._wanted.clear()

    def take(self, pages: dict[int, list[Shown]]) -> bool:
        """Keep pages that were read; true when they bring columns that were not known."""
        before = len(self._columns)
        self._wanted.clear()  # what is still seen and did not come is asked for again
        for page, rows in pages.items():
            self._pages[page] = rows
            for row in rows:
                self._columns += [name for name in row.cells if name and name not in self._columns]
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)
        return len(self._columns) != before

    def lost(self) -> None:
        """What was asked for will not come."""
        self._wanted.clear()

    def cells(self, at: int) -> Sequence[Cell] | None:
        """The cells of a line, or None while its page is read."""
        page, place = divmod(at, PAGE)
        rows = self._pages.get(page)
        if rows is None or place >= len(rows):
            self._want(page)
            return None
        self._pages.move_to_end(page)
        row = rows[place]
        tone = {"error": "bad", "warning": "warn"}.get(row.severity, "dim")
        mark = row.mark if row.mark[0] else ({"error": "✗", "warning": "!"}.get(row.severity, ""), tone)
        if self.twins:
            mark = ("│", "warn") if row.number in self.twins else ("●", "good")
        if "" in row.cells:
            return (count(row.number), tone), mark, (row.cells[""], "bad")
        shown = self._columns[self.first_column :]
        left_out = row.mark[0] == "−"
        if self.why is not None and self.why(row.number):
            left_out, mark = True, (mark if row.mark[0] or self.twins else ("▽", "warn"))
        if left_out:  # it is not trained on
            return (count(row.number), "dim"), mark, *((row.cells.get(name, ""), "dim") for name in shown)
        return (count(row.number), tone), mark, *(self._cell(row.cells.get(name)) for name in shown)

    def layout(self, width: int) -> list[Column]:
        """Columns that share the width by what the pages that were read hold."""
        names = self._columns[self.first_column :] or [""]
        digits = max(len(count(max(self.number(len(self) - 1), 0))) if len(self) else 1, 3)
        columns = [Column("row", digits, right=True), Column("", 1)]
        room = max(width - digits - 1 - 2 * (len(names) + 1), 1)
        wished = {name: min(max(self._widest(name), cell_len(gate_line(name)), 3), _WIDEST) for name in names}
        if sum(wished.values()) <= room:
            last = names[-1]
            return columns + [Column(gate_line(name), wished[name], flex=int(name == last)) for name in names]
        # Narrow columns keep their width; the others share what is left by the square root of what they hold, so that
        # one long column does not push the others out.
        small = {name: wish for name, wish in wished.items() if wish <= 10}
        weights = {name: round(10 * math.sqrt(wish)) for name, wish in wished.items() if name not in small}
        least = 8 if len(weights) * 10 <= room - sum(small.values()) else 4
        return columns + [
            Column(gate_line(name), small[name])
            if name in small
            else Column(gate_line(name), least, flex=weights[name])
            for name in names
        ]

    def _cell(self, text: str | None) -> Cell:
        return ("", "dim") if text is None else (text, "dim") if text == "∅" else text

    def _widest(self, name: str) -> int:
        rows = [row for page in self._pages.values() for row in page]
        return max((cell_len(row.cells.get(name, "")[:_WIDEST]) for row in rows), default=0)

    def _want(self, page: int) -> None:
        if page not in self._wanted:
            self._wanted.append(page)
            self._ask(self._wanted)
