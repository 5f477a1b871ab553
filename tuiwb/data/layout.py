"""A text on its way to the model: laid out, encoded, and put back together for the eye."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Truncation = Literal["keep_start", "keep_end"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text, in characters, with one author and one fate. `role` is empty for what the template writes
    by itself: headers, a default system prompt."""

    start: int
    end: int
    role: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """One rendered example.

    Attributes:
        ids: token ids, at most `max_length`.
        mask: for each id, whether it is trained. Never the first: nothing predicts it.
        text: the whole text, also what was cut off.
        segments: the text in pieces, without gaps; what was cut off is not trained.
        kept: the characters `[start, end)` of the text that the ids cover.
        truncated: tokens that were cut off.
        truncated_trained: how many of those would have been trained.
    """

    ids: list[int]
    mask: list[bool]
    text: str
    segments: tuple[Segment, ...]
    kept: tuple[int, int]
    truncated: int = 0
    truncated_trained: int = 0

    @property
    def trained(self) -> int:
        """Trained tokens."""
        return sum(self.mask)


@dataclass(frozen=True, slots=True)
class Layout:
    """A text before it is encoded: who wrote which part of it (`(end, role)` in order), which spans are trained, and
    the roles of the messages that the template left out."""

    text: str
    authors: tuple[tuple[int, str], ...]
    trained: tuple[tuple[int, int], ...]
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of a layout: `ids` int32 `(n,)`, `mask` bool `(n,)`, `ends` int64 `(n,)`, the character that each
    token's part of the text ends before, and what truncation took."""

    ids: "Array"
    mask: "Array"
    ends: "Array"
    first: int = 0
    truncated: int = 0
    truncated_trained: int = 0


def encode(ids: Sequence[int], offsets: Sequence[tuple[int, int]], layout: Layout) -> Encoded:
    """The mask of a text's tokens.

    Args:
        ids, offsets: the encoding of the layout's text: token ids and the characters `(start, end)` of each.
    """
    import numpy as np

    count = len(ids)
    places = np.asarray(offsets, dtype=np.int64).reshape(count, 2)
    # Some tokenizers leave the space before a word out of its offsets, and a character of several bytes may be
    # several tokens of one place: a token covers everything since the one before it, and at least its own place.
    ends = np.maximum.accumulate(places[:, 1]) if count else places[:, 1]
    starts = np.minimum(places[:, 0], np.concatenate([[0], ends[:-1]])) if count else places[:, 0]
    mask = np.zeros(count, dtype=bool)
    for begin, end in layout.trained:
        mask |= (starts < end) & (ends > begin)
    mask[:1] = False
    return Encoded(np.asarray(ids, dtype=np.int32), mask, ends)


def cut(encoded: Encoded, max_length: int | None, truncation: Truncation) -> Encoded:
    """Keep at most `max_length` tokens, and count what is lost."""
    length = len(encoded.ids)
    if max_length is None or length <= max_length:
        return encoded
    keep = slice(0, max_length) if truncation == "keep_start" else slice(length - max_length, length)
    mask = encoded.mask[keep].copy()
    mask[:1] = False
    first = 0 if keep.start == 0 else int(encoded.ends[keep.start - 1])
    lost = int(encoded.mask.sum()) - int(mask.sum())
    return Encoded(encoded.ids[keep], mask, encoded.ends[keep], first, length - max_length, lost)


def reassemble(layout: Layout, encoded: Encoded) -> Rendered:
    """The tokens with the text they came from."""
    mask = encoded.mask.tolist()
    ends = encoded.ends.tolist()
    kept = (encoded.first, ends[-1] if ends else encoded.first)
    if not encoded.truncated:
        kept = (0, len(layout.text))
    trained = [(encoded.first, False)] if encoded.first else []
    trained += [(ends[end - 1], mask[start]) for start, end in runs(mask)]
    if not trained or trained[-1][0] < len(layout.text):
        trained.append((len(layout.text), False))
    return Rendered(
        encoded.ids.tolist(),
        mask,
        layout.text,
        tuple(_pieces(len(layout.text), layout.authors, trained)),
        kept,
        encoded.truncated,
        encoded.truncated_trained,
    )


def _pieces(length: int, authors: Sequence[tuple[int, str]], trained: Sequence[tuple[int, bool]]) -> Iterator[Segment]:
    """Both divisions of the text, each given by where its pieces end, at once."""
    at = 0
    for end in sorted({end for end, _ in authors} | {end for end, _ in trained}):
        if at < end <= length:
            role = next((role for close, role in authors if close >= end), "")
            yield Segment(at, end, role, next((flag for close, flag in trained if close >= end), False))
            at = end


def runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """`[start, end)` of each longest run of one value."""
    start = 0
    for at in range(1, len(flags) + 1):
        if at == len(flags) or flags[at] != flags[start]:
            yield start, at
            start = at
