"""What happens to rows on their way to the trainer: how many are kept, cut and left out, and what would go wrong in
silence. Preparing counts all of them; before a launch some are counted, to say the same beforehand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base.text import gate_line

if TYPE_CHECKING:
    from tuiwb.data.layout import Encoded, Layout
    from tuiwb.models import Tokenizer

# Why a row is left out, in words; `{why}` is what was said about the first one.
_REASONS = {
    "unusable": "cannot be used: {why}",
    "left_out": "is {why}",
    "kind": "is of another kind: {why}",
    "refused": "is refused by the chat template: {why}",
    "untrained": "has no turn that is trained",
    "too_long": "has no trained token within max_length",
    "cut": "is longer than max_length, and its end is what matters",
    "same": "has the same chosen and rejected answer",
}
OF_LENGTH = ("too_long", "cut")
"""The reasons that another `max_length` would take away."""
_SHOWN = 40
"""Characters of an answer that is named."""


@dataclass(slots=True)
class Dropped:
    """Rows left out for one reason, and the tokens in them that would have been trained; the first row is named."""

    count: int = 0
    source: str = ""
    row: int = 0
    line: int | None = None
    why: str = ""
    trained_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to tell of the rows, in one sentence.

    Attributes:
        code: the reason of a `Dropped`, or `truncated`, `unstopped`, `one_token`, `one_answer`, `double_bos`, `unseen`.
        share: how much of the rows it is about; of the trained tokens, where those are what is lost.
    """

    code: str
    message: str
    share: float


@dataclass(slots=True)
class Tally:
    """Counts of the rows that were looked at.

    Attributes:
        tokens, sequences: of those that are kept, after the cut.
        longest: tokens of the longest sequence, before the cut.
        learned: ids of trained tokens, until there are two.
        answers: what is trained of an example, until there are two that differ; of answers with a label, where the
            same may be good or bad, none.
    """

    rows: int = 0
    kept: int = 0
    tokens: int = 0
    sequences: int = 0
    longest: int = 0
    trained_tokens: int = 0
    truncated_rows: int = 0
    truncated_tokens: int = 0
    truncated_trained_tokens: int = 0
    unstopped: int = 0
    double_bos: int = 0
    learned: set[int] = field(default_factory=set)
    answers: set[tuple[int, ...]] = field(default_factory=set)
    unseen: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, Dropped] = field(default_factory=dict)

    def drop(
        self, reason: str, source: str, row: int, line: int | None, why: str = "", sides: "Sequence[Encoded]" = ()
    ) -> None:
        """A row that is left out; `sides` are its tokens, where it is as far as that."""
        found = self.dropped.setdefault(reason, Dropped(0, source, row, line, why))
        found.count += 1
        found.trained_tokens += sum(int(side.mask.sum()) + side.truncated_trained for side in sides)
        self._measure(sides)

    def keep(
        self,
        sides: "Sequence[Encoded]",
        layouts: "Sequence[Layout]",
        tokenizer: "Tokenizer",
        *,
        trained: bool,
        label: bool | None,
    ) -> None:
        """A row that is kept.

        Args:
            trained: it holds answers; of a prompt nothing is trained.
            label: of its answer, if it has one.
        """
        self.kept += 1
        self._measure(sides)
        self.truncated_rows += any(side.truncated for side in sides)
        special, bos = tokenizer.special_ids, tokenizer.bos_token_id
        for side in sides:
            self.tokens += len(side.ids)
            self.sequences += 1
            learned = side.ids[side.mask].tolist() if trained else []
            self.trained_tokens += len(learned)
            if len(self.learned) < 2:
                self.learned.update(learned)
            if learned and label is None and len(self.answers) < 2:
                self.answers.add(tuple(learned))
            if side.truncated:
                self.truncated_tokens += side.truncated
                self.truncated_trained_tokens += side.truncated_trained
            elif trained and not special.intersection(learned):
                self.unstopped += 1
            if bos is not None and len(side.ids) > 1 and side.ids[0] == side.ids[1] == bos:
                self.double_bos += 1
        for role in {role for layout in layouts for role in layout.unseen}:
            self.unseen[role] = self.unseen.get(role, 0) + 1

    def _measure(self, sides: "Sequence[Encoded]") -> None:
        self.longest = max(self.longest, *(len(side.ids) + side.truncated for side in sides), 0)

    def findings(self, tokenizer: "Tokenizer", total: int | None = None) -> Iterator[Finding]:
        """What is worth telling.

        Args:
            total: rows that there are, where only some of them were looked at.
        """
        for reason, first in self.dropped.items():
            them = f", and {first.trained_tokens:,} trained tokens with them" if first.trained_tokens else ""
            where, words = f"row {first.row} of {Path(first.source).name}", _REASONS[reason].format(why=first.why)
            message = f"{self._of(first.count, total)} are left out{them}; the first, {where}, {words}"
            yield Finding(reason, message, first.count / self.rows)
        if self.truncated_rows:
            lost, whole = self.truncated_trained_tokens, self.trained_tokens + self.truncated_trained_tokens
            share = lost / max(whole, 1)
            message = f"{self._of(self.truncated_rows, total)} are longer than max_length and are cut, which loses "
            message += f"{lost:,} of {whole:,} trained tokens ({share:.1%})" if lost else "no trained token"
            yield Finding("truncated", message, share)
        if self.unstopped:
            end = f" such as {tokenizer.eos_token}" if tokenizer.eos_token else ""
            message = f"{self._of(self.unstopped, total)} end without a trained stop token{end}: "
            yield Finding("unstopped", message + "the model may not learn to stop", self.unstopped / self.rows)
        yield from self._one(tokenizer)
        if self.double_bos:
            message = f"{self._of(self.double_bos, total)} begin with two {tokenizer.bos_token}: "
            yield Finding("double_bos", message + "the text holds one already", 1.0)
        for role, count in self.unseen.items():
            message = f"{self._of(count, total)} have a message of the role {role} that the chat template leaves out"
            yield Finding("unseen", message, count / self.rows)

    def _one(self, tokenizer: "Tokenizer") -> Iterator[Finding]:
        """Whether everything that is learned is the same."""
        if len(self.learned) == 1 and self.trained_tokens > 1:
            (only,) = self.learned
            message = f"every trained token is {tokenizer.token(only)}: the model would learn to write nothing else"
            yield Finding("one_token", message, 1.0)
        elif len(self.answers) == 1 and self.sequences > 1:
            (ids,) = self.answers
            said = gate_line(tokenizer.decode(list(ids), skip_special=True).strip(), _SHOWN)
            message = f"all {self.sequences:,} answers are “{said}”: the model would learn to say nothing else"
            yield Finding("one_answer", message, 1.0)

    def _of(self, count: int, total: int | None) -> str:
        if total is None or self.rows >= total:
            return f"{count:,} of {self.rows:,} rows"
        return f"{count:,} of a sample of {self.rows:,} (of {total:,}) rows"

    def nothing_left(self) -> str:
        """Why no row was kept."""
        if not self.rows:
            return "the datasets have no rows"
        reason, first = max(self.dropped.items(), key=lambda item: item[1].count)
        words = _REASONS[reason].format(why=first.why)
        place = f"{first.source}, row {first.row}" + (f" (line {first.line})" if first.line is not None else "")
        return f"none of the {self.rows:,} rows can be trained on; the first, in {place}, {words}"
