"""The steps that compare rows: exact duplicates, near-duplicates, contamination by an evaluation."""

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data.clean.contamination import COVER, N, Prompts, squeezed
from tuiwb.data.clean.minhash import SHINGLE, Sets, shingles, twins
from tuiwb.data.clean.steps import Share, Step
from tuiwb.data.clean.texts import Side, Texts, texts
from tuiwb.data.clean.words import normalise
from tuiwb.data.turns import BadRow

THRESHOLDS = {"strict": 0.8, "normal": 0.7, "loose": 0.5}

_FLUSH = 4 << 20
# Signs that make a difference between two sums or two programs stay; other punctuation does not count.
_NO_SIGN = re.compile(r"[^\w+\-*/=<>^%&|~$€£]+")
_ASCII_SIGNS = bytes(ord(" ") if _NO_SIGN.match(chr(code)) else ord(chr(code).lower()) for code in range(128)) + bytes(
    128
)


class Found(NamedTuple):
    """A row that a comparison flags, or nearly does. `twin` is the row that it repeats, of `file` where it is another
    one."""

    row: int
    twin: int
    likeness: float
    why: str
    file: str = ""


class Collector(Protocol):
    """What compares: it is given every row that the steps before have left, and then says what it found."""

    def add(self, row: int, text: Texts) -> None: ...

    def finish(self, alive: Callable[[int], bool], task: Task) -> tuple[list[Found], list[Found]]:
        """The rows to leave out and the near misses. `alive` says which rows are still there by now."""


class CompareStep(Step, frozen=True, kw_only=True):
    """A step that compares rows, with each other and with those of other files, which stay."""

    against: tuple[str, ...] = ()
    clusters: ClassVar[bool] = True
    """Whether a row that is left out repeats its twin, instead of holding something of it."""

    def collector(self, task: Task) -> Collector:
        """
        Raises:
            InputFault: a file to compare with is at fault.
        """
        raise NotImplementedError


class ExactDuplicates(CompareStep, frozen=True, kw_only=True):
    name = "exact_duplicates"
    summary = "rows that say the same, whatever their case, spaces and punctuation"
    of: Side = "example"

    def collector(self, task: Task) -> Collector:
        return _Exact(self, task)


class NearDuplicates(CompareStep, frozen=True, kw_only=True):
    name = "near_duplicates"
    summary = "rows that share most of their runs of words with an earlier one"
    of: Side = "example"
    threshold: Literal["strict", "normal", "loose"] | Annotated[float, msgspec.Meta(gt=0, le=1)] = "strict"
    """Jaccard similarity from which rows are alike: strict is 0.8, normal 0.7, loose 0.5."""
    shingle: Annotated[int, msgspec.Meta(ge=1, le=20)] = SHINGLE
    """Words of a run."""

    @property
    def similarity(self) -> float:
        return THRESHOLDS[self.threshold] if isinstance(self.threshold, str) else self.threshold

    def collector(self, task: Task) -> Collector:
        return _Near(self, task)


class Contamination(CompareStep, frozen=True, kw_only=True):
    name = "contamination"
    summary = "rows that hold prompts of an evaluation"
    clusters: ClassVar[bool] = False
    n: Annotated[int, msgspec.Meta(ge=2, le=50)] = N
    """Words of a run that counts."""
    cover: Share = COVER
    """Share of a prompt's words in such runs from which a row is contaminated."""

    def check(self) -> str:
        return "" if self.against else "needs against: the files of the evaluation"

    def collector(self, task: Task) -> Collector:
        return _Contaminated(self, task)


COMPARE_STEPS: tuple[type[CompareStep], ...] = (ExactDuplicates, NearDuplicates, Contamination)


class Others:
    """Rows of other files, in one line."""

    def __init__(self, files: tuple[str, ...], use: Callable[[Texts], None], task: Task) -> None:
        from tuiwb import data

        self._places: list[tuple[str, int]] = []
        for file in files:
            with data.open(file, task=task) as view:
                for done, row in enumerate(view.scan()):
                    if done % 1000 == 0:
                        task.step(f"reading {Path(file).name}", done, view.known, "rows")
                    try:
                        use(texts(view.translate(row)))
                    except BadRow:
                        continue
                    self._places.append((file, row.id))
        if files and not self._places:
            raise InputFault("there is nothing in it to compare with", file=files[0], key="against")

    def __len__(self) -> int:
        return len(self._places)

    def place(self, number: int) -> tuple[str, int]:
        return self._places[number]

    def words(self, number: int) -> str:
        file, row = self._places[number]
        return f"row {row:,} of {Path(file).name}"


def digest(text: str) -> bytes:
    """16 bytes that are the same for texts that differ in case, spaces and punctuation alone. Empty for no text."""
    if text.isascii():
        words = text.encode().translate(_ASCII_SIGNS)
    else:
        folded = unicodedata.normalize("NFKC", text).lower()
        words = _NO_SIGN.sub(" ", folded).encode("utf-8", "replace")
    said = b" ".join(words.split()) or text.strip().encode("utf-8", "replace")
    return hashlib.blake2b(said, digest_size=16).digest() if said else b""


class _Exact:
    def __init__(self, step: ExactDuplicates, task: Task) -> None:
        self._of = step.of
        self._known: dict[bytes, int] = {}
        """Digest to row, or to -1 - number of another file's."""
        self._rows = array("q")
        self._digests = bytearray()
        self._number_of_other = 0
        self._others = Others(step.against, self._add_other, task)

    def _add_other(self, text: Texts) -> None:
        self._number_of_other += 1
        if found := digest(text.of(self._of)):
            self._known.setdefault(found, -self._number_of_other)

    def add(self, row: int, text: Texts) -> None:
        if found := digest(text.of(self._of)):
            self._rows.append(row)
            self._digests += found

    def finish(self, alive: Callable[[int], bool], task: Task) -> tuple[list[Found], list[Found]]:
        found: list[Found] = []
        for place, row in enumerate(self._rows):
            if not alive(row):
                continue
            mine = bytes(self._digests[16 * place : 16 * place + 16])
            twin = self._known.setdefault(mine, row)
            if twin < 0:
                file, number = self._others.place(-1 - twin)
                found.append(Found(row, number, 1.0, f"the same as {self._others.words(-1 - twin)}", file))
            elif twin != row:
                found.append(Found(row, twin, 1.0, f"the same as row {twin:,}"))
        return found, []


class _Near:
    def __init__(self, step: NearDuplicates, task: Task) -> None:
        self._step = step
        self._rows = array("q")
        self._texts: list[bytes] = []
        self._waiting = 0
        self._parts: list[Sets] = []
        self._others = Others(step.against, self._take, task)

    def add(self, row: int, text: Texts) -> None:
        self._rows.append(row)
        self._take(text)

    def _take(self, text: Texts) -> None:
        self._texts.append(normalise(text.of(self._step.of)))
        self._waiting += len(self._texts[-1])
        if self._waiting > _FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self._texts:
            self._parts.append(shingles(self._texts, self._step.shingle))
            self._texts, self._waiting = [], 0

    def finish(self, alive: Callable[[int], bool], task: Task) -> tuple[list[Found], list[Found]]:
        self._flush()
        if not self._parts:
            return [], []
        values = np.concatenate([part.values for part in self._parts])
        counts = np.concatenate([np.diff(part.starts) for part in self._parts])
        self._parts.clear()
        protected = len(self._others)
        there = np.fromiter((alive(row) for row in self._rows), np.bool_, len(self._rows))
        found = twins(
            Sets(values, np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))),
            self._step.similarity,
            protected=protected,
            alive=np.concatenate((np.ones(protected, np.bool_), there)),
            task=task,
        )
        flagged = [self._found(later, earlier, like) for later, (earlier, like) in found.kept.items()]
        return sorted(flagged), [self._found(*near) for near in found.near]

    def _found(self, later: int, earlier: int, likeness: float) -> Found:
        protected = len(self._others)
        row = self._rows[later - protected]
        if earlier >= protected:
            twin = self._rows[earlier - protected]
            return Found(row, twin, likeness, f"{likeness:.0%} like row {twin:,}")
        file, twin = self._others.place(earlier)
        return Found(row, twin, likeness, f"{likeness:.0%} like {self._others.words(earlier)}", file)


class _Contaminated:
    def __init__(self, step: Contamination, task: Task) -> None:
        self._step = step
        prompts: list[str] = []
        self._others = Others(step.against, lambda text: prompts.append(text.prompt or text.of("example")), task)
        self._prompts = Prompts(prompts, step.n)
        self._rows: list[int] = []
        self._texts: list[bytes] = []
        self._waiting = 0
        self._found: list[Found] = []
        self._near: list[Found] = []

    def add(self, row: int, text: Texts) -> None:
        if self._prompts.short:
            number = self._prompts.short.get(squeezed(normalise(text.prompt or text.of("example"))))
            if number is not None:
                self._take(row, number, 1.0)
                return
        self._rows.append(row)
        self._texts.append(normalise(text.of("example")))
        self._waiting += len(self._texts[-1])
        if self._waiting > _FLUSH:
            self._flush()

    def _flush(self) -> None:
        for match in self._prompts.look(self._texts):
            self._take(self._rows[match.row], match.prompt, match.cover)
        self._rows, self._texts, self._waiting = [], [], 0

    def _take(self, row: int, prompt: int, cover: float) -> None:
        file, number = self._others.place(prompt)
        why = f"holds {cover:.0%} of the prompt in {self._others.words(prompt)}"
        (self._found if cover >= self._step.cover else self._near).append(Found(row, number, cover, why, file))

    def finish(self, alive: Callable[[int], bool], task: Task) -> tuple[list[Found], list[Found]]:
        self._flush()
        near = [found for found in self._near if alive(found.row)]
        near.sort(key=lambda found: (-found.likeness, found.row))
        return sorted(found for found in self._found if alive(found.row)), near
