"""Looking for rows: words, `/regular expression/`, `column:words`, `column>number`; one at a time or all of them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.data.journal import Mark
from tuiwb.data.likely import likely_rows, likely_values
from tuiwb.data.needle import PLAIN, Inside, Needle, transparent
from tuiwb.data.rows import MISSING, Row
from tuiwb.data.view import View

_NUMBER = r"-?\d+(\.\d+)?([eE][+-]?\d+)?"
_COMPARE = re.compile(rf"^(?P<column>[^\s:<>=!]+)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<number>{_NUMBER})$")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_PLAIN_BEGIN = re.compile(r"[A-Za-z0-9 ,;:!_-]*")

_OF_NUMBERS = set("0123456789+-.eEinfaINFAN ")

_TEXT = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*:)?')
"""A text of JSON, and what stands behind a key."""

_PAGE = 20_000
_FEW_ROWS = 200
_LONG_ROWS = 600
"""Bytes; fewer or shorter rows are tested one by one."""

_FEW = 10
"""Where fewer than one row in so many is left, they are read rather than a column of all."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is looked for: `test` says whether a row is it. What else is known of it lets most rows be passed over.

    Attributes:
        needles: a row that is it holds one of these; none where nothing is known.
        column, accepts: the only column that is looked at, and whether what it holds is it.
        by_hand: only rows with a mark can be it.
        expression: the regular expression that one text, of the column where there is one, must match.
        inside: whether a text is what is looked for, wherever it stands in a row.
    """

    test: Callable[[Row], bool]
    needles: tuple[Needle, ...] = ()
    column: str = ""
    accepts: Callable[[Any], bool] | None = None
    by_hand: bool = False
    expression: str = ""
    inside: Inside | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions that a row must all meet."""

    text: str
    conditions: tuple[Condition, ...]


Numbers = npt.NDArray[np.int64]

Marks = Callable[[int], Mark | None]
"""What was done by hand to a row."""


def parse(text: str, columns: tuple[str, ...], mark: Marks | None = None) -> Query:
    """A query as it is typed: conditions joined by ` & `. Words match in any case unless they hold a capital; a column
    is named exactly; `is:accepted`, `is:rejected`, `is:edited`, `is:marked`, `tag:name` and `rating>3` look at what
    was done by hand, where `mark` tells it.

    Raises:
        UsageFault: the regular expression is none, or nothing is looked for.
    """
    return Query(text.strip(), tuple(_condition(part.strip(), columns, mark) for part in text.split(" & ")))


def _condition(wanted: str, columns: tuple[str, ...], mark: Marks | None) -> Condition:
    if not wanted:
        raise UsageFault("type what to look for: words, /regex/, column:words or column>number")
    if mark is not None and (by_hand := _by_hand(wanted, columns, mark)):
        return Condition(by_hand, by_hand=True)
    if (compared := _COMPARE.match(wanted)) and compared["column"] in columns:
        return _of_column(compared["column"], _comparing(_SIGNS[compared["sign"]], float(compared["number"])))
    column, colon, rest = wanted.partition(":")
    if colon and column in columns and rest:
        inside = _matcher(rest)
        found = _of_column(column, lambda value: _any_text(value, inside), _needles(rest, whole=False))
        return replace(found, expression=_expression(rest))
    return Condition(_anywhere(wanted), _needles(wanted), expression=_expression(wanted), inside=_matcher(wanted))


def _of_column(column: str, accepts: Callable[[Any], bool], needles: tuple[Needle, ...] = ()) -> Condition:
    return Condition(lambda row: accepts(row.value.get(column)), needles, column, accepts)


def _expression(wanted: str) -> str:
    return wanted[1:-1] if _is_regex(wanted) else ""


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
        if len(found):
            return int(found[-1 if backwards else 0])
        looked += count
    return None


def matching(view: View, query: Query, task: Task | None = None) -> npt.NDArray[np.int64]:
    """The numbers of all rows that are looked for."""
    total = len(view)
    task = task or Task()
    found = np.zeros(total, bool)  # an eighth of their numbers, of which there may be as many
    for first, count in _pages(0, total, backwards=False):
        task.step("searching", first, total, "rows")
        found[_matching(view, query, first, first + count)] = True
    return np.flatnonzero(found)


def _matching(view: View, query: Query, start: int, stop: int) -> Numbers:
    """Rows from `start` up to `stop` that are looked for, in order: conditions that let rows be passed over first, and
    those that are left are read where that is not enough."""
    keep, unsure = np.ones(stop - start, bool), np.zeros(stop - start, bool)
    left: list[Condition] = []
    if any(one.by_hand for one in query.conditions) and view.journal is not None:
        keep[:] = False
        keep[[row - start for row in list(view.journal.marks) if start <= row < stop]] = True
    for one in sorted(query.conditions, key=lambda one: -min((len(each.words) for each in one.needles), default=0)):
        # A column of a table is read by itself, sooner than words are looked for in all of them.
        if one.needles and keep.any() and not (one.accepts is not None and view.store.packed):
            held, open_here = np.zeros(stop - start, bool), np.zeros(stop - start, bool)
            for needle in one.needles:
                sure, maybe = view.store.holding(needle, start, stop)
                held[sure - start] = True
                open_here[maybe - start] = True
            keep &= held | open_here
            if one.accepts is None:
                unsure |= open_here & ~held
                continue
        left.append(one)
    columns: dict[str, list[Any]] = {}
    for one in list(left):
        if one.accepts is not None and np.count_nonzero(keep) * _FEW >= stop - start:
            if one.column not in columns:
                columns[one.column] = view.store.column(one.column, start, stop)
            values, accepts = columns[one.column], one.accepts
            found, open_values = likely_values(values, one.expression)
            found += [at for at in open_values if (value := values[at]) is not MISSING and accepts(value)]
            here = np.zeros(stop - start, bool)
            here[found] = True
            keep &= here
            left.remove(one)
    open_rows = np.flatnonzero(keep if left else keep & unsure) + start
    every = len(open_rows) == stop - start
    rows = view.store.scan(None, start, stop) if every else view.store.pick(open_rows.tolist())
    if len(open_rows) > _FEW_ROWS and view.store.nbytes > _LONG_ROWS * len(view):
        expressions = (one.expression for one in query.conditions if one.expression and not one.column)
        rows = likely_rows(rows, keep, start, expressions)
    refused = [row.id - start for row in rows if not _is_it(view, query, row)]
    keep[refused] = False
    return np.flatnonzero(keep) + start


def _is_it(view: View, query: Query, row: Row) -> bool:
    if row[3] is not None:
        return all(one.test(row) or _unread(view, one, row) for one in query.conditions)
    for one in query.conditions:  # noqa: SIM110 - a generator takes as long as the tests
        if not one.test(row):
            return False
    return True


def _unread(view: View, one: Condition, row: Row) -> bool:
    """Whether a row that cannot be parsed is what is looked for: one of its texts that are whole and no key, as they
    are written; all of it where it has no quotes."""
    if one.inside is None or row.fault is None or row.fault.code == "row_too_long":
        return False
    raw = view.raw(row.id).decode("utf-8", "replace")
    if '"' not in raw:
        return bool(one.inside(raw))
    return any(one.inside(text[1]) for text in _TEXT.finditer(raw) if text[2] is None)


def _needles(wanted: str, *, whole: bool = True) -> tuple[Needle, ...]:
    """Words of which any row with these words, or with a match of this expression, holds one, whatever its file
    escapes; none where that is not sure. An expression that must be `whole`, in any text of a row, has one without
    words then."""
    if _is_regex(wanted):
        inside = _matcher(wanted) if whole else None
        found = [_of_expression(part, whole, inside) for part in _alternatives(wanted[1:-1])]
        if not all(found):
            return (Needle("", fold=False, whole=False, inside=inside, expression=wanted[1:-1]),) if inside else ()
        needles = tuple(needle for needle in found if needle)
        alone = len(needles) == 1 and inside is not None and not needles[0].whole
        return (replace(needles[0], expression=wanted[1:-1]),) if alone else needles
    if not PLAIN.fullmatch(wanted):
        return ()
    return (Needle(wanted, fold=wanted == wanted.lower(), whole=whole),)


def _alternatives(expression: str) -> list[str]:
    """The parts of an expression of which one must match, where they are plain to see."""
    return [expression] if re.search(r"[\\()]", expression) else re.split(r"\|(?![^\[]*\])", expression)


def _of_expression(expression: str, whole: bool, inside: Inside | None) -> Needle | None:
    """What every match of it holds: plain characters at its beginning, of which the last may be optional, or others."""
    begin = "" if "|" in expression else _PLAIN_BEGIN.match(expression)[0]  # type: ignore[index]
    after = expression[len(begin) : len(begin) + 1]
    begin = begin[:-1] if after and after in "*?{" else begin
    more = expression[len(begin) :]
    if whole and transparent(begin, more):
        return Needle(begin, fold=False, more=more)
    literal = begin if len(begin) > 2 and not set(begin) <= _OF_NUMBERS else _literal(expression)
    return Needle(literal, fold=False, whole=False, inside=inside) if literal else None


def _literal(expression: str) -> str:
    """The longest run of plain characters that every match of an expression holds, or nothing."""
    parser: Any = getattr(re, "_parser", None)  # Python's own, which is not in its documentation
    parsed = parser.parse(expression) if parser else ()
    if not parsed or parsed.state.flags & re.IGNORECASE:
        return ""
    runs = [""]
    for kind, what in parsed:
        character = chr(what) if kind.name == "LITERAL" else ""
        if character and PLAIN.fullmatch(character):
            runs[-1] += character
        else:
            runs.append("")
    # A number is written in more ways than one.
    return max((run for run in runs if len(run) > 2 and not set(run) <= _OF_NUMBERS), key=len, default="")


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

        def look(row: Row) -> bool:
            for part in row.value.values():  # noqa: SIM110 - as above, a generator is slow
                if inside(part) if type(part) is str else _any_text(part, inside):
                    return True
            return False

        return look

    def test(row: Row) -> bool:
        # Texts are looked at as one, which no words span, and other values one by one.
        texts = [part for part in row.value.values() if type(part) is str]
        if inside("\0".join(texts)):
            return True
        if len(texts) == len(row.value):
            return False
        return any(_any_text(part, inside) for part in row.value.values() if type(part) is not str)

    return test


def _comparing(compare: Callable[[float, float], bool], number: float) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        if type(value) is int or type(value) is float:
            return compare(value, number)
        if isinstance(value, str):
            try:
                return compare(float(value), number)
            except ValueError:
                return False
        return isinstance(value, (int, float)) and not isinstance(value, bool) and compare(value, number)

    return accepts


def _any_text(value: Any, inside: Inside) -> bool:
    """Whether any text in a value, however deep, is it; numbers count as they are shown: 1E5 is 100000.0."""
    if isinstance(value, str):
        return bool(inside(value))
    if isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            if inside(part) if type(part) is str else _any_text(part, inside):
                return True
        return False
    return value is not None and bool(inside(str(value).lower() if isinstance(value, bool) else str(value)))
