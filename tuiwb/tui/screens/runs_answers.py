"""The page of the Runs screen with what the model said while it was trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuiwb.tui.widgets.log_view import LogView

if TYPE_CHECKING:
    from tuiwb.runs import Answer


class AnswersView(LogView):
    """Answers, oldest first, under the step at which they were given; it follows its end as a log does."""

    def __init__(self, *, id: str, classes: str) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._shown: tuple[Answer, ...] = ()

    def clear(self) -> None:
        self._shown = ()
        super().clear()

    def show(self, answers: "Sequence[Answer]") -> None:
        """Take all answers of the run. Where only some came to the end, what is read stays where it is."""
        answers = tuple(answers)
        if answers[: len(self._shown)] != self._shown:
            self.clear()
        new, last = answers[len(self._shown) :], self._shown[-1] if self._shown else None
        self._shown = answers
        self.add(lines(new, last))


def lines(answers: "Sequence[Answer]", before: "Answer | None" = None) -> list[str]:
    """What people read of answers.

    Args:
        before: the answer that they come after.
    """
    found: list[str] = []
    for one in answers:
        if before is None or (one.part, one.step) != (before.part, before.step):
            where = one.part if one.step is None else f"{one.part}, step {one.step:,}"
            found += [*([""] if before else []), f"── {where} ──"]
        found += ["", *(f"> {line}" for line in one.prompt.splitlines() or [""])]
        found += [f"  {line}" for line in one.answer.splitlines() or [""]]
        words = [f"{one.tokens:,} tokens"] + ([] if one.ended else ["cut at the longest length"])
        words += [] if one.score is None else [f"sampled, score {one.score:.4g}"]
        found.append(f"  ({', '.join(words)})")
        before = one
    return found
