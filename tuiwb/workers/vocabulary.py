"""A model whose vocabulary grows: tokens of a chat template that its tokenizer lacks."""

import json
from pathlib import Path
from typing import Any

from tuiwb import models
from tuiwb.models import Tokenizer
from tuiwb.recipe import Recipe


def tokenizer_of(recipe: Recipe) -> Tokenizer:
    """The tokenizer of the recipe's model, with the tokens that the recipe adds.

    Raises:
        InputFault: the model or its tokenizer cannot be opened.
    """
    assert recipe.model_name_or_path is not None
    return models.load_tokenizer(models.open_model(recipe.model_name_or_path)).with_tokens(recipe.added_tokens or ())


def grow(model: Any, size: int) -> None:
    """Give the model at least so many rows of embeddings; new ones begin at the mean of the others. Many models have
    spare rows already."""
    old = model.get_input_embeddings().weight.shape[0]
    if size > old:
        model.resize_token_embeddings(size, mean_resizing=False)
        _to_mean(model, old)


def grow_for(model: Any, folder: Path) -> None:
    """As `grow`, for an adapter's folder that brings a tokenizer of its own."""
    try:
        content = json.loads((folder / "tokenizer.json").read_bytes())
    except (OSError, ValueError):
        return
    added = [token["id"] for token in content.get("added_tokens", ()) if isinstance(token.get("id"), int)]
    known = (content.get("model") or {}).get("vocab") or ()
    grow(model, max([len(known), *(number + 1 for number in added)]))


def learned_tokens(model: Any, tokenizer: Tokenizer) -> dict[str, list[int]]:
    """PEFT's `trainable_token_indices`: the rows of the added tokens where they are read, and where they are written
    unless that is the same matrix."""
    ids = [number for token in tokenizer.added if (number := tokenizer.token_id(token)) is not None]
    layers = [model.get_input_embeddings()]
    output = model.get_output_embeddings()
    if output is not None and output.weight is not layers[0].weight:
        layers.append(output)
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(layer)].rpartition(".")[2]: ids for layer in layers}


def _to_mean(model: Any, old: int) -> None:
    """Rows from `old` on, which `resize_token_embeddings` drew at random."""
    import torch

    seen: set[int] = set()
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            with torch.no_grad():
                layer.weight[old:] = layer.weight[:old].float().mean(dim=0).to(layer.weight.dtype)
