"""Looking for words in the bytes of many rows at once, without parsing them.

In JSON words are found where they stand in a text: its string has them as they are, unless they hold something that a
writer of JSON escapes. What is left open (words within an escape, a number, a key that looks odd) is for the reader of
the row to decide. A row that cannot be parsed is looked through as if it could.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tuiwb.data.expressions import found_in, in_quotes, of_json

Rows = npt.NDArray[np.int64]
Kind = Literal["json", "text", "csv"]

PLAIN = re.compile(r"[A-Za-z0-9 .,;:!?()_-]+")
"""What no writer of JSON or CSV escapes."""

_OUTSIDE = r"0-9eEtrufalsn+.,: \-"
"""Of those characters, the ones that JSON has outside of strings too."""

_NOTHING = np.empty(0, np.int64)

_FEW = 10
"""Where no more than one row in so many may match, its reader decides."""

_BEHIND_A_VALUE = (b",", b"}", b"]")


class Places(NamedTuple):
    """Rows, in order, that surely hold the words, and others that may; no other row does."""

    sure: Rows = _NOTHING
    maybe: Rows = _NOTHING

    def moved(self, by: int) -> "Places":
        return Places(self.sure + by, self.maybe + by)


def joined(parts: "list[Places]") -> Places:
    """The places of stretches of rows that follow one another."""
    if not parts:
        return Places()
    return Places(np.concatenate([part.sure for part in parts]), np.concatenate([part.maybe for part in parts]))


@dataclass(frozen=True, slots=True)
class Needle:
    """Words in plain characters.

    Attributes:
        words: in small letters where `fold`.
        fold: in any case.
        whole: a text that holds these words is what is looked for; otherwise they are a part of it.
        more: what follows the words, a regular expression that matches plain characters alone (`transparent`).
        inside: whether a text is what is looked for, where that is one text's own affair: every such text holds the
            words. Who has texts at hand, as tables do, asks it; without words of every text.
        expression: what `inside` looks for, where it is a regular expression.
    """

    words: str
    fold: bool = True
    whole: bool = True
    more: str = ""
    inside: Callable[[str], object] | None = None
    expression: str = ""

    def look(self, block: bytes, starts: Rows, kind: Kind) -> Places:
        """The rows of a block that hold the words.

        Args:
            block: the bytes of the rows.
            starts: `(n + 1,)`, where each row starts in it, and the end.

        Returns:
            places from 0 to n - 1.
        """
        if not self.words or (self.expression and kind == "json" and of_json(self.expression)):
            return self._expressed(block, starts, kind)
        block = block.lower() if self.fold else block
        if self.words.encode() not in block:
            return Places()
        found = [(one.start(), one.lastindex) for one in _expression(self.words, self.more, kind).finditer(block)]
        rows = np.searchsorted(starts, [place for place, _ in found], "right") - 1
        sure = np.zeros(len(starts), bool)
        if self.whole:
            sure[rows[[number is not None for _, number in found]]] = True
        maybe = np.zeros(len(starts), bool)
        maybe[rows] = True
        return Places(np.flatnonzero(sure), np.flatnonzero(maybe & ~sure))

    def _expressed(self, block: bytes, starts: Rows, kind: Kind) -> Places:
        """Rows that may match the expression."""
        wanted = of_json(self.expression) if kind == "json" and self.expression else None
        found = found_in(block, starts, wanted) if wanted else None
        rows = np.arange(len(starts) - 1) if found is None else np.flatnonzero(found)
        quoted = in_quotes(self.expression) if found is not None and len(rows) * _FEW > len(starts) else None
        if quoted is None:
            return Places(maybe=rows)
        sure = _in_values(block, starts.tolist(), rows.tolist(), quoted)
        return Places(np.array(sure, np.int64), np.setdiff1d(rows, sure, assume_unique=True))


def _in_values(block: bytes, bounds: list[int], rows: list[int], expression: "re.Pattern[bytes]") -> list[int]:
    """Of these rows of JSON, those with a match in a string that is no key, told by the quotes around it. What a row
    with escapes says is not looked at."""
    plain = block.isascii() and b"\\" not in block
    search, count, find = expression.search, block.count, block.find
    found: list[int] = []
    for row in rows:
        start, end = bounds[row], bounds[row + 1]
        match = search(block, start, end)
        if match is None or not count(b'"', start, match.start()) & 1 or b'"' in match[0]:
            continue
        close = find(b'"', match.end(), end)
        if close < 0 or block[close + 1 : close + 2] not in _BEHIND_A_VALUE:
            continue  # a key, or a value with white space behind it
        if plain or (b"\\" not in (raw := block[start:end]) and raw.isascii()):
            found.append(row)
    return found


@functools.lru_cache(maxsize=32)
def _expression(words: str, more: str, kind: Kind) -> re.Pattern[bytes]:
    """An expression that matches where the words may stand, with a group where they surely do; it takes the rest of the
    line with it. It begins with the words themselves: the engine looks for such a beginning fast."""
    literal = re.escape(words)
    if kind == "text" or (kind == "csv" and not more and not re.search(r"[^\w .-]", words)):
        return re.compile(f"{literal}{more}().*".encode())
    if kind == "csv":  # the words may be those of two cells
        return re.compile(f"{literal}{more}.*".encode())
    escapes = [rf"\\{literal}", *(rf"\\u{'.' * n}{literal}" for n in range(4))]
    in_a_string = "".join(f"(?<!{one})" for one in escapes)
    unsure = "|".join(f"(?<={one})" for one in escapes)
    rest = r'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
    if not re.search(f"[^{_OUTSIDE}]", words):
        # They may stand between strings; in a string something follows them that cannot stand there, or its end does.
        here = rf"[{_OUTSIDE}\[\]{{}}\t]*+"
        ends = '"|' if words[-1].isalnum() else ""
        rest = rf'(?:{ends}{here}(?:[^{_OUTSIDE}\[\]{{}}\t"\\\n]|\\.){rest})'
        unsure = r'(?![^"\\\n]*+"\s*:)'  # unless that is in a key
    return re.compile(rf"{literal}(?:{in_a_string}{more}{rest}(?!\s*:)()|{unsure}).*".encode())


_TRANSPARENT = re.compile(
    r"(?:[A-Za-z0-9 ,;:!_-]|\[(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|[A-Za-z0-9 _])+\]|[*+?]|\{\d*,?\d*\})*"
)


def transparent(words: str, more: str) -> bool:
    """Whether these words and the expression that follows them match in a file as they do in its texts."""
    return bool(re.search(f"[^{_OUTSIDE}]", words) and _TRANSPARENT.fullmatch(more))
