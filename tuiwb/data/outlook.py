"""What preparing will say of the rows, before anything is launched: all of them where they are few, else a sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data.measure import sample_rows
from tuiwb.data.prepare import PrepareSettings, Reading
from tuiwb.data.tally import Finding, Tally

if TYPE_CHECKING:
    from tuiwb.models import ChatTemplate, Tokenizer
    from tuiwb.recipe import DatasetEntry

_FEWEST = 50
"""Rows of a source in a sample, however small its share of all rows is."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the rows are like for the trainer.

    Attributes:
        total: rows of all sources.
        looked_at: how many of them were read for this.
        examples: that will be trained on in an epoch, as far as those tell.
        tokens: of a sequence after the cut, the mean over all rows.
        longest: tokens of the longest sequence, before the cut.
        findings: what is worth telling.
        nothing_left: why none of the rows that were looked at can be trained on; empty where one can.
    """

    total: int
    looked_at: int
    examples: int
    tokens: float
    longest: int
    findings: tuple[Finding, ...]
    nothing_left: str = ""

    @property
    def whole(self) -> bool:
        """Whether all rows were read."""
        return self.looked_at >= self.total


def outlook(
    entries: "Sequence[DatasetEntry]",
    tokenizer: "Tokenizer",
    template: "ChatTemplate | None",
    settings: PrepareSettings,
    *,
    sample: int,
    task: Task | None = None,
) -> Outlook:
    """Read rows as `prepare` does, and keep none of them.

    Args:
        sample: at most about so many rows, each source in its share.

    Raises:
        InputFault: a source cannot be read, its format is unclear, or its conversations have no chat template.
        Cancelled: the task was cancelled.
    """
    from tuiwb import data

    task = task or Task()
    if not entries:
        raise InputFault("names no dataset", key="datasets")
    task.step("opening datasets")
    views = [data.open(entry, task=task) for entry in entries]
    total = sum(len(view) for view in views)
    tally, renderer = Tally(), settings.renderer(tokenizer, template)
    examples = tokens = 0.0
    for view in views:
        share = max(sample * len(view) // max(total, 1), _FEWEST) if total > sample else len(view)
        numbers = sample_rows(view, share)
        before = tally.kept, tally.tokens, tally.sequences
        Reading(view, renderer, settings, tally).read((view.row(int(at)) for at in numbers), len(numbers), task)
        kept, all_tokens, sequences = (
            now - then for now, then in zip((tally.kept, tally.tokens, tally.sequences), before, strict=True)
        )
        weight = kept / max(len(numbers), 1) * len(view)
        examples += weight
        tokens += weight * all_tokens / max(sequences, 1)
    return Outlook(
        total,
        tally.rows,
        round(examples),
        tokens / examples if examples else 0.0,
        tally.longest,
        tuple(tally.findings(tokenizer, total)),
        "" if tally.kept else tally.nothing_left(),
    )
