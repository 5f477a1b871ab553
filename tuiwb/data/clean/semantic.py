"""The steps that compare what rows mean, by the vectors of a local model: duplicates and evaluations in other words."""

from array import array
from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from tuiwb.base.tasks import Task
from tuiwb.data.clean.compare import Collector, CompareStep, Found, Others
from tuiwb.data.clean.embed import Vectors, vectors
from tuiwb.data.clean.texts import Side, Texts

_BLOCK = 512
_SIDE = 16_384
_NEAR = 0.03
"""Rows that fall short of the threshold by no more are near misses."""

Cosine = Annotated[float, msgspec.Meta(gt=0, le=1)]
Numbers = npt.NDArray[np.int64]


class _Semantic(CompareStep, frozen=True, kw_only=True):
    model: str
    """A folder, or a name under your models: any model of transformers, or one of sentence-transformers."""
    threshold: Cosine = 0.9
    """Cosine from which two texts mean the same."""

    among: ClassVar[bool] = True
    """Whether rows are compared with each other, too."""

    def said(self, text: Texts) -> str:
        raise NotImplementedError

    def why(self, likeness: float, what: str) -> str:
        """Why a row is left out."""
        raise NotImplementedError

    def collector(self, task: Task) -> Collector:
        return _Meanings(self, task)


class SemanticDuplicates(_Semantic, frozen=True, kw_only=True):
    name = "semantic_duplicates"
    summary = "rows that mean the same as an earlier one, by the vectors of a local model"
    of: Side = "example"

    def said(self, text: Texts) -> str:
        return text.of(self.of)

    def why(self, likeness: float, what: str) -> str:
        return f"means the same as {what} (cosine {likeness:.3f})"


class SemanticContamination(_Semantic, frozen=True, kw_only=True):
    name = "semantic_contamination"
    summary = "rows that ask what an evaluation asks, by the vectors of a local model"
    among: ClassVar[bool] = False
    clusters: ClassVar[bool] = False

    def check(self) -> str:
        return "" if self.against else "needs against: the files of the evaluation"

    def said(self, text: Texts) -> str:
        return text.prompt or text.of("example")

    def why(self, likeness: float, what: str) -> str:
        return f"asks what {what} asks (cosine {likeness:.3f})"


SEMANTIC_STEPS: tuple[type[CompareStep], ...] = (SemanticDuplicates, SemanticContamination)


class _Meanings:
    def __init__(self, step: _Semantic, task: Task) -> None:
        self._step = step
        self._rows = array("q")
        self._texts: list[str] = []
        self._others = Others(step.against, lambda text: self._texts.append(step.said(text)), task)

    def add(self, row: int, text: Texts) -> None:
        self._rows.append(row)
        self._texts.append(self._step.said(text))

    def finish(self, alive: Callable[[int], bool], task: Task) -> tuple[list[Found], list[Found]]:
        if not self._rows:
            return [], []
        step, others = self._step, len(self._others)
        here = np.array([n for n, row in enumerate(self._rows) if alive(row)], np.int64) + others
        found, near = closest(vectors(self._texts, step.model, task), step.threshold, others, here, step.among, task)
        return [self._found(*one) for one in found], [self._found(*one) for one in near]

    def _found(self, later: int, earlier: int, likeness: float) -> Found:
        others = len(self._others)
        row = self._rows[later - others]
        if earlier >= others:
            twin = self._rows[earlier - others]
            return Found(row, twin, likeness, self._step.why(likeness, f"row {twin:,}"))
        file, twin = self._others.place(earlier)
        return Found(row, twin, likeness, self._step.why(likeness, self._others.words(earlier)), file)


Pair = tuple[int, int, float]
"""A text, the one that it is close to, and their cosine."""


def closest(
    of: Vectors, threshold: float, others: int, here: Numbers, among: bool, task: Task
) -> tuple[list[Pair], list[Pair]]:
    """The texts that are close to one of the first `others` or, with `among`, to an earlier one that stays; and the
    near misses, the nearest first. Only what stays is compared with, so that one text of each cluster survives.

    Args:
        of: vectors of length 1, or 0 for a text that is like none.
        here: the numbers of the texts to judge, ascending.
    """
    stay = list(range(others))
    found: list[Pair] = []
    near: list[Pair] = []
    for start in range(0, len(here), _BLOCK):
        task.step("comparing", start, len(here), "rows")
        block = here[start : start + _BLOCK]
        best, twin = _best(of, block, np.array(stay, np.int64))
        inside = of[block] @ of[block].T if among else np.zeros((len(block), 0), np.float32)
        new: list[int] = []
        for place, number in enumerate(block.tolist()):
            if new and inside[place, new].max() > best[place]:
                closer = new[int(inside[place, new].argmax())]
                best[place], twin[place] = inside[place, closer], block[closer]
            pair = (number, int(twin[place]), min(float(best[place]), 1.0))
            if best[place] >= threshold:
                found.append(pair)
                continue
            if best[place] >= threshold - _NEAR:
                near.append(pair)
            if among:
                new.append(place)
        stay += block[new].tolist()
    return found, sorted(near, key=lambda pair: -pair[2])[:200]


def _best(of: Vectors, block: Numbers, stay: Numbers) -> tuple[Vectors, Numbers]:
    """For each text of a block the greatest cosine to those that stay, and with which."""
    best, twin = np.full(len(block), -1, np.float32), np.zeros(len(block), np.int64)
    for at in range(0, len(stay), _SIDE):
        some = stay[at : at + _SIDE]
        cosines = of[block] @ of[some].T
        place = cosines.argmax(1)
        value = cosines[np.arange(len(block)), place]
        better = value > best
        best[better], twin[better] = value[better], some[place[better]]
    return best, twin
