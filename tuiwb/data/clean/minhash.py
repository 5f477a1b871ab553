"""Near-duplicates: MinHash to find rows that may be alike, the true Jaccard similarity to decide.

MinHash with banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3) proposes
pairs; each pair is verified on the whole sets of shingles (runs of words), because rows made from one template collide
often and are not duplicates. A row is left out only if it is verified to be like a row that stays, so a chain of
likenesses removes nothing, and of every cluster one row survives.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuiwb.base.tasks import Task
from tuiwb.data.clean.words import Numbers, batches, grams, whole, words

SHINGLE = 3
"""Words of a shingle."""

_SEED = 0x7475697762
_ROWS_OF_BAND = ((0.75, 6), (0.65, 5), (0.55, 4), (0.0, 3))
_MISSED = 0.01
"""Share of the pairs exactly at the threshold that the bands may miss."""

_NEIGHBOURS, _LEADERS = 32, 8
"""In a bucket of rows that look alike, each is compared with so many after it, and with so many of the first."""

_PAIRS = 1 << 20
_TOGETHER = 1 << 22
_NEAR = 0.1
"""Pairs that fall short of the threshold by no more are remembered as near misses."""

Shingles = npt.NDArray[np.uint32]
Signatures = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Sets:
    """The set of shingles of each text: sorted 32-bit hashes, `values[starts[n] : starts[n + 1]]` those of text n."""

    values: Shingles
    starts: Numbers


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts that were compared: `later` is like `earlier` (its number is less) by `similarity`, Jaccard's."""

    earlier: Numbers
    later: Numbers
    similarity: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Twins:
    """Which texts repeat an earlier one that stays."""

    kept: dict[int, tuple[int, float]]
    """Text that is left out to the one that stays and their similarity."""
    near: list[tuple[int, int, float]]
    """The pairs nearest below the threshold, as (later, earlier, similarity), the nearest first."""


def shingles(texts: list[bytes], size: int = SHINGLE) -> Sets:
    """The sets of normalised texts. A text with fewer words than a shingle is one shingle of all its words."""
    parts: list[Shingles] = []
    counts: list[Numbers] = []
    for first, end in batches(texts):
        of = words(texts[first:end])
        hashes, begins = grams(of, size)
        owner = of.text_of()[begins]
        short = np.flatnonzero((of.counts > 0) & (of.counts < size))
        keys = np.concatenate((owner.astype(np.uint64) << np.uint64(32), short.astype(np.uint64) << np.uint64(32)))
        keys |= np.concatenate((hashes, whole(of, short))) >> np.uint64(32)
        keys.sort()
        new = np.ones(len(keys), np.bool_)
        new[1:] = keys[1:] != keys[:-1]
        keys = keys[new]
        parts.append(keys.astype(np.uint32))
        counts.append(np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=end - first))
    starts = np.zeros(len(texts) + 1, np.int64)
    if counts:
        np.cumsum(np.concatenate(counts), out=starts[1:])
    return Sets(np.concatenate(parts) if parts else np.zeros(0, np.uint32), starts)


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands and rows of a band: enough that 99 of 100 pairs at the threshold share a band."""
    rows = next(rows for least, rows in _ROWS_OF_BAND if threshold >= least)
    if threshold >= 1:
        return 1, rows
    return math.ceil(math.log(_MISSED) / math.log(1 - threshold**rows)), rows


def twins(
    sets: Sets, threshold: float, *, protected: int = 0, alive: npt.NDArray[np.bool_] | None = None, task: Task
) -> Twins:
    """Find the texts that repeat an earlier one; arguments and errors as `alike`."""
    return _decide(alike(sets, threshold, protected=protected, alive=alive, task=task), threshold, protected)


def alike(
    sets: Sets, threshold: float, *, protected: int = 0, alive: npt.NDArray[np.bool_] | None = None, task: Task
) -> Pairs:
    """Find pairs of texts that are alike, and those that nearly are.

    Args:
        threshold: Jaccard similarity of the sets, above 0 and up to 1.
        protected: so many first texts are not left out, nor compared with each other.
        alive: the texts to look at; all of them by default.

    Raises:
        Cancelled: the task was cancelled.
    """
    sizes = np.diff(sets.starts)
    here = np.flatnonzero(sizes > 0 if alive is None else (sizes > 0) & alive)
    bands, rows = bands_for(threshold)
    signatures = _signatures(sets, here, bands * rows, task)
    earlier, later = _candidates(signatures, here, bands, rows, protected, task)
    return _verified(sets, signatures, here, earlier, later, threshold, task)


def _signatures(sets: Sets, here: Numbers, number: int, task: Task) -> Signatures:
    """The least value of each of `number` permutations over each set (texts x permutations)."""
    random = np.random.default_rng(_SEED)
    factors = random.integers(0, 1 << 31, number, np.uint32) * np.uint32(2) + np.uint32(1)
    flips = random.integers(0, 1 << 32, number, np.uint32)
    signatures = np.empty((len(here), number), np.uint32)
    at = 0
    while at < len(here):
        end = at + max(1, int(np.searchsorted(np.cumsum(_sizes(sets, here[at : at + 4096])), _PAIRS >> 5)))
        some = here[at:end]
        values, starts = _gather(sets, some)
        least = np.empty((number, len(some)), np.uint32)
        spread = np.empty_like(values)
        for row, (factor, flip) in enumerate(zip(factors, flips, strict=True)):
            np.bitwise_xor(values, flip, out=spread)
            np.multiply(spread, factor, out=spread)
            np.minimum.reduceat(spread, starts[:-1], out=least[row])
        signatures[at : at + len(some)] = least.T
        at += len(some)
        task.step("hashing", at, len(here), "rows")
    return signatures


def _candidates(
    signatures: Signatures, here: Numbers, bands: int, rows: int, protected: int, task: Task
) -> tuple[Numbers, Numbers]:
    """Pairs of places in `here` that share a band."""
    found = np.zeros(0, np.int64)
    total = len(here)
    for band in range(bands):
        task.step("comparing", band, bands, "bands")
        part = signatures[:, band * rows : (band + 1) * rows].astype(np.uint64)
        keys = part[:, 0].copy()
        for column in range(1, rows):
            keys *= np.uint64(0x9E3779B97F4A7C15)
            keys ^= part[:, column] + (keys >> np.uint64(29))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        same = np.flatnonzero(keys[1:] == keys[:-1])
        if not len(same):
            continue
        run = np.zeros(total, np.int64)
        np.cumsum(keys[1:] != keys[:-1], out=run[1:])
        first = np.searchsorted(run, run)
        pairs = [order[same] * total + order[same + 1]]
        left = same
        for distance in range(2, _NEIGHBOURS + 1):
            left = left[left + distance < total]
            left = left[run[left] == run[left + distance]]
            if not len(left):
                break
            pairs.append(order[left] * total + order[left + distance])
        place = np.arange(total)
        for leader in range(_LEADERS):
            far = np.flatnonzero(place - first > _NEIGHBOURS + leader)
            if not len(far):
                break
            pairs.append(order[first[far] + leader] * total + order[far])
        found = np.unique(np.concatenate((found, *pairs)))
    earlier, later = np.divmod(found, max(total, 1))
    if protected:
        decided = here[later] >= protected
        earlier, later = earlier[decided], later[decided]
    return earlier, later


def _verified(
    sets: Sets, signatures: Signatures, here: Numbers, earlier: Numbers, later: Numbers, threshold: float, task: Task
) -> Pairs:
    """The pairs whose true similarity is not far below the threshold, by the numbers of their texts."""
    kept: list[tuple[Numbers, Numbers, npt.NDArray[np.float64]]] = []
    hashes = signatures.shape[1]
    # An estimate this far off is a matter of one in a hundred thousand.
    least = threshold - _NEAR - 4.3 * math.sqrt(threshold * (1 - threshold) / hashes)
    for start in range(0, len(earlier), _PAIRS >> 3):
        task.step("verifying", start, len(earlier), "pairs")
        a, b = earlier[start : start + (_PAIRS >> 3)], later[start : start + (_PAIRS >> 3)]
        alike = (signatures[a] == signatures[b]).mean(1)
        first, second = here[a[alike >= least]], here[b[alike >= least]]
        similarity = jaccard(sets, first, second)
        near = similarity >= threshold - _NEAR
        kept.append((first[near], second[near], similarity[near]))
    if not kept:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate([part[number] for part in kept]) for number in range(3)))


def jaccard(sets: Sets, first: Numbers, second: Numbers) -> npt.NDArray[np.float64]:
    """The similarity of pairs of texts: shared shingles over all shingles."""
    result = np.zeros(len(first))
    sizes = _sizes(sets, first) + _sizes(sets, second)
    at = 0
    while at < len(first):
        end = at + max(1, int(np.searchsorted(np.cumsum(sizes[at : at + 100_000]), _TOGETHER)))
        a, b = first[at:end], second[at:end]
        keys = np.concatenate([_keys(sets, a), _keys(sets, b)])
        keys.sort()
        shared = np.bincount((keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)).astype(np.int64), minlength=len(a))
        union = sizes[at : at + len(a)] - shared
        np.divide(shared, union, out=result[at : at + len(a)], where=union > 0)
        at += len(a)
    return result


def _decide(compared: Pairs, threshold: float, protected: int) -> Twins:
    """The first of its kind stays: a text is left out when it is like an earlier one that stays."""
    enough = compared.similarity >= threshold
    order = np.lexsort((compared.earlier[enough], -compared.similarity[enough], compared.later[enough]))
    kept: dict[int, tuple[int, float]] = {}
    columns = (compared.earlier[enough][order], compared.later[enough][order], compared.similarity[enough][order])
    for earlier, later, similarity in zip(*(column.tolist() for column in columns), strict=True):
        if later not in kept and earlier not in kept and later >= protected:
            kept[later] = (earlier, similarity)
    short = np.flatnonzero(~enough)
    nearest = short[np.argsort(-compared.similarity[short])[:200]]
    near = [
        (int(compared.later[n]), int(compared.earlier[n]), float(compared.similarity[n]))
        for n in nearest
        if int(compared.later[n]) not in kept and int(compared.earlier[n]) not in kept
    ]
    return Twins(kept, near)


def _sizes(sets: Sets, texts: Numbers) -> Numbers:
    return sets.starts[texts + 1] - sets.starts[texts]


def _gather(sets: Sets, texts: Numbers) -> tuple[Shingles, Numbers]:
    """The sets of some texts, one after the other, and where each begins (texts + 1)."""
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(_sizes(sets, texts), out=starts[1:])
    if len(texts) and int(texts[-1]) - int(texts[0]) == len(texts) - 1 and np.all(np.diff(texts) == 1):
        return sets.values[sets.starts[texts[0]] : sets.starts[texts[-1] + 1]], starts
    shift = np.repeat(sets.starts[texts] - starts[:-1], np.diff(starts))
    return sets.values[np.arange(starts[-1]) + shift], starts


def _keys(sets: Sets, texts: Numbers) -> npt.NDArray[np.uint64]:
    """The shingles of some texts, each behind its place in `texts`."""
    values, starts = _gather(sets, texts)
    place = np.repeat(np.arange(len(texts), dtype=np.uint64) << np.uint64(32), np.diff(starts))
    return place | values
