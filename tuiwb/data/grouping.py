"""Rows that say nearly the same, as groups that a split must not cut."""

import numpy as np
import numpy.typing as npt

from tuiwb.base.tasks import Task
from tuiwb.data.turns import BadRow
from tuiwb.data.view import View

Rows = npt.NDArray[np.int64]
_STEP = 1000


def joined(count: int, pairs: Rows) -> Rows:
    """The number of the group of each of `count` rows, where pairs `(n, 2)` are in one group, and so on from pair to
    pair."""
    parent = list(range(count))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for first, second in pairs.tolist():
        one, other = root(first), root(second)
        if one != other:
            parent[max(one, other)] = min(one, other)
    return np.asarray([root(number) for number in range(count)], np.int64)


def near_groups(view: View, threshold: float, task: Task) -> Rows:
    """For each row a number that near-duplicates share; the same measure as `tuiwb data dedup`."""
    from tuiwb.data.clean.minhash import alike, shingles
    from tuiwb.data.clean.texts import texts
    from tuiwb.data.clean.words import normalise

    total = len(view)
    said = [b""] * total
    for row in view.scan():
        if row.id % _STEP == 0:
            task.step("comparing rows", row.id, total, "rows")
        if row.fault is None:
            try:
                said[row.id] = normalise(texts(view.example(row)).of("example"))
            except BadRow:
                continue
    found = alike(shingles(said), threshold, task=task)
    close = found.similarity >= threshold
    return joined(total, np.stack([found.earlier[close], found.later[close]], axis=1).astype(np.int64))
