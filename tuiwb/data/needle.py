"""Looking for words in the bytes of many rows at once, without parsing them.

In JSON words are found where they stand in a text: its string has them as they are, unless they hold something that a
writer of JSON escapes. What is left open (words within an escape, a number, a key that looks odd) is for the reader of
the row to decide. A row that cannot be parsed is looked through as if it could.
"""

import bisect
import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tuiwb.data.expressions import first_in, found_in, in_quotes, of_json, stretches_with
from tuiwb.data.quotes import Quotes

Rows = npt.NDArray[np.int64]
Kind = Literal["json", "text", "csv"]
Inside = Callable[[str], object]
"""Whether a text is what is looked for: true or false, or a match."""

PLAIN = re.compile(r"[A-Za-z0-9 .,;:!?()_-]+")
"""What no writer of JSON or CSV escapes."""

_OUTSIDE = r"0-9eEtrufalsn+.,: \-"
"""Of those characters, the ones that JSON has outside of strings too."""

_NOTHING = np.empty(0, np.int64)

_FEW = 10
"""Where no more than one row in so many may match, its reader decides."""

_WRITTEN_OTHERWISE = r"[:,\[ \t\r\n]-?[0-9.]+[eE]|[0-9.]{17}|0\.0000"
"""Numbers of JSON that Python, and so the screen, writes in other characters: 1E5 is 100000.0."""

OF_NUMBERS = set("0123456789-+.einfa")
"""What numbers are shown with."""

_NUMBERS_AND_BOOLEANS = set("0123456789eE+-.truefalsn")
"""What JSON writes outside of texts, but for `null`, which no search finds."""

_HEAD = 100
"""Stretches that tell whether most have the words."""

_SPARSE = 3
"""Where no more than one row in so many has the words, those rows are looked at alone."""

_ROUNDS = 100
"""Words that stand so often in keys of a row are for its reader."""


class Places(NamedTuple):
    """Rows, in order, that surely hold the words, and others that may; no other row does."""

    sure: Rows = _NOTHING
    maybe: Rows = _NOTHING

    def moved(self, by: int) -> "Places":
        return Places(self.sure + by, self.maybe + by)

    def or_maybe(self, rows: Rows) -> "Places":
        """With more rows that may hold them."""
        return Places(self.sure, np.setdiff1d(np.union1d(self.maybe, rows), self.sure, assume_unique=True))


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
    inside: Inside | None = None
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
        # Only of words that a number may be shown with: looking for such numbers is a pass over the block.
        numeric = kind == "json" and set(self.words) <= OF_NUMBERS
        odd = found_in(block, starts, _WRITTEN_OTHERWISE) if numeric else None
        if self.words.encode() not in block:
            return Places() if odd is None else Places(maybe=np.flatnonzero(odd))
        places = self.first(block, starts[:-1], starts[1:])
        if kind == "json":
            found = self._in_texts(block, starts, places)
            return found if odd is None else found.or_maybe(np.flatnonzero(odd))
        rows = np.flatnonzero(places >= 0)
        one_cell = kind == "text" or not (self.more or re.search(r"[^\w .-]", self.words))
        return Places(sure=rows) if self.whole and one_cell else Places(maybe=rows)

    def first(self, block: bytes, starts: Rows, ends: Rows) -> Rows:
        """Where the words stand first in each stretch of a block; -1 where they do not. Stretches ascend."""
        begins, stops = starts.tolist(), ends.tolist()
        if not self.more:
            each = map(block.find, itertools.repeat(self.words.encode()), begins, stops)
            head = list(itertools.islice(each, _HEAD))
            if 2 * sum(at >= 0 for at in head) > len(head):  # most have them: then looking into each is faster
                return np.array([*head, *each], np.int64)
        if self.more:
            search = _expression(self.words, self.more).search

            def look(start: int, end: int) -> int:
                match = search(block, start, end)
                return -1 if match is None else match.start()
        else:
            look = functools.partial(block.find, self.words.encode())
        places, row, last = [-1] * len(stops), 0, len(block)
        at = look(begins[0], last) if begins else -1
        while at >= 0:
            row = bisect.bisect_right(stops, at, row)
            if row == len(stops):
                break
            if at < begins[row]:
                at = look(begins[row], last)
                continue
            # What goes on into the next stretch is looked at once more without it.
            places[row] = at if not self.more and at + len(self.words) <= stops[row] else look(at, stops[row])
            at = look(stops[row], last)
        return np.array(places, np.int64)

    def _in_texts(self, block: bytes, starts: Rows, places: Rows) -> Places:
        """Of rows of JSON with the words, first at these places, those with a text that holds them."""
        rows = np.flatnonzero(places >= 0)
        if not self.whole:
            return Places(maybe=rows)
        if len(rows) * _SPARSE < len(places):  # the quotes of the others need not be looked for
            sizes = starts[rows + 1] - starts[rows]
            alone = np.concatenate([[0], np.cumsum(sizes)])
            few = b"".join(
                block[start : start + size] for start, size in zip(starts[rows].tolist(), sizes.tolist(), strict=True)
            )
            found = self._in_texts(few, alone, places[rows] - starts[rows] + alone[:-1])
            return Places(rows[found.sure], rows[found.maybe])
        sure, maybe = np.zeros(len(places), bool), np.zeros(len(places), bool)
        quotes = Quotes(block, starts)
        places = places[rows]
        for _ in range(_ROUNDS):
            inside, outside = quotes.around(rows, places)
            escaped = quotes.may_be_escape(places)
            sure[rows] = inside & ~escaped
            maybe[rows] |= inside & escaped
            if set(self.words) <= _NUMBERS_AND_BOOLEANS:
                maybe[rows] |= outside
            again = ~(inside & ~escaped)
            rows = rows[again]
            places = self.first(block, places[again] + 1, starts[rows + 1])
            rows, places = rows[places >= 0], places[places >= 0]
            if not len(rows):
                break
        maybe[rows] = True
        return Places(np.flatnonzero(sure), np.flatnonzero(maybe & ~sure))

    def _expressed(self, block: bytes, starts: Rows, kind: Kind) -> Places:
        """Rows that may match the expression."""
        wanted = of_json(self.expression) if kind == "json" and self.expression else None
        found = found_in(block, starts, wanted) if wanted else None
        rows = np.arange(len(starts) - 1) if found is None else np.flatnonzero(found)
        quoted = in_quotes(self.expression) if found is not None and len(rows) * _FEW > len(starts) else None
        places = first_in(block, starts, quoted.expression) if quoted is not None else None
        if quoted is None or places is None:
            return Places(maybe=rows)
        # What an escape says is not looked at.
        data = np.frombuffer(block, np.uint8)
        plain = (places >= 0) & ~stretches_with((data == ord("\\")) | (data > 127), starts)
        sure = np.flatnonzero(plain)
        inside, _ = Quotes(block, starts).around(sure, places[sure] + quoted.begins)
        sure = sure[inside]
        return Places(sure, np.setdiff1d(rows, sure, assume_unique=True))


@functools.lru_cache(maxsize=32)
def _expression(words: str, more: str) -> re.Pattern[bytes]:
    return re.compile(f"{re.escape(words)}{more}".encode())


_TRANSPARENT = re.compile(
    r"(?:[A-Za-z0-9 ,;:!_-]|\[(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|[A-Za-z0-9 _])+\]|[*+?]|\{\d*,?\d*\})*"
)


def transparent(words: str, more: str) -> bool:
    """Whether these words and the expression that follows them match in a file as they do in its texts."""
    return bool(re.search(f"[^{_OUTSIDE}]", words) and _TRANSPARENT.fullmatch(more))
