"""Which places in rows of JSON, as they are written, stand in a text: told by the quotes around them."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_QUOTE, _BACKSLASH, _COLON, _U = b'"\\:u'
_WHITE = tuple(b" \n\r\t")
_MOST_WHITE = 64
"""White space between a key and its colon; behind more, a key is taken for a text and then read."""


class Quotes:
    """The quotes of a block that begin and end its texts."""

    def __init__(self, block: bytes, starts: Rows) -> None:
        """
        Args:
            block: the bytes of the rows.
            starts: `(n + 1,)`, where each row starts in it, and the end.
        """
        self._data = np.frombuffer(block, np.uint8)
        self._ends = starts[1:]
        quotes = np.flatnonzero(self._data == _QUOTE)
        if b"\\" in block:
            quotes = quotes[~self._escaped(quotes)]
        self._quotes = quotes
        self._first = np.searchsorted(quotes, starts[:-1])

    def _escaped(self, quotes: Rows) -> Mask:
        """Which quotes follow an odd number of backslashes."""
        slashes = np.flatnonzero(self._data == _BACKSLASH)
        begins = slashes[np.diff(slashes, prepend=-2) != 1]  # of each run of them
        escaped: Mask = (quotes > 0) & (self._data[quotes - 1] == _BACKSLASH)
        behind = quotes[escaped]
        escaped[escaped] = (behind - begins[np.searchsorted(begins, behind) - 1]) % 2 == 1
        return escaped

    def around(self, rows: Rows, places: Rows) -> tuple[Mask, Mask]:
        """For each place, in its row: whether a text that is no key is around it, and whether no text is.

        Args:
            places: in the block; none is that of a quote.
        """
        if not len(self._quotes):
            return np.zeros(len(places), bool), np.ones(len(places), bool)
        following = np.searchsorted(self._quotes, places)
        inside = (following - self._first[rows]) % 2 == 1
        close = self._quotes[np.minimum(following, len(self._quotes) - 1)]
        closed = inside & (close < self._ends[rows]) & (close > places)
        return closed & ~self._before_a_colon(close), ~inside

    def _before_a_colon(self, close: Rows) -> Mask:
        after, last = close + 1, len(self._data) - 1
        for _ in range(_MOST_WHITE):
            white = np.isin(self._data[np.minimum(after, last)], _WHITE) & (after < last)
            if not white.any():
                break
            after = after + white
        colons: Mask = (after <= last) & (self._data[np.minimum(after, last)] == _COLON)
        return colons

    def may_be_escape(self, places: Rows) -> Mask:
        """Whether what stands at a place may be a part of an escape that begins before it."""
        found: Mask = self._data[places - 1] == _BACKSLASH
        for back in range(1, 5):
            found |= (self._data[places - back] == _U) & (self._data[places - back - 1] == _BACKSLASH)
        return found
