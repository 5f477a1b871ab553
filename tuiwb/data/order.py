"""The rows of a source in another order: sorted by what they hold, or drawn at random."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.data.problems import nearest
from tuiwb.data.rows import MISSING, Row
from tuiwb.data.view import View

Rows = npt.NDArray[np.int64]

_STEP = 5000
_PAGE = 20_000
_PREFIX = 24
"""Bytes of a text that decide its place; more would not fit into memory for millions of rows."""

OWN_KEYS = ("length", "turns")
"""Keys that every source has besides its columns: characters of a row, turns of its conversation."""


def ordered(
    view: View, key: str, *, descending: bool = False, among: Rows | None = None, task: Task | None = None
) -> Rows:
    """The rows sorted by a column, or by one of `OWN_KEYS`; equal ones in the order of the source, and rows without a
    value last.

    Args:
        among: only these rows.

    Raises:
        UsageFault: there is no such column.
        Cancelled: the task was cancelled.
    """
    require_key(view, key)
    total = len(view)
    wanted = None if among is None else np.sort(among)
    count = total if wanted is None else len(wanted)
    numbers = np.full(count, np.nan)
    texts = np.zeros(count, f"S{_PREFIX}")
    has_text = np.zeros(count, bool)
    own = key in OWN_KEYS and key not in view.columns
    values = _rows_own(view, key, wanted) if own else _column(view, key, wanted)
    for at, value in enumerate(values):
        if task and at % _STEP == 0:
            task.step("sorting", at, count, "rows")
        if isinstance(value, (bool, int, float)):
            numbers[at] = value
        elif value is not None and value is not MISSING:
            texts[at] = _start(value)
            has_text[at] = True
    rows = np.arange(count) if wanted is None else wanted
    missing = np.isnan(numbers) & ~has_text
    by_number = -numbers if descending else numbers
    # Numbers before texts; each stable, so that equal ones keep the source's order in both directions.
    order = np.lexsort((by_number, has_text, missing))
    if has_text.any():
        place = np.flatnonzero(has_text[order])
        inside = order[place]
        ranks = np.unique(texts[inside], return_inverse=True)[1]
        order[place] = inside[np.argsort(-ranks if descending else ranks, kind="stable")]
    return rows[order].astype(np.int64)


def require_key(view: View, key: str) -> None:
    """
    Raises:
        UsageFault: the source cannot be sorted by that.
    """
    if key not in view.columns and key not in OWN_KEYS:
        raise UsageFault(f"there is no column {key!r}{nearest(key, [*view.columns, *OWN_KEYS])}", key="sort")


def sampled(view: View, count: int, *, seed: int = 42, among: Rows | None = None) -> Rows:
    """So many rows, drawn without repetition, in the order of the source."""
    rows = np.arange(len(view), dtype=np.int64) if among is None else np.sort(among)
    if count >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def _rows_own(view: View, key: str, wanted: Rows | None) -> Iterator[Any]:
    rows = view.scan() if wanted is None else (view.row(int(number)) for number in wanted)
    return (_own(row, key) for row in rows)


def _column(view: View, key: str, wanted: Rows | None) -> Iterator[Any]:
    """What rows have in a column, read page by page; of pages with few wanted rows those alone."""
    total, at = len(view), 0
    for start in range(0, total, _PAGE):
        stop = min(start + _PAGE, total)
        if wanted is None:
            yield from view.store.column(key, start, stop)
            continue
        end = int(np.searchsorted(wanted, stop))
        some, at = wanted[at:end].tolist(), end
        if len(some) * 10 < stop - start:
            yield from (view.row(number).value.get(key) for number in some)
        else:
            values = view.store.column(key, start, stop)
            yield from (values[number - start] for number in some)


def _own(row: Row, key: str) -> Any:
    if row.fault:
        return None
    return _characters(row.value) if key == "length" else _turns(row.value)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_characters, value))
    return 0


def _turns(value: dict[str, Any]) -> int:
    """The longest list of objects that a row holds: its conversation."""
    lists = (part for part in value.values() if isinstance(part, list) and part and isinstance(part[0], dict))
    return max(map(len, lists), default=0)


def _start(value: Any) -> bytes:
    text = value if isinstance(value, str) else str(value)
    return text[:_PREFIX].casefold().encode("utf-8", "surrogatepass")[:_PREFIX]
