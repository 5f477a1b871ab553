"""Rows come to one number for each subject, with its interval, and subjects are compared over the rows they share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuiwb.evaluate import bootstrap, metrics
from tuiwb.evaluate.spec import Spec

Values = dict[int, tuple[float, float]]
"""By row: what is added up, and its weight."""


class Aggregate:
    """How rows come to one number.

    Args:
        values: by subject and row.
        transform: of the mean; perplexity is the exponential of one.
        counts: for BLEU: what is added up instead of values.
    """

    def __init__(
        self,
        values: Mapping[str, Values],
        *,
        transform: Callable[[float], float] = float,
        counts: Mapping[str, Mapping[int, list[int]]] | None = None,
        about: str = "",
    ) -> None:
        self.values, self.transform, self.counts, self.about = values, transform, counts, about

    def of(self, subject: str, rows: Sequence[int], drawn: Any) -> tuple[float, Any]:
        import numpy as np

        if self.counts is not None:
            return bootstrap.summed(np.array([self.counts[subject][row] for row in rows]), metrics.corpus_bleu, drawn)
        pairs = np.array([self.values[subject][row] for row in rows], dtype=float)
        value, resampled = bootstrap.ratio(pairs[:, 0], pairs[:, 1], drawn)
        return self.transform(value), np.vectorize(self.transform)(resampled)


def compared(label: str, aggregate: Aggregate, *, higher: bool, names: Sequence[str], spec: Spec) -> dict[str, Any]:
    """One entry of a report's `results`.

    Args:
        higher: whether more is better.
        names: the subjects; the others are compared with the first.
    """
    values, differences = dict[str, dict[str, float]](), dict[str, dict[str, float]]()
    base = aggregate.values.get(names[0], {})
    for name in names:
        mine = aggregate.values.get(name, {})
        if not mine:
            continue
        rows = sorted(mine)
        drawn = bootstrap.draws(len(rows), spec.resamples, spec.seed)
        value, resampled = aggregate.of(name, rows, drawn)
        values[name] = {**bootstrap.estimate(value, resampled).to_json(), "rows": len(rows)}
        shared = sorted(mine.keys() & base.keys())
        if name == names[0] or not shared:
            continue
        drawn = bootstrap.draws(len(shared), spec.resamples, spec.seed)
        ours, ours_resampled = aggregate.of(name, shared, drawn)
        theirs, theirs_resampled = aggregate.of(names[0], shared, drawn)
        change = bootstrap.estimate(ours - theirs, ours_resampled - theirs_resampled)
        differences[name] = {**change.to_json(), "rows": len(shared), **_counted(higher, mine, base, shared)}
    return {
        "metric": label,
        "higher_is_better": higher,
        "about": aggregate.about,
        "values": values,
        "differences": differences,
    }


def _counted(higher: bool, mine: Values, base: Values, rows: Sequence[int]) -> dict[str, int]:
    """Rows that got better, worse, or stayed; none for BLEU, which is not of rows."""
    changes = [mine[row][0] / mine[row][1] - base[row][0] / base[row][1] for row in rows]
    up, down = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    better, worse = (up, down) if higher else (down, up)
    return {"better": better, "worse": worse, "equal": len(rows) - up - down}
