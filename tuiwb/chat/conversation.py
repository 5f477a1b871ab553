"""A conversation: who said what, and what it cost. Frozen: each change is a new one."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tuiwb.chat.protocol import Done


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `usage` is set on answers that have ended."""

    role: Literal["user", "assistant"]
    content: str
    usage: Done | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns of one lane under one system prompt (None leaves it to the template)."""

    system: str | None = None
    turns: tuple[Turn, ...] = field(default=())

    def messages(self) -> list[dict[str, Any]]:
        """The conversation as chat templates take it."""
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        return head + [{"role": turn.role, "content": turn.content} for turn in self.turns]

    def asked(self, question: str) -> "Conversation":
        return replace(self, turns=(*self.turns, Turn("user", question)))

    def answered(self, answer: str, usage: Done | None) -> "Conversation":
        return replace(self, turns=(*self.turns, Turn("assistant", answer, usage)))

    def without_unanswered(self) -> "Conversation":
        """Without a last question that nobody answered: templates want question and answer in turn."""
        turns = self.turns
        while turns and turns[-1].role == "user":
            turns = turns[:-1]
        return replace(self, turns=turns)

    def without_last_answer(self) -> "Conversation":
        """What is asked again when an answer is regenerated: everything up to the last question."""
        turns = self.turns
        while turns and turns[-1].role == "assistant":
            turns = turns[:-1]
        return replace(self, turns=turns)

    def rewritten(self, turn: int, text: str) -> "Conversation":
        """With another text in a turn, which is then the last one.

        Raises:
            IndexError: there is no such turn.
        """
        return replace(self, turns=(*self.turns[:turn], Turn(self.turns[turn].role, text)))

    def question_of(self, turn: int) -> "Conversation":
        """What an answer was an answer to: everything before it."""
        return replace(self, turns=self.turns[:turn])
