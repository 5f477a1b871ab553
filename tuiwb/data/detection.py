"""Which format a source has: rows vote, and where they do not agree the user decides, never a guess."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuiwb.base.errors import InputFault
from tuiwb.data.formats import FORMATS, FormatName, Guess, columns_of, guess
from tuiwb.data.problems import nearest
from tuiwb.data.rows import Row, RowStore, Value
from tuiwb.data.translate import to_example
from tuiwb.data.turns import BadRow

_SAMPLE = 100
"""Rows looked at from the beginning, and again so many from anywhere."""

_RUN = 10
"""Rows that are taken together of a table."""

_AGREEMENT = 0.9
"""Share of the sampled rows that must look alike."""


@dataclass(frozen=True, slots=True)
class Detection:
    """`name` is None where the rows leave room for doubt; then `reason` says in one sentence what must be named."""

    name: FormatName | None
    confidence: float
    """Share of the sampled rows that have this format, 0 to 1."""
    reason: str
    columns: Mapping[str, str]
    """Part of the format to column of the source."""
    named: bool = False
    """Whether the recipe or the user named the format."""


def sample(store: RowStore) -> list[Row]:
    """The first rows and, as far as the index has come, as many from anywhere; the same ones each time. Of a table they
    are runs of rows, and none before it is indexed: a single row of it takes as long as many."""
    rows = store.rows(0, _SAMPLE)
    first, beyond = len(rows), store.known - len(rows)
    run = _RUN if store.packed else 1
    if beyond > 0 and (store.complete or not store.packed):
        picked = random.Random(store.known).sample(range(first, store.known), min(_SAMPLE // run, beyond))
        for number in sorted(picked):
            rows += store.rows(number, run)
    return rows


def detect(
    rows: Sequence[Row],
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    declared: Sequence[str] = (),
) -> Detection:
    """The format of rows.

    Args:
        name: the format as the user named it; None or `auto` lets the rows decide.
        columns: part to column as the user named them.
        declared: columns that the file names itself, for a source without rows.

    Raises:
        InputFault: what was named contradicts the rows.
    """
    readable = [row for row in rows if row.fault is None]
    union: Value = dict.fromkeys(declared)
    for row in readable:
        for column, value in row.value.items():
            if union.get(column) is None:
                union[column] = value
    given = dict(columns or {})
    for column in given.values():
        if readable and column not in union:
            raise InputFault(f"the file has no column {column!r}{nearest(column, union)}", key="columns")
    if name not in (None, "auto"):
        return _named(str(name), given, union, readable)
    if not readable:
        why = "there are no rows"
        if rows and rows[0].fault is not None:
            line = f"line {rows[0].line}: " if rows[0].line else ""
            why = f"none of the rows can be read ({line}{rows[0].fault.message})"
        return Detection(None, 0.0, f"{why}, so the format cannot be told", {})
    return _voted(readable, given, union)


def _named(name: str, given: dict[str, str], union: Value, rows: Sequence[Row]) -> Detection:
    if name not in FORMATS:
        raise InputFault(f"{name!r} is no format{nearest(name, FORMATS)}: {', '.join(FORMATS)}", key="format")
    form = FORMATS[name]
    if unknown := next((part for part in given if part not in form.parts), None):
        raise InputFault(
            f"{name} has no part {unknown!r}{nearest(unknown, form.parts)}: {', '.join(form.parts)}", key="columns"
        )
    left = {column: value for column, value in union.items() if column not in given.values()}
    # Parts that were named count as found, whatever their column is called.
    found = columns_of(form, {**left, **{_usual(form.needed, part): None for part in given if part in form.needed}})
    if found is None and not given and (whole := guess(union)) is not None and whole.name == name:
        found = dict(whole.columns)  # its parts stand where columns have other names
    if found is None:
        if not rows:
            return Detection(form.name, 0.0, "named, and there are no rows to compare it with", given, named=True)
        has = ", ".join(union) or "none"
        needs = " and ".join(part for part in form.needed if part not in given)
        raise InputFault(f"{name} needs {needs}, and the columns are {has}: name them under columns", key="format")
    mapping = {**{part: column for part, column in found.items() if column in union}, **given}
    failed = [(row, fault) for row in rows if (fault := _fault(row, form.name, mapping))]
    if len(failed) * 2 > len(rows):
        row, fault = failed[0]
        raise InputFault(f"the rows are no {name}: row {row.id}: {fault.message}", line=row.line, key="format")
    reason = f"named; {len(rows) - len(failed)} of {len(rows)} rows sampled agree"
    return Detection(form.name, _share(len(rows) - len(failed), len(rows)), reason, mapping, named=True)


def _voted(rows: Sequence[Row], given: dict[str, str], union: Value) -> Detection:
    """The format that most rows have. Columns the user named go by the name of their part while the rows vote."""
    guesses = [_guess(row.value, given) for row in rows]
    votes = Counter(found.name for found in guesses if found)
    if not votes and given:
        raise InputFault("with these columns the rows fit no format: name the format as well", key="columns")
    if not votes:
        shown = ", ".join(list(union)[:12])
        return Detection(
            None, 0.0, f"columns {shown}: no known format; name the format and which column plays which part", {}
        )
    name, count = votes.most_common(1)[0]
    share = _share(count, len(rows))
    winners = [found for found in guesses if found and found.name == name]
    doubts = Counter(found.doubt for found in winners if found.doubt)
    if doubts.total() * 2 > len(winners):
        return Detection(None, share, doubts.most_common(1)[0][0], {})
    rest = [f"{number} like {other}" for other, number in votes.items() if other != name]
    if none := len(rows) - votes.total():
        rest.append(f"{none} like no known format")
    counted = f"{count} of {len(rows)} rows sampled"
    if share < _AGREEMENT:
        return Detection(
            None, share, f"{counted} look like {name} and {', '.join(rest)}: name the format, or split the file", {}
        )
    columns = _columns(winners, _renamed(union, given))
    if unused := next((part for part in given if part not in columns), None):
        raise InputFault(
            f"the rows look like {name}, which has no part {unused!r}: name the format as well", key="columns"
        )
    why = Counter(found.why for found in winners).most_common(1)[0][0]
    reason = f"{counted}: {why}" + (f"; {', '.join(rest)}" if rest else "")
    return Detection(name, share, reason, {part: given.get(column, column) for part, column in columns.items()})


def _guess(value: Value, given: Mapping[str, str]) -> Guess | None:
    """The format of a row; the columns that the user named decide alone if they can."""
    if given:
        alone = guess({part: value[column] for part, column in given.items() if column in value})
        if alone and not alone.doubt:
            return alone
    return guess(_renamed(value, given))


def _columns(winners: Sequence[Guess], union: Value) -> dict[str, str]:
    """The columns that most rows have, and optional ones that only some have."""
    columns = dict(Counter(found.columns for found in winners).most_common(1)[0][0])
    everywhere = columns_of(FORMATS[winners[0].name], union) or {}
    for part, column in everywhere.items():
        if part not in columns and column not in columns.values():
            columns[part] = column
    return columns


def _renamed(value: Value, given: Mapping[str, str]) -> Value:
    if not given:
        return value
    parts = {column: part for part, column in given.items()}
    return {parts.get(column, column): cell for column, cell in value.items() if column in parts or column not in given}


def _usual(needed: Mapping[str, tuple[str, ...]], part: str) -> str:
    return needed[part][0]


def _fault(row: Row, name: FormatName, columns: Mapping[str, str]) -> BadRow | None:
    try:
        to_example(row, name, columns)
    except BadRow as fault:
        return fault
    return None


def _share(count: int, total: int) -> float:
    return round(count / total, 3) if total else 0.0
