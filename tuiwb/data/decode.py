"""From the bytes of one row to its value, or to the reason why there is none."""

import csv
import functools
import io
import re
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from tuiwb.base import units
from tuiwb.data.rows import MISSING, RowFault, Value

Decoder = Callable[[bytes], Value | RowFault]

LONGEST_ROW = 64 << 20
"""Bytes; a longer row is not decoded, because its value would take many times that much memory."""

_PLACE = re.compile(r": line \d+ column (\d+) \(char (\d+)\)$")
_NOT_JSON = re.compile(rb"[:\[,\s](-?(?:NaN|Infinity))\s*[,}\]]")
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
"""So many digits, of which `_DIGITS_ALIKE` makes zeros, have all integers of more than 63 bits."""
_TYPES = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}


def json_row(raw: bytes) -> Value | RowFault:
    """A row of JSON lines or of a JSON array (the comma behind it included)."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _json_again(raw)
    return value if type(value) is dict else _no_object(value)


_BETWEEN = secrets.randbelow(1 << 52) + (1 << 52)
"""Stands between rows that are parsed together; nobody who writes a file can know it."""


def json_lines(page: bytes, count: int) -> list[Value] | None:
    """The rows of a stretch of JSON lines, parsed together, which takes half the time; None where one of them is not
    as usual, and each has to be looked at."""
    body = page.removesuffix(b"\n")
    if body.count(b"\n") != count - 1:
        return None
    try:
        parts = orjson.loads(b"[%b]" % body.replace(b"\n", b",%d," % _BETWEEN))
    except orjson.JSONDecodeError:
        return None
    values: list[Value] = parts[::2]
    # A line that is no whole object, or more than one, puts the number elsewhere than between two objects.
    if len(parts) != 2 * count - 1 or parts[1::2].count(_BETWEEN) != count - 1 or {*map(type, values)} != {dict}:
        return None
    return values


def json_column(page: bytes, count: int, name: str, *, array: bool) -> list[Any] | None:
    """What the rows of a stretch of JSON lines, or of elements of an array, have in a column, without what else they
    hold; None where one of them is not as usual, and each has to be looked at.

    The caller sees to it that every row begins and ends with a brace, so that no row goes on in the next.
    """
    try:
        page.isascii() or page.decode()  # what is passed over is not looked at that closely
        if array:
            parts = _column_of_list(name).decode(b"[%b]" % page.strip().removesuffix(b","))
        else:
            parts = _column_of(name).decode_lines(page)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return None
    if len(parts) != count:
        return None
    values = [MISSING if (value := part.value) is msgspec.UNSET else value for part in parts]
    return None if _with_long_numbers(values, page) else values


def _with_long_numbers(values: list[Any], page: bytes) -> bool:
    """Whether numbers of more than 64 bits may be among the values, which a row has as floating point."""
    kinds = {*map(type, values)}
    if int in kinds:
        numbers = values if kinds == {int} else [value for value in values if type(value) is int]
        if min(numbers) < -(1 << 63) or max(numbers) >= 1 << 64:
            return True
    return not kinds.isdisjoint((list, dict)) and _LONG_NUMBER in page.translate(_DIGITS_ALIKE)


@functools.lru_cache(maxsize=8)
def _column_of(name: str) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(_part(name))


@functools.lru_cache(maxsize=8)
def _column_of_list(name: str) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(list[_part(name)])  # type: ignore[misc]


def _part(name: str) -> Any:
    return msgspec.defstruct("Part", [("value", Any, msgspec.UNSET)], rename={"value": name}, gc=False)


def array_row(raw: bytes) -> Value | RowFault:
    return json_row(raw.strip().removesuffix(b","))


def text_row(raw: bytes) -> Value | RowFault:
    """A line of plain text, as `{"text": line}`."""
    try:
        return {"text": raw.rstrip(b"\r\n").decode()}
    except UnicodeDecodeError as error:
        return not_utf8(error)


def csv_row(names: list[str], delimiter: str) -> Decoder:
    """A decoder of CSV records with these column names; cells are text, an empty one is the empty text."""

    def decode(raw: bytes) -> Value | RowFault:
        cells = csv_cells(raw, delimiter)
        if isinstance(cells, RowFault):
            return cells
        if len(cells) != len(names):
            return RowFault("csv_columns", f"{len(cells)} fields where the header names {len(names)}")
        return dict(zip(names, cells, strict=True))

    return decode


def csv_cells(raw: bytes, delimiter: str) -> list[str] | RowFault:
    try:
        text = raw.rstrip(b"\r\n").decode()
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except UnicodeDecodeError as error:
        return not_utf8(error)
    except csv.Error as error:
        return RowFault("broken_csv", str(error).split(" - ")[0])


def not_utf8(error: UnicodeDecodeError) -> RowFault:
    return RowFault("invalid_utf8", f"byte {error.start + 1} of the row, 0x{error.object[error.start]:02x}")


def too_long(size: int) -> RowFault:
    return RowFault("row_too_long", f"{units.size(size)}, more than the {units.size(LONGEST_ROW)} that are read")


def _json_again(raw: bytes) -> Value | RowFault:
    """Why the parser refused a row. White space that only the file's frame allows is forgiven."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return not_utf8(error)
    try:
        value = orjson.loads(raw.strip())
    except orjson.JSONDecodeError as error:
        if literal := _NOT_JSON.search(raw):
            return RowFault("broken_json", f"{literal[1].decode()} is no JSON value")
        reason = _PLACE.sub("", str(error))
        return RowFault("broken_json", f"{reason} at character {error.pos + 1}")
    return value if type(value) is dict else _no_object(value)


def _no_object(value: object) -> RowFault:
    return RowFault("not_an_object", _TYPES.get(type(value), type(value).__name__))
