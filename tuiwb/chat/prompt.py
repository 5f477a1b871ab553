"""The prompt as the model reads it: the tokens that a conversation comes to under a lane's template."""

from dataclasses import dataclass

from tuiwb import models
from tuiwb.chat.conversation import Conversation
from tuiwb.chat.protocol import Lane, tokenizer_place


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """`tokens`: id and text of each; a token that is part of a character shows its bytes. `special`: those ids that are
    no text."""

    text: str
    tokens: tuple[tuple[int, str], ...]
    special: frozenset[int]


def prompt_tokens(lane: Lane, conversation: Conversation) -> PromptTokens:
    """What the model is given for the next answer: exactly the ids that the engine computes.

    Raises:
        InputFault: the template refuses the conversation.
    """
    tokenizer = models.load_tokenizer(tokenizer_place(lane.model, lane.adapter))
    ends_open = bool(conversation.turns) and conversation.turns[-1].role == "user"
    text = tokenizer.template(lane.template).render(conversation.messages(), add_generation_prompt=ends_open)
    ids = tokenizer.encode(text)
    return PromptTokens(text, tuple((number, _shown(tokenizer, number)) for number in ids), tokenizer.special_ids)


def _shown(tokenizer: "models.Tokenizer", number: int) -> str:
    text = tokenizer.decode([number])
    return tokenizer.token(number) if "\ufffd" in text or not text else text
