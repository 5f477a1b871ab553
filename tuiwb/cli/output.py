"""What verbs print: data on stdout, narration on stderr."""

import json
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tuiwb.base.text import fold, gate, gate_line, width_of

if TYPE_CHECKING:
    import argparse


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

    On a terminal the last column is folded to what is left of the line. rich's table takes 0.7 s for 500 rows, and its
    import as long again as the rest of a verb.

    Args:
        right: numbers of the columns that are aligned to the right, from 0.
    """
    cells = [[gate_line(str(cell)) for cell in row] for row in rows]
    aligned, on_screen = set(right), sys.stdout.isatty()
    everything = [headers, *cells]
    widths = [max(width_of(row[at]) for row in everything) for at in range(len(headers))]
    taken = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max(shutil.get_terminal_size().columns - taken, 20) if on_screen else 0
    lines = []
    for number, row in enumerate(everything):
        folded = fold(row[-1], room) if room else [row[-1]]
        first = [_pad(text, widths[at], right=at in aligned) for at, text in enumerate(row[:-1])]
        last = folded[0] if room and len(folded) > 1 else _pad(folded[0], widths[-1], right=len(widths) - 1 in aligned)
        line = "  ".join([*first, last]).rstrip()
        lines.append(f"\x1b[1m{line}\x1b[m" if number == 0 and on_screen and line else line)
        lines += [" " * taken + more for more in folded[1:]]
    if not any(headers):
        lines.pop(0)
    sys.stdout.write("\n".join(lines) + "\n" if lines else "")
    sys.stdout.flush()


def _pad(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - width_of(text))
    return blank + text if right else text + blank
