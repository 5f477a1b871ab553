"""The tokens of a chat template that the model's tokenizer lacks."""

from typing import TYPE_CHECKING

from tuiwb.base.errors import TuiwbError
from tuiwb.resolve.choices import Choices

if TYPE_CHECKING:
    from tuiwb.models import ModelInfo

LEARNING_EMBEDDINGS = ("full", "lora", "qlora", "dora")
"""Methods that can learn what a new token means."""


def fill_tokens(choices: Choices, model: "ModelInfo | None") -> None:
    """Add what a named template is made of, where the tokenizer is here to be asked."""
    from tuiwb.models import templates

    name = choices.now.chat_template
    wanted = templates.TOKENS.get(name or "", ())
    if choices.now.added_tokens is not None or not wanted or model is None or not model.has_tokenizer:
        return
    if choices.now.method not in LEARNING_EMBEDDINGS:
        return  # what is never learned would say nothing: there the template is spelled with tokens that are known
    from tuiwb import models

    try:
        tokenizer = models.load_tokenizer(model)
    except TuiwbError:
        return  # a check says so
    missing = tuple(token for token in wanted if tokenizer.token_id(token) is None)
    if missing:
        choices.settle("added_tokens", missing, f"the template {name} is made of them, and the tokenizer lacks them")
