"""Looking for rows: words, `/regular expression/`, `column:words`, `column>number`; one at a time or all of them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.data.journal import Mark
from tuiwb.data.rows import Row
from tuiwb.data.view import View

_COMPARE = re.compile(r"^(?P<column>[^\s:<>=!]+)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<number>-?\d+(\.\d+)?)$")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_PLAIN = re.compile(r"[A-Za-z0-9 .,;:!?()_-]+")
"""What no writer of JSON or CSV escapes."""
_PLAIN_BEGIN = re.compile(r"[A-Za-z0-9 ,;:!_-]*")

Inside = Callable[[str], object]
"""Whether a text is it: true or false, or a match."""

_PAGE = 20_000
_DENSE_PAGES = 16


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: `test` says whether a row is it; one that is holds the bytes of `needle`, if there are any,
    in some case of letters."""

    text: str
    test: Callable[[Row], bool]
    needle: bytes = b""


Marks = Callable[[int], Mark | None]
"""What was done by hand to a row."""


def parse(text: str, columns: tuple[str, ...], mark: Marks | None = None) -> Query:
    """A query as it is typed: conditions joined by ` & `. Words match in any case unless they hold a capital; a column
    is named exactly; `is:accepted`, `is:rejected`, `is:edited`, `is:marked`, `tag:name` and `rating>3` look at what
    was done by hand, where `mark` tells it.

    Raises:
        UsageFault: the regular expression is none, or nothing is looked for.
    """
    parts = [_condition(part.strip(), columns, mark) for part in text.split(" & ")]
    if len(parts) == 1:
        return parts[0]
    needle = max((part.needle for part in parts), key=len)
    return Query(text.strip(), lambda row: all(part.test(row) for part in parts), needle)


def _condition(wanted: str, columns: tuple[str, ...], mark: Marks | None) -> Query:
    if not wanted:
        raise UsageFault("type what to look for: words, /regex/, column:words or column>number")
    if mark is not None and (by_hand := _by_hand(wanted, columns, mark)):
        return Query(wanted, by_hand)
    if (compared := _COMPARE.match(wanted)) and compared["column"] in columns:
        return Query(wanted, _comparing(compared["column"], _SIGNS[compared["sign"]], float(compared["number"])))
    column, colon, rest = wanted.partition(":")
    if colon and column in columns and rest:
        inside = _matcher(rest)
        return Query(wanted, lambda row: _any_text(row.value.get(column), inside), _needle(rest))
    return Query(wanted, _anywhere(wanted), _needle(wanted))


def _by_hand(wanted: str, columns: tuple[str, ...], mark: Marks) -> Callable[[Row], bool] | None:
    """The test of a condition on marks; None where it is another condition."""
    what, colon, rest = wanted.partition(":")
    if colon and what == "is" and "is" not in columns:
        tests: dict[str, Callable[[Mark], bool]] = {
            "accepted": lambda one: one.verdict == "accepted",
            "rejected": lambda one: one.verdict == "rejected",
            "edited": lambda one: one.value is not None,
            "marked": lambda one: True,
        }
        if rest not in tests:
            raise UsageFault(f"is:{rest} is unknown; there are is:{', is:'.join(tests)}")
        return _marked(mark, tests[rest])
    if colon and what == "tag" and "tag" not in columns:
        return _marked(mark, lambda one: rest in one.tags)
    compared = _COMPARE.match(wanted)
    if compared and compared["column"] == "rating" and "rating" not in columns:
        sign, number = _SIGNS[compared["sign"]], float(compared["number"])
        return _marked(mark, lambda one: one.rating is not None and sign(one.rating, number))
    return None


def _marked(mark: Marks, test: Callable[[Mark], bool]) -> Callable[[Row], bool]:
    def found(row: Row) -> bool:
        one = mark(row.id)
        return one is not None and test(one)

    return found


def find(view: View, query: Query, start: int, *, backwards: bool = False, task: Task | None = None) -> int | None:
    """The next row that is looked for, from `start` on and around the end; None when there is none at all."""
    total = len(view)
    task = task or Task()
    looked = 0
    for first, count in _pages(start % total if total else 0, total, backwards):
        task.step("searching", looked, total, "rows")
        found = _matching(view, query, first, first + count)
        number = max(found, default=None) if backwards else next(found, None)
        if number is not None:
            return number
        looked += count
    return None


def matching(view: View, query: Query, task: Task | None = None) -> npt.NDArray[np.int64]:
    """The numbers of all rows that are looked for."""
    total = len(view)
    task = task or Task()
    found: list[int] = []
    dense = 0
    for first, count in _pages(0, total, backwards=False):
        task.step("searching", first, total, "rows")
        if query.needle and not dense:
            likely = list(view.store.may_hold(query.needle, first, first + count))
            found += _among(view, query, likely, first, first + count)
            # Where most rows hold the bytes, looking for them first saves nothing on the next pages.
            dense = _DENSE_PAGES if len(likely) * 2 > count else 0
        else:
            found += _read(view, query, first, first + count)
            dense = max(dense - 1, 0)
    return np.array(found, np.int64)


def _matching(view: View, query: Query, start: int, stop: int) -> Iterator[int]:
    """Rows from `start` up to `stop` that are looked for, in order."""
    if not query.needle:
        return _read(view, query, start, stop)
    return _among(view, query, list(view.store.may_hold(query.needle, start, stop)), start, stop)


def _among(view: View, query: Query, likely: list[int], start: int, stop: int) -> Iterator[int]:
    """As `_matching`, where only these rows may be it."""
    if len(likely) * 10 < stop - start:
        return (number for number in likely if query.test(view.store.row(number)))
    wanted = set(likely)
    return (row.id for row in view.store.scan(start=start, stop=stop) if row.id in wanted and query.test(row))


def _read(view: View, query: Query, start: int, stop: int) -> Iterator[int]:
    test = query.test
    return (row.id for row in view.store.scan(start=start, stop=stop) if test(row))


def _needle(wanted: str) -> bytes:
    """The bytes that any row with these words, or with a match of this expression, holds, whatever its file escapes;
    none where that is not sure."""
    if _is_regex(wanted):
        # An expression that begins with plain characters; the last of them may be optional.
        begin = "" if "|" in wanted else _PLAIN_BEGIN.match(wanted[1:-1])[0]  # type: ignore[index]
        after = wanted[1 + len(begin)]
        begin = begin[:-1] if after in "*?{" else begin
        return begin.lower().encode() if len(begin) > 2 else b""
    return wanted.lower().encode() if _PLAIN.fullmatch(wanted) else b""


def _is_regex(wanted: str) -> bool:
    return len(wanted) > 2 and wanted[0] == wanted[-1] == "/"


def _pages(start: int, total: int, backwards: bool) -> Iterator[tuple[int, int]]:
    """Pages (first row, rows) that cover everything once, from `start` to the end and then from the other one."""
    if backwards:
        for end in range(start + 1, 0, -_PAGE):
            yield max(end - _PAGE, 0), min(_PAGE, end)
        for end in range(total, start + 1, -_PAGE):
            yield max(end - _PAGE, start + 1), min(_PAGE, end - start - 1)
    else:
        for first in range(start, total, _PAGE):
            yield first, min(_PAGE, total - first)
        for first in range(0, start, _PAGE):
            yield first, min(_PAGE, start - first)


def _matcher(wanted: str) -> Inside:
    if _is_regex(wanted):
        try:
            return re.compile(wanted[1:-1]).search
        except re.error as error:
            raise UsageFault(f"{wanted} is no regular expression: {error}") from error
    if wanted != wanted.lower():
        return lambda text: wanted in text
    return lambda text: wanted in text.lower()


def _anywhere(wanted: str) -> Callable[[Row], bool]:
    """The test whether any text of a row is it."""
    inside = _matcher(wanted)
    if _is_regex(wanted) or "\0" in wanted:
        return lambda row: _any_text(row.value, inside)

    def test(row: Row) -> bool:
        # Texts are looked at as one, which no words span, and other values one by one.
        texts = [part for part in row.value.values() if type(part) is str]
        if inside("\0".join(texts)):
            return True
        if len(texts) == len(row.value):
            return False
        return any(_any_text(part, inside) for part in row.value.values() if type(part) is not str)

    return test


def _comparing(column: str, compare: Callable[[float, float], bool], number: float) -> Callable[[Row], bool]:
    def test(row: Row) -> bool:
        value = row.value.get(column)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return False
        return isinstance(value, (int, float)) and not isinstance(value, bool) and compare(value, number)

    return test


def _any_text(value: Any, inside: Inside) -> bool:
    """Whether any text in a value, however deep, is it; numbers count as they are written."""
    if isinstance(value, str):
        return bool(inside(value))
    if isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            if inside(part) if type(part) is str else _any_text(part, inside):
                return True
        return False
    return value is not None and bool(inside(str(value).lower() if isinstance(value, bool) else str(value)))
