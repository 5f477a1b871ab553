"""The list of what is wrong with a dataset; enter goes to the rows that have it, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.content import Content
from textual.message import Message

from tuiwb.base.units import count
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tuiwb.data import Problem

_SIGNS = {"error": ("✗", "bad"), "warning": ("!", "warn"), "note": ("·", "dim")}


class ProblemsPane(Pane):
    """See the top of this file."""

    @dataclass
    class Case(Message):
        """The user wants to see this row."""

        row: int

    def __init__(self) -> None:
        self.table = Table(
            Column("", 1),
            Column("rows", 7, right=True),
            Column("problem", 20, flex=1),
            Column("first", 8, right=True),
            id="problem-table",
        )
        super().__init__(self.table, title="Problems", note="enter: go to a case", id="problems")
        self.problems: Sequence[Problem] = ()
        self._case = (-1, 0)

    def show(self, problems: "Sequence[Problem]", *, whole: bool) -> None:
        """Show these.

        Args:
            whole: they are those of the whole file, not of the rows sampled.
        """
        self.problems = problems
        self._case = (-1, 0)
        self.border_title = Content(
            "Problems in the whole file" if whole else "Problems in the rows sampled; c: check all"
        )
        self.table.fill(len(problems), self._cells)

    def _cells(self, at: int) -> tuple[Any, ...]:
        problem = self.problems[at]
        first = "" if problem.row is None else count(problem.row)
        rows = "" if problem.row is None and problem.count == 1 else count(problem.count)  # of the file, not of a row
        return _SIGNS[problem.severity], rows, problem.message, (first, "dim")

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """The first case of a problem, and with every further enter the next one that was kept."""
        event.stop()
        rows = [case.row for case in self.problems[event.row].examples if case.row is not None]
        if rows:
            number = (self._case[1] + 1) % len(rows) if self._case[0] == event.row else 0
            self._case = (event.row, number)
            self.post_message(self.Case(rows[number]))
