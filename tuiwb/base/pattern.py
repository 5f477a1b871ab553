"""Regular expressions that a user wrote, searched for within a limit of time: some patterns, such as `(a|aa)+$`, take
longer than anybody's life to find that a text does not match."""

from functools import lru_cache
from typing import Any

from tuiwb.base.errors import InputFault

PATIENCE_S = 2.0
"""CPU-seconds for one text: a thousand times what a pattern needs that does not try the same again and again."""


@lru_cache(maxsize=64)
def compiled(pattern: str, *, key: str, whole: bool = False) -> Any:
    """A pattern, as Python's `re` understands it.

    Args:
        key: what the user wrote it for.
        whole: `.` stands for a line break too.

    Raises:
        InputFault: it is none.
    """
    import regex

    try:
        return regex.compile(pattern, regex.VERSION0 | (regex.DOTALL if whole else 0))
    except regex.error as error:
        raise InputFault(f"`{pattern}` is no regular expression: {error}", key=key) from None


def matches(pattern: str, text: str, *, key: str, whole: bool = False, patience_s: float = PATIENCE_S) -> bool:
    """Whether a pattern is found in a text.

    Raises:
        InputFault: it is none, or it takes too long.
    """
    try:
        return compiled(pattern, key=key, whole=whole).search(text, timeout=patience_s) is not None
    except TimeoutError:
        raise InputFault(
            f"`{pattern}` took longer than {patience_s:g} s on a text of {len(text)} characters; a repetition within a "
            "repetition, such as (a|aa)+, tries the same again and again",
            key=key,
        ) from None
