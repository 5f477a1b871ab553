"""A source in parts that share no row: seeded, in the same shares in every stratum, groups never cut."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuiwb.base.errors import EnvironmentFault, UsageFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.example import Example, Turns
from tuiwb.data.problems import nearest
from tuiwb.data.rows import Row
from tuiwb.data.subset import lines_of, refuse, write_lines
from tuiwb.data.turns import BadRow
from tuiwb.data.view import View

Rows = npt.NDArray[np.int64]
SAME_PROMPT = "same-prompt"
_STEP = 1000
_SPACE = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows of each part, in the order of the source, and what was in no part because it cannot be trained on."""

    parts: Mapping[str, Rows]
    left_out: int
    groups: int
    """Groups that were kept together; as many as rows where each is one of its own."""


def shares(text: str) -> dict[str, float]:
    """`train=0.9,test=0.1` as shares that add up to 1; one part may be `rest`.

    Raises:
        UsageFault: it is written otherwise.
    """
    found: dict[str, float] = {}
    rest = ""
    for part in text.split(","):
        name, equals, share = part.strip().partition("=")
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith(".") or name in found or not equals:
            raise UsageFault(f"{part.strip()!r} is not NAME=SHARE, such as train=0.9,test=0.1", key="--parts")
        try:
            found[name] = 0.0 if share == "rest" else _number(share)
        except ValueError:
            raise UsageFault(f"{share!r} is no share, such as 0.1 or 10% or rest", key="--parts") from None
        rest = name if share == "rest" else rest
    total = sum(found.values())
    if rest:
        found[rest] = 1 - total
    if not rest and abs(total - 1) > 1e-9:
        raise UsageFault(f"the shares add up to {total:g} and not to 1; one may be rest", key="--parts")
    if any(share <= 0 for share in found.values()):
        raise UsageFault("every part needs a share above 0", key="--parts")
    return found


def partition(
    view: View,
    wanted: Mapping[str, float],
    *,
    seed: int = 42,
    stratify: str | None = None,
    group: str | None = None,
    groups: Rows | None = None,
    task: Task | None = None,
) -> Partition:
    """Share out the rows that can be trained on.

    Args:
        wanted: the share of each part.
        stratify: a column; each of its values is shared out in the same way.
        group: a column whose equal values stay together, or `SAME_PROMPT`: rows with the same prompt, whatever its
            letters' case and punctuation.
        groups: a number for each row of the source, instead: rows with equal numbers stay together.

    Raises:
        UsageFault: there is no such column.
        InputFault: the format is not clear.
        Cancelled: the task was cancelled.
    """
    for column in (stratify, group):
        if column is not None and column != SAME_PROMPT and column not in view.columns:
            raise UsageFault(f"there is no column {column!r}{nearest(column, view.columns)}", key="--stratify")
    view.require_format()
    rows: list[int] = []
    strata: list[int] = []
    together: list[int] = []
    names: dict[Any, int] = {}
    keys: dict[Any, int] = {}
    total = len(view)
    for row in view.scan():
        if task and row.id % _STEP == 0:
            task.step("sharing out", row.id, total, "rows")
        try:
            if row.fault is not None:
                continue
            example = view.example(row)
        except BadRow:
            continue
        rows.append(row.id)
        if stratify is not None:
            strata.append(names.setdefault(_key(row.value.get(stratify)), len(names)))
        if group is not None:
            together.append(keys.setdefault(_group_key(row, example, group), len(keys)))
    of = np.asarray(rows, np.int64)
    group_of = np.unique(groups[of], return_inverse=True)[1] if groups is not None else np.asarray(together, np.int64)
    stratum_of = np.asarray(strata, np.int64) if stratify is not None else np.zeros(len(of), np.int64)
    part_of = _share_out(stratum_of, group_of if len(group_of) else None, list(wanted.values()), seed)
    parts = {name: of[part_of == number] for number, name in enumerate(wanted)}
    return Partition(parts, total - len(of), int(group_of.max()) + 1 if len(group_of) else len(of))


def write_parts(
    view: View, found: Partition, files: Mapping[str, Path], *, force: bool = False, task: Task | None = None
) -> None:
    """Write each part to its file, rows as they stand in the source.

    Raises:
        UsageFault: a file is the source, or is there already without `force`.
        EnvironmentFault: it cannot be written.
        Cancelled: the task was cancelled.
    """
    for file in files.values():
        refuse(file, view.store.files(), force=force)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"cannot be made ({reason_of(error)})", file=file.parent, key="--output") from error
    for name, rows in found.parts.items():
        write_lines(files[name], lines_of(view, rows, task, len(rows)), view.store.files(), force=force)


def _share_out(strata: Rows, groups: Rows | None, wanted: list[float], seed: int) -> Rows:
    """The number of the part of each row."""
    part_of = np.zeros(len(strata), np.int64)
    if groups is None:
        groups = np.arange(len(strata), dtype=np.int64)
    sizes = np.bincount(groups) if len(groups) else np.zeros(0, np.int64)
    # A group belongs to the stratum of its first row, whole.
    first = np.unique(groups, return_index=True)[1]
    group_stratum = strata[first]
    part_of_group = np.zeros(len(sizes), np.int64)
    random = np.random.default_rng(seed)
    for stratum in np.unique(group_stratum):
        here = random.permutation(np.flatnonzero(group_stratum == stratum))
        # Large groups first: what is left over is then small enough to come out even.
        here = here[np.argsort(-sizes[here], kind="stable")]
        rows = int(sizes[here].sum())
        if (sizes[here] == 1).all():
            ends = np.round(np.cumsum(wanted) * rows).astype(np.int64)
            part_of_group[here] = np.searchsorted(ends, np.arange(rows), side="right").clip(0, len(wanted) - 1)
            continue
        missing = [share * rows for share in wanted]
        for number in here:
            part = max(range(len(wanted)), key=lambda each: missing[each])
            part_of_group[number] = part
            missing[part] -= int(sizes[number])
    part_of[:] = part_of_group[groups]
    return part_of


def _group_key(row: Row, example: Example, group: str) -> Any:
    if group != SAME_PROMPT:
        return _key(row.value.get(group))
    prompt: Turns | None = example.prompt
    if example.messages is not None:
        prompt = [turn for turn in example.messages if turn["role"] != "assistant"]
    text = example.text if prompt is None else prompt
    if isinstance(text, list):
        text = "\n".join(turn["content"] for turn in text)
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text or "").casefold()).strip()


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _number(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)
