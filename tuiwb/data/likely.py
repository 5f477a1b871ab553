"""Rows and values in which a regular expression may be found, told by RE2 for many at a time; `query` tests those."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.data.expressions import in_texts, of_texts
from tuiwb.data.rows import Row

_BLOCK = 4_000


def likely_rows(
    rows: Iterator[Row], keep: npt.NDArray[np.bool_], start: int, expressions: Iterable[str]
) -> Iterator[Row]:
    """The rows that still have to be tested; the others are taken out of `keep`: those in which no text has what one of
    the expressions looks for.

    Args:
        keep: for the rows from `start` on.
    """
    wanted = next((made for each in expressions if (made := of_texts(each))), None)
    if wanted is None:
        yield from rows
        return
    while block := list(itertools.islice(rows, _BLOCK)):
        texts: list[str] = []
        counts = np.empty(len(block), np.int64)
        for at, row in enumerate(block):
            before = len(texts)
            for part in row.value.values():
                if type(part) is str:
                    texts.append(part)
                else:
                    texts += _texts(part)
            counts[at] = len(texts) - before
        found = in_texts(texts, wanted)
        if found is None:
            yield from block
            continue
        owners = np.repeat(np.arange(len(block)), counts)[found[0] | found[1]]
        likely = np.zeros(len(block), bool)
        likely[owners] = True
        for at, row in enumerate(block):
            if likely[at] or row.fault is not None:
                yield row
            else:
                keep[row.id - start] = False


def likely_values(values: Sequence[Any], expression: str) -> tuple[list[int], Iterable[int]]:
    """The values that are what is looked for, and those that still have to be tested; no other is it."""
    wanted = of_texts(expression) if expression else None
    found = in_texts([value if type(value) is str else "" for value in values], wanted) if wanted else None
    if found is None:
        return [], range(len(values))
    sure, maybe = found
    others = [at for at, value in enumerate(values) if type(value) is not str]
    sure[others], maybe[others] = False, True
    return np.flatnonzero(sure).tolist(), np.flatnonzero(maybe).tolist()


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, as `query` sees it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
    elif value is not None:
        yield str(value).lower() if isinstance(value, bool) else str(value)
