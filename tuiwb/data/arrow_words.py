"""Words in arrow's columns, looked for without making Python values of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.data.needle import Needle, Places

Mask = npt.NDArray[np.bool_]

_OF_NUMBERS = set("0123456789-+.einfa")
"""What numbers are written with."""


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
    if not needle.whole:
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
    if pa.types.is_integer(kind):
        if needle.more or not set(needle.words) <= _OF_NUMBERS:
            return none, none
        return _look(pc.cast(array, pa.string()), needle)
    if pa.types.is_boolean(kind):
        return none, none | (needle.words.lower() in "true" or needle.words.lower() in "false")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        how = pc.match_substring_regex if needle.more else pc.match_substring
        mask = how(array, needle.words + needle.more, ignore_case=needle.fold).fill_null(False)
        return mask.to_numpy(zero_copy_only=False), none
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
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return none, none | (set(needle.words.lower()) <= _OF_NUMBERS)
    return none, ~none
