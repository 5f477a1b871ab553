"""Regular expressions of Python's as RE2 understands them, which looks through text ten times as fast.

What RE2 finds in ASCII text is what Python finds, for the expressions that are let through here; who uses it looks at
text that is not ASCII himself. Sources: https://github.com/google/re2/wiki/Syntax and
Python's `re`.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

_SPACE = r"\t\n\x0b\f\r\x1c-\x1f "
"""What `\\s` is to Python, in ASCII; to RE2 it is less."""

_FOREIGN = re.compile(r"\(\?(?!i\)|:|P<)|\\[0-9BZuUNzpPQEC]|[*+?}]\+|\[:|\{,|\\S")
"""What the two read differently, or RE2 does not know."""

_OPEN_IN_JSON = r"\\|[^\x00-\x7f]|[:,\[ \t]-?[0-9]+(?:\.[0-9]|[eE])|[:,\[ \t]-0|[0-9]{19}"
"""In a row of JSON: escapes, what is not ASCII, numbers that may be written in another way than Python writes them."""


_ANCHOR = re.compile(r"(?<![\[\\])[\^]|(?<!\\)\$|\\A")

_BEFORE_A_VALUE, _BEHIND_A_VALUE = r'(?:"|[:,\[][ \t\r\n]*)', r'(?:"|[ \t\r\n]*[,}\]])'
"""What stands around a text or a number in JSON."""


@functools.lru_cache(maxsize=32)
def of_texts(expression: str, *, quoted: bool = False) -> str | None:
    """The expression for RE2; None where it may mean something else there.

    Args:
        quoted: the text stands between quotes and holds none, so that nothing matches one.
    """
    if not expression.isascii() or _FOREIGN.search(expression) or "(?i)" in expression[1:]:
        return None
    made, in_class, at = "", False, 0
    while at < len(expression):
        piece = expression[at : at + 2] if expression[at] == "\\" else expression[at]
        at += len(piece)
        if piece == "\\s":
            piece = _SPACE if in_class else f"[{_SPACE}]"
        elif piece == "[" and not in_class:
            in_class = True
            for first in ("^", "]"):  # a bracket at the beginning is one of the class
                if expression.startswith(first, at):
                    piece, at = piece + ("\\]" if first == "]" else first), at + 1
                    piece += '"' if quoted and first == "^" else ""
        elif piece == "." and quoted and not in_class:
            piece = r'[^"\n]'
        elif piece == "]":
            in_class = False
        elif piece == "$" and not quoted:
            if in_class or at < len(expression):
                return None
            piece = r"(?:\n?$)"  # to Python it is before a line break at the end too
        made += piece
    return made


@functools.lru_cache(maxsize=32)
def of_json(expression: str) -> str | None:
    """An expression for RE2 that matches in every row of JSON, as it is written, in which a text or a number matches;
    None where there is none."""
    made = _in_a_row(expression, _BEFORE_A_VALUE, _BEHIND_A_VALUE)
    return None if made is None else f"{made.expression}|{_OPEN_IN_JSON}"


class Quoted(NamedTuple):
    """An expression for RE2 that finds in rows of JSON, as they are written, what matches within one text."""

    expression: str
    begins: bool
    """Whether it begins a text, so that a match has what stands before a text with it."""


@functools.lru_cache(maxsize=32)
def in_quotes(expression: str) -> Quoted | None:
    """None where a match may go beyond a text."""
    spans = any(first <= '"' <= last for first, last in re.findall("(.)-(.)", expression, re.DOTALL))
    return None if spans or re.search(r'"|\\[WDx]', expression) else _in_a_row(expression, '"', '"')


def _in_a_row(expression: str, before: str, behind: str) -> Quoted | None:
    """The expression with what stands before and behind a text in place of its anchors."""
    made = of_texts(expression, quoted=True)
    if made is None:
        return None
    head, made = ("(?i)", made[4:]) if made.startswith("(?i)") else ("", made)
    begins = "|" not in made and made.startswith("^")
    ends = "|" not in made and made.endswith("$") and not made.endswith("\\$")
    made = made[1 if begins else 0 : -1 if ends else None]
    if _ANCHOR.search(made.replace("[^", "")):
        return None
    return Quoted(f"{head}(?:{before if begins else ''}(?:{made}){behind if ends else ''})", begins)


def found_in(block: bytes, starts: npt.NDArray[np.int64], expression: str) -> Mask | None:
    """In which stretches of bytes an expression for RE2 is found, `(n,)`; None where it cannot be looked for.

    Args:
        starts: `(n + 1,)`, where each begins, and the end.
    """
    return _searched(_stretches(block, starts), expression)


def first_in(block: bytes, starts: npt.NDArray[np.int64], expression: str) -> npt.NDArray[np.int64] | None:
    """As `found_in`: where in the block the first match of each stretch begins, -1 where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = pc.find_substring_regex(_stretches(block, starts), expression)
    except pa.ArrowInvalid:
        return None
    places = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(places < 0, -1, places + starts[:-1])


def stretches_with(marked: Mask, starts: npt.NDArray[np.int64]) -> Mask:
    """Which stretches of a block hold a marked byte, `(n,)`; `starts` as in `found_in`."""
    found: Mask = np.diff(np.searchsorted(np.flatnonzero(marked), starts)) > 0
    return found


def _stretches(block: bytes, starts: npt.NDArray[np.int64]) -> Any:
    import pyarrow as pa

    offsets = pa.py_buffer(starts.astype(np.int32))
    return pa.Array.from_buffers(pa.binary(), len(starts) - 1, [None, offsets, pa.py_buffer(block)])


def in_texts(texts: Sequence[str], expression: str) -> tuple[Mask, Mask] | None:
    """Which texts match an expression that `of_texts` made, and which may, since they are not ASCII; `(n,)` each. No
    other does. None where it cannot be told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        array = pa.array(texts, pa.large_string())
    except (UnicodeError, pa.ArrowInvalid):  # half a surrogate
        return None
    found = _searched(array, expression)
    if found is None:
        return None
    plain = pc.string_is_ascii(array).to_numpy(zero_copy_only=False)
    return found & plain, ~plain


def _searched(array: Any, expression: str) -> Mask | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found: Mask = pc.match_substring_regex(array, expression).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return found.copy()
