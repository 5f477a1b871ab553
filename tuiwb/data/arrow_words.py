"""Words in arrow's columns, looked for without making Python values of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.data.expressions import found_in, of_texts, stretches_with
from tuiwb.data.needle import OF_NUMBERS, Inside, Needle, Places

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


def holding(table: Any, needle: Needle) -> Places:
    """The rows of a table or record batch with a text that holds the words; those where a value that is no text, such
    as a date, may be written so are open."""
    sure, maybe = np.zeros(table.num_rows, bool), np.zeros(table.num_rows, bool)
    for column in table.columns:
        chunks = column.chunks if hasattr(column, "chunks") else [column]
        at = 0
        for chunk in chunks:
            found, possible = _look(chunk, needle)
            sure[at : at + len(chunk)] |= found
            maybe[at : at + len(chunk)] |= possible
            at += len(chunk)
    if not needle.whole and needle.inside is None:
        sure, maybe = np.zeros_like(sure), sure | maybe
    return Places(np.flatnonzero(sure), np.flatnonzero(maybe & ~sure))


def _look(array: Any, needle: Needle) -> tuple[Mask, Mask]:
    """For each value of an array, whether it holds the words, and whether it may."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, none = array.type, np.zeros(len(array), bool)
    if pa.types.is_null(kind):
        return none, none
    if isinstance(array, pa.ExtensionArray):
        return _look(array.storage, needle)
    if pa.types.is_dictionary(kind):
        return _look(array.dictionary_decode(), needle)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _in_texts(array, needle), none
    if pa.types.is_struct(kind):
        parts = [_look(part, needle) for part in array.flatten()]
        return np.any([part[0] for part in parts] or [none], 0), np.any([part[1] for part in parts] or [none], 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        sure, maybe = none, none.copy()
        found, possible = _look(array.flatten(), needle)
        parents = pc.list_parent_indices(array).to_numpy()
        sure[parents[found]] = True
        maybe[parents[possible]] = True
        return sure, maybe
    if not needle.words and pa.types.is_integer(kind):
        return _in_texts(pc.cast(array, pa.string()), needle), none
    if not needle.words and needle.inside is not None:
        if not (pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            return none, ~none
        inside = needle.inside
        said = (str(value).lower() if type(value) is bool else str(value) for value in array.to_pylist())
        missing = ~array.is_valid().to_numpy(zero_copy_only=False)
        return np.fromiter((bool(inside(text)) for text in said), bool, len(array)) & ~missing, none
    if pa.types.is_integer(kind):
        if needle.more or not set(needle.words) <= OF_NUMBERS:
            return none, none
        return _in_texts(pc.cast(array, pa.string()), needle), none
    if pa.types.is_boolean(kind):
        return none, none | (needle.words.lower() in "true" or needle.words.lower() in "false")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return none, none | (set(needle.words.lower()) <= OF_NUMBERS)
    return none, ~none


def _in_texts(array: Any, needle: Needle) -> Mask:
    """Which texts hold the words, looked for in the bytes of all of them together."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return np.zeros(len(array), bool)
    wide = np.int64 if str(array.type).startswith("large") else np.int32
    places = np.frombuffer(offsets, wide)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    block = data.slice(int(places[0]), int(places[-1] - places[0])).to_pybytes()
    bounds = places - places[0]
    mask = _expressed(block, bounds, needle) if needle.expression or not needle.words else None
    if mask is None:
        mask = _with_words(block, bounds, needle)
    return mask & array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else mask


def _with_words(block: bytes, bounds: Rows, needle: Needle) -> Mask:
    """The texts with the words."""
    where = block.lower() if needle.fold else block
    if needle.words.encode() not in where:
        return np.zeros(len(bounds) - 1, bool)
    found = needle.first(where, bounds[:-1], bounds[1:]) >= 0
    return found if needle.inside is None else _those(block, bounds, found, needle.inside)


def _expressed(block: bytes, bounds: Rows, needle: Needle) -> Mask | None:
    """The texts that are what is looked for: of ASCII by RE2, others by Python. None where RE2 cannot tell and words
    let some be passed over."""
    inside = needle.inside
    assert inside is not None
    wanted = of_texts(needle.expression) if needle.expression else None
    found = found_in(block, bounds, wanted) if wanted else None
    if found is None:
        return None if needle.words else _those(block, bounds, np.ones(len(bounds) - 1, bool), inside)
    if not block.isascii():
        by_python = stretches_with(np.frombuffer(block, np.uint8) > 127, bounds)
        found = (found & ~by_python) | _those(block, bounds, by_python, inside)
    return found


def _those(block: bytes, bounds: Rows, rows: Mask, inside: Inside) -> Mask:
    """Of these texts, those that are what is looked for."""
    found = rows.copy()
    for row in np.flatnonzero(rows).tolist():
        found[row] = bool(inside(block[bounds[row] : bounds[row + 1]].decode("utf-8", "replace")))
    return found
