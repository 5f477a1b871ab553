"""Numbers that tell good text from bad: lengths, shares, repetition. Thresholds are the steps' matter.

Repetition follows Rae et al. 2021 (Gopher), table A1: shares of lines, paragraphs and runs of words that occur twice.
"""

import re
from collections import Counter
from collections.abc import Iterator

_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"')\]]+")
_HASHES = re.compile(r"#|\.\.\.|…")
_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"\w+")

# Share of characters, or of lines, that may be repeated (Gopher, table A1).
_LINES, _LINE_CHARACTERS = 0.30, 0.20
_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_ENOUGH_WORDS = 50
"""Runs of words are judged from so many words on: short answers repeat words without being repetitive."""
_ENOUGH_LINES = 4


def url_share(text: str) -> float:
    """Share of the characters that belong to URLs."""
    if "://" not in text and "www." not in text:
        return 0.0
    return sum(len(url) for url in _URL.findall(text)) / max(len(text.strip()), 1)


def digit_share(text: str) -> float:
    """Share of the characters, white space apart, that are digits."""
    return sum(map(len, _DIGITS.findall(text))) / max(len("".join(text.split())), 1)


def symbol_share(text: str) -> float:
    """Number signs and ellipses for each word (Gopher)."""
    return len(_HASHES.findall(text)) / max(len(text.split()), 1)


def repetition(text: str) -> tuple[float, str]:
    """How much of a text is said twice: the worst of Gopher's rules as a share of its limit (above 1 is too much), and
    which rule in words."""
    return max(_repetitions(text), default=(0.0, ""))


def _repetitions(text: str) -> Iterator[tuple[float, str]]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) >= _ENOUGH_LINES:
        repeated = [line for line, times in Counter(lines).items() for _ in range(times - 1)]
        share = len(repeated) / len(lines)
        yield share / _LINES, f"{share:.0%} of the lines are repeated"
        share = sum(map(len, repeated)) / max(sum(map(len, lines)), 1)
        yield share / _LINE_CHARACTERS, f"{share:.0%} of the characters are in repeated lines"
    words = _WORD.findall(text.lower())
    if len(words) < _ENOUGH_WORDS:
        return
    total = sum(map(len, words))
    for size, limit in _TOP.items():
        (gram, times), *_ = Counter(zip(*(words[place:] for place in range(size)), strict=False)).most_common(1)
        share = times * sum(map(len, gram)) / total if times > 1 else 0.0
        yield share / limit, f'"{" ".join(gram)}" makes up {share:.0%} of the text'
    for size, limit in _REPEATED.items():
        share = _repeated_share(words, size) / total
        if not share:
            return  # a run that is not repeated is in no longer run that is
        yield share / limit, f"{share:.0%} of the text is in repeated runs of {size} words"


def _repeated_share(words: list[str], size: int) -> int:
    """Characters in runs of words that occurred before, each counted once."""
    seen: set[tuple[str, ...]] = set()
    repeated = 0
    counted = 0
    for place, gram in enumerate(zip(*(words[start:] for start in range(size)), strict=False)):
        if gram in seen:
            repeated += sum(map(len, words[max(counted, place) : place + size]))
            counted = place + size
        else:
            seen.add(gram)
    return repeated
