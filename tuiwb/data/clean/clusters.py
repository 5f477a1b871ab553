"""Rows that are alike, together: the one that stays, those that it stands for, and where they differ."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tuiwb.data.clean.compare import CompareStep
from tuiwb.data.clean.run import Cleaned, Removal

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")
_LONGEST = 4000
"""Words and signs that are compared one by one; two longer texts are shown as one instead of the other."""

Change = Literal["same", "out", "in"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """`kept` stays (of `file`, where that is another one); the others are left out because of it."""

    kept: int
    file: str
    members: tuple[Removal, ...]


def clusters(cleaned: Cleaned) -> list[Cluster]:
    """The clusters that comparing steps found, the largest first."""
    found: dict[tuple[str, int], list[Removal]] = {}
    for removal in cleaned.removals.values():
        step = cleaned.steps[removal.step] if removal.step >= 0 else None
        if isinstance(step, CompareStep) and step.clusters and removal.twin is not None:
            found.setdefault((removal.file, removal.twin), []).append(removal)
    made = [Cluster(row, file, tuple(members)) for (file, row), members in found.items()]
    return sorted(made, key=lambda cluster: (-len(cluster.members), cluster.file, cluster.kept))


def beside_their_twins(cleaned: Cleaned, step: int) -> dict[int, int]:
    """The rows that a comparing step leaves out, each with the row of this source that stays for it, one cluster after
    the other; the largest first. Empty where the step compares with other files alone, or finds no clusters."""
    return {
        member.row: cluster.kept
        for cluster in clusters(cleaned)
        for member in cluster.members
        if member.step == step and not cluster.file
    }


def difference(kept: str, other: str) -> list[tuple[Change, str]]:
    """How one text becomes the other, word by word: `out` stands in `kept` alone, `in` in `other` alone."""
    old, new = _PIECE.findall(kept), _PIECE.findall(other)
    if len(old) > _LONGEST or len(new) > _LONGEST:
        return [("same", kept)] if kept == other else [("out", kept), ("in", other)]
    found: list[tuple[Change, str]] = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what == "equal":
            found.append(("same", "".join(old[a:b])))
            continue
        parts: Iterable[tuple[Change, list[str]]] = (("out", old[a:b]), ("in", new[c:d]))
        found += [(change, "".join(part)) for change, part in parts if part]
    return found
