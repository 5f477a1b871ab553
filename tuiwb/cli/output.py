"""What verbs print: data on stdout, narration on stderr."""

import json
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tuiwb.base.text import fold, gate, gate_line, width_of

if TYPE_CHECKING:
    import argparse


_LEAST = 20
"""Cells of a column below which text in it cannot be read."""


def add_json(parser: "argparse.ArgumentParser") -> None:
    """The option that every verb has."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def print_json(value: object) -> None:
    """One JSON document on a line of its own (a stream prints one a line). On a terminal
    everything beyond ASCII is escaped, so that no invisible character of a dataset reaches it."""
    print(json.dumps(value, ensure_ascii=sys.stdout.isatty(), default=str), flush=True)


def say(text: str) -> None:
    """Narration for people, on stderr."""
    print(gate(text), file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Data for people, on stdout."""
    print(gate(text), flush=True)


def print_table(headers: list[str], rows: Iterable[Iterable[Any]], *, right: Iterable[int] = ()) -> None:
    """A plain table on stdout, without borders so that it can be cut and grepped.

    On a terminal the last column is folded to what is left of the line; where hardly anything is, what does not fit
    stands below its row. rich's table takes 0.7 s for 500 rows, and its
    import as long again as the rest of a verb.

    Args:
        right: numbers of the columns that are aligned to the right, from 0.
    """
    cells = [[gate_line(str(cell)) for cell in row] for row in rows]
    aligned, columns = set(right), shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    everything = [headers, *cells]
    widths = [max(width_of(row[at]) for row in everything) for at in range(len(headers))]
    taken = sum(widths[:-1]) + 2 * (len(widths) - 1)
    lines = []
    for number, row in enumerate(everything):
        last, below = _last_column(row[-1], columns, taken)
        first = [_pad(text, widths[at], right=at in aligned) for at, text in enumerate(row[:-1])]
        line = "  ".join([*first, last if below else _pad(last, widths[-1], right=len(widths) - 1 in aligned)]).rstrip()
        lines.append(f"\x1b[1m{line}\x1b[m" if number == 0 and columns and line else line)
        lines += below if number else []
    if not any(headers):
        lines.pop(0)
    sys.stdout.write("\n".join(lines) + "\n" if lines else "")
    sys.stdout.flush()


def _last_column(text: str, columns: int, taken: int) -> tuple[str, list[str]]:
    """What of the last column stands on its row, and the lines below it; all of it on its row where `columns` is 0."""
    room = columns - taken
    if not columns or width_of(text) <= room:
        return text, []
    if room < _LEAST:
        return "", [f"    {line}" for line in folded(text, max(columns - 4, _LEAST))]
    first, *more = folded(text, room)
    return first, [" " * taken + line for line in more]


def folded(text: str, room: int) -> list[str]:
    """Lines of at most `room` cells, at least one, broken at words where there are any."""
    import textwrap

    return textwrap.wrap(text, room, break_on_hyphens=False) if text.isascii() and text.strip() else fold(text, room)


def hanging(head: str, text: str) -> None:
    """Data for people, on stdout: a text behind its head, and on a terminal its further lines below it."""
    room = shutil.get_terminal_size().columns - len(head) if sys.stdout.isatty() else 0
    write(head + f"\n{' ' * len(head)}".join(folded(gate_line(text), room) if room >= _LEAST else [gate_line(text)]))


def _pad(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - width_of(text))
    return blank + text if right else text + blank
