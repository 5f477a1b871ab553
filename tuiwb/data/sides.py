"""The texts that an example shows to the model: one for a conversation, two for a pair of answers."""

from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example
from tuiwb.data.layout import Layout, Rendered, reassemble
from tuiwb.data.render import Renderer


def render_sides(example: Example, renderer: Renderer) -> dict[str, Rendered]:
    """Each text by its name: `example`; `chosen` and `rejected`; `prompt`, of which nothing is trained; for steps, the
    prompt with all of them.

    Raises:
        InputFault: the template refuses the conversation, or the model has none.
    """
    if example.kind == "tokenized":
        return {"example": renderer(example)}
    laid = layouts(example, renderer)
    encoded = renderer.encode(list(laid.values()))
    return {name: reassemble(layout, tokens) for (name, layout), tokens in zip(laid.items(), encoded, strict=True)}


def layouts(example: Example, renderer: Renderer) -> dict[str, Layout]:
    """As `render_sides`, before the texts are encoded; not for token ids."""
    prompt = example.prompt or ""
    if example.kind == "preference":
        if example.chosen is None or example.rejected is None:
            raise InputFault("the row lacks one of its two answers", key="datasets")
        return {
            "chosen": renderer.answer(prompt, example.chosen, example.tools),
            "rejected": renderer.answer(prompt, example.rejected, example.tools),
        }
    if example.kind == "prompt":
        return {"prompt": renderer.prompt(example)}
    if example.steps is not None:
        return {"example": renderer.answer(prompt, "\n".join(text for text, _ in example.steps))}
    return {"example": renderer.layout(example)}
