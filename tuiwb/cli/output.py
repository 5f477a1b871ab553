"""What verbs print: data on stdout, narration on stderr."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tuiwb.base.text import gate, gate_line

if TYPE_CHECKING:
    import argparse

    from rich.console import Console


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


def console() -> "Console":
    """A rich console on stdout that parses no markup and guesses no highlights."""
    from rich.console import Console

    # A pipe has no width: a line of a table must stay one line there.
    piped = not sys.stdout.isatty()
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=piped, width=10_000 if piped else None)


def print_table(headers: list[str], rows: Iterable[Iterable[Any]], *, right: Iterable[int] = ()) -> None:
    """A plain table on stdout, without borders so that it can be cut and grepped.

    Args:
        right: numbers of the columns that are aligned to the right, from 0.
    """
    from rich.table import Table
    from rich.text import Text

    aligned = set(right)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number in aligned else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(gate_line(str(cell))) for cell in row))
    console().print(table)
