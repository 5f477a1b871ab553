"""Rows and values in which a regular expression may be found, told by RE2 for many at a time; `query` tests those."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.data.expressions import in_texts, of_texts
from tuiwb.data.rows import MISSING, Row

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
        texts, owners = _flat([row.value for row in block])
        found = in_texts(texts, wanted)
        if found is None:
            yield from block
            continue
        likely = np.zeros(len(block), bool)
        likely[owners[found[0] | found[1]]] = True
        for at, row in enumerate(block):
            if likely[at] or row.fault is not None:
                yield row
            else:
                keep[row.id - start] = False


def likely_values(values: Sequence[Any], expression: str) -> tuple[list[int], Iterable[int]]:
    """The values that are what is looked for, and those that still have to be tested; no other is it."""
    wanted = of_texts(expression) if expression else None
    if wanted is None:
        return [], range(len(values))
    texts, owners = _flat(values)
    found = in_texts(texts, wanted)
    if found is None:
        return [], range(len(values))
    sure, maybe = (np.unique(owners[each]) for each in found)
    return sure.tolist(), np.setdiff1d(maybe, sure, assume_unique=True).tolist()


def _flat(values: Sequence[Any]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """All texts of these values, and for each the place of its value."""
    texts: list[str] = []
    ends = np.empty(len(values), np.int64)
    for at, value in enumerate(values):
        if type(value) is str:
            texts.append(value)
        elif value is not MISSING:
            parts = value.values() if type(value) is dict else value if type(value) is list else (value,)
            for part in parts:
                if type(part) is str:
                    texts.append(part)
                else:
                    texts += _texts(part)
        ends[at] = len(texts)
    return texts, np.repeat(np.arange(len(values)), np.diff(ends, prepend=0))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, as `query` sees it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
    elif value is not None:
        yield str(value).lower() if isinstance(value, bool) else str(value)
