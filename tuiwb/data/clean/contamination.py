"""Whether evaluation prompts stand in the rows to train on: n-gram coverage.

A prompt is contaminated by a row when runs of `n` of its words that also stand in that row cover enough of it (the
measure of Tülu 3's decontamination: n = 8, half of the words). Runs that many prompts share belong to the
evaluation's template, not to a question, and count on neither side.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tuiwb.data.clean.words import Hashes, Numbers, batches, grams, normalise, words

N = 8
COVER = 0.5

_SHARED = 0.02
_SHARED_LEAST = 10
_FILTER_BITS = 22


class Match(NamedTuple):
    """A row that holds a prompt, or a part of one: `cover` is the share of the prompt's words."""

    row: int
    prompt: int
    cover: float


class Prompts:
    """The prompts of an evaluation, ready to be looked for."""

    def __init__(self, prompts: Sequence[str], n: int = N) -> None:
        """
        Args:
            prompts: their texts. Those with fewer than `n` words are only found where they are a row's whole prompt.
        """
        self.n = n
        texts = [normalise(prompt) for prompt in prompts]
        self.short: dict[bytes, int] = {}
        hashes: list[Hashes] = []
        prompt_of: list[Numbers] = []
        places: list[Numbers] = []
        for first, end in batches(texts):
            of = words(texts[first:end])
            found, begins = grams(of, n)
            owner = of.text_of()[begins] if len(begins) else begins
            hashes.append(found)
            prompt_of.append(owner + first)
            places.append(begins - of.starts[owner])
            for number in np.flatnonzero((of.counts < n) & (of.counts > 0)).tolist():
                self.short.setdefault(squeezed(texts[first + number]), first + number)
        if hashes:
            self._index(np.concatenate(hashes), np.concatenate(prompt_of), np.concatenate(places), len(texts))
        else:
            self._index(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64), 0)

    def _index(self, values: Hashes, prompt: Numbers, place: Numbers, total: int) -> None:
        order = np.lexsort((place, prompt, values))
        values, prompt, place = values[order], prompt[order], place[order]
        grams_, inverse = np.unique(values, return_inverse=True)
        pairs = np.unique(inverse.astype(np.int64) * max(total, 1) + prompt)
        shared = np.bincount(pairs // max(total, 1), minlength=len(grams_)) > max(_SHARED_LEAST, _SHARED * total)
        own = ~shared[inverse] if len(inverse) else np.zeros(0, np.bool_)
        self._values, self._prompt, self._place = values[own], prompt[own], place[own]
        self._length = np.zeros(total, np.int64)
        """Words of each prompt that its own runs cover."""
        who, covered = _covered(self._prompt, self._place, self.n)
        self._length[who] = covered
        self._unique, self._first, self._times = np.unique(self._values, return_index=True, return_counts=True)
        self._filter = np.zeros(1 << _FILTER_BITS, np.bool_)
        self._filter[(self._unique >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)] = True

    def look(self, texts: list[bytes]) -> list[Match]:
        """The best match of each of these normalised texts; those without any are left out."""
        best: dict[int, Match] = {}
        for first, end in batches(texts):
            of = words(texts[first:end])
            hashes, begins = grams(of, self.n)
            likely = np.flatnonzero(self._filter[(hashes >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)])
            if not len(likely) or not len(self._unique):
                continue
            at = np.searchsorted(self._unique, hashes[likely])
            at[at == len(self._unique)] = 0
            hit = self._unique[at] == hashes[likely]
            likely, at = likely[hit], at[hit]
            times = self._times[at]
            row = np.repeat(of.text_of()[begins[likely]], times)
            step = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
            posting = np.repeat(self._first[at], times) + step
            self._best(row + first, self._prompt[posting], self._place[posting], best)
        return [best[row] for row in sorted(best)]

    def _best(self, row: Numbers, prompt: Numbers, place: Numbers, best: dict[int, Match]) -> None:
        total = len(self._length)
        keys, covered = _covered(row * total + prompt, place, self.n)
        rows, prompts = np.divmod(keys, total)
        covers = covered / self._length[prompts]
        for number, which, cover in zip(rows.tolist(), prompts.tolist(), covers.tolist(), strict=True):
            known = best.get(number)
            if known is None or cover > known.cover:
                best[number] = Match(number, which, cover)


def squeezed(text: bytes) -> bytes:
    """A normalised text with single spaces."""
    return b" ".join(text.split())


def _covered(group: Numbers, place: Numbers, n: int) -> tuple[Numbers, Numbers]:
    """Groups, and how many words the runs that begin at these places cover in each."""
    if not len(group):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = np.lexsort((place, group))
    group, place = group[order], place[order]
    new = np.ones(len(group), np.bool_)
    new[1:] = group[1:] != group[:-1]
    added = np.full(len(group), n, np.int64)
    added[1:] = np.where(new[1:], n, np.minimum(place[1:] - place[:-1], n))
    firsts = np.flatnonzero(new)
    return group[firsts], np.add.reduceat(added, firsts)
