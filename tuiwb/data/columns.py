"""A JSON file of columns, as pandas writes it: `{"prompt": {"0": …, "1": …}, …}`, or each column as a list."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tuiwb.data.decode import LONGEST_ROW
from tuiwb.data.formats import guess
from tuiwb.data.rows import Value


class Transposed:
    """The rows of such a file as JSON lines, to be read like a file."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._lines = _lines(columns)
        self._left = b""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        parts, held = [self._left], len(self._left)
        while held < size and (line := next(self._lines, None)) is not None:
            parts.append(line)
            held += len(line)
        whole = b"".join(parts)
        self._left = whole[size:]
        return whole[:size]


def transposed(path: Path, start: bytes) -> Transposed | None:
    """The rows of a file that holds one object of columns; None where it holds something else.

    Args:
        start: what it begins with, from its brace.

    Raises:
        OSError: it cannot be read.
    """
    first, newline, rest = start.partition(b"\n")
    if newline and rest.strip() and _parsed(first) is not None:
        return None  # an object a line
    if path.stat().st_size > LONGEST_ROW:
        return None
    value = _parsed(path.read_bytes())
    columns = None if value is None else _columns(value)
    if value is None or columns is None or guess(value) is not None:
        return None
    return Transposed(columns) if guess({name: cells[0] for name, cells in columns.items()}) else None


def _parsed(text: bytes) -> Value | None:
    try:
        value = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and value else None


def _columns(value: Value) -> dict[str, list[Any]] | None:
    columns: dict[str, list[Any]] = {}
    keys: list[str] | None = None
    for name, cells in value.items():
        if isinstance(cells, dict):
            if not all(key.isdigit() for key in cells) or list(cells) != (keys or list(cells)):
                return None
            keys, cells = list(cells), list(cells.values())
        if not isinstance(cells, list) or not cells:
            return None
        columns[name] = cells
    return columns if len({len(cells) for cells in columns.values()}) == 1 else None


def _lines(columns: dict[str, list[Any]]) -> Iterator[bytes]:
    for cells in zip(*columns.values(), strict=True):
        yield orjson.dumps(dict(zip(columns, cells, strict=True))) + b"\n"
