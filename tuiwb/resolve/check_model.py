"""Checks of the base model and of what is put onto it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base.errors import TuiwbError
from tuiwb.base.units import count
from tuiwb.recipe import Recipe
from tuiwb.resolve.check import Check, error, note, warning
from tuiwb.resolve.tokens import LEARNING_EMBEDDINGS

if TYPE_CHECKING:
    from tuiwb.models import ModelInfo

# Output layers, which PEFT leaves out of all-linear. Tied, they are the embeddings.
_OUTPUT = ("lm_head", "embed_out", "output_layer")


def check_model(recipe: Recipe, model: "ModelInfo | None", problem: str) -> Iterator[Check]:
    """Whether there is a model that this recipe can train.

    Args:
        problem: why it cannot be opened, where `model` is None.
    """
    key = "model_name_or_path"
    if recipe.model_name_or_path is None:
        yield error(key, "no model is named", "a folder, a .gguf file, a name under your models or a hub id")
        return
    if model is None:
        yield error(key, problem or "the model cannot be opened")
        return
    if model.adapter is not None:
        base = model.adapter.base_model or "its base model"
        yield error(
            key, f"{model.name} is an adapter, not a model", f"{key}: {base}, adapter_name_or_path: {model.ref}"
        )
        return
    if not model.tensors:
        yield error(key, f"only the configuration of {model.name} is here, not its weights", _get(model))
        return  # what else is missing comes with them
    if not model.has_tokenizer:
        yield error(key, f"{model.name} has no tokenizer", "put its tokenizer.json into the folder")
    if model.quantization and recipe.method in ("full", "freeze"):
        message = f"{model.name} is quantized ({model.quantization}), so its weights cannot be trained whole"
        yield error("method", message, "method: lora")
    length, context = recipe.max_length, model.context_length
    if length and context and length > context:
        message = f"{count(length)} tokens are more than the {count(context)} that {model.name} was made for"
        yield warning("max_length", message, f"max_length: {context}")
    yield from _added_tokens(recipe)
    yield from _layers(recipe, model)
    yield from _frozen_layers(recipe, model)


def check_template(recipe: Recipe, model: "ModelInfo | None") -> Iterator[Check]:
    """Whether a stated chat template can be read; whether one is needed depends on the data."""
    if recipe.chat_template is None:
        return
    from tuiwb import models

    try:
        if Path(recipe.chat_template).is_file():
            source = Path(recipe.chat_template).read_text("utf-8")
        else:
            source = models.named_template(recipe.chat_template)
        models.check_template(source)
    except TuiwbError as fault:
        yield error("chat_template", fault.message)
    except (OSError, UnicodeDecodeError):
        yield error("chat_template", f"{recipe.chat_template} cannot be read as text")


def linear_layers(model: "ModelInfo") -> tuple[str, ...]:
    """The last names of the layers with a matrix, such as q_proj; empty when the weights are not known."""
    if model.kind == "gguf":
        return ()  # its tensors have other names than the layers they become
    names = dict.fromkeys(
        tensor.name.removesuffix(".weight").rpartition(".")[2]
        for tensor in model.tensors
        if tensor.name.endswith(".weight") and len(tensor.shape) == 2 and "embed" not in tensor.name
    )
    return tuple(name for name in names if name not in _OUTPUT)


def _layers(recipe: Recipe, model: "ModelInfo") -> Iterator[Check]:
    if recipe.method not in ("lora", "qlora", "dora"):
        return
    modules = _modules(model)
    yield from _targets(recipe, model, modules)
    for name in recipe.lora_modules_to_save or ():
        if modules and not any(_matches(module, name, pattern=False) for module in (*modules, *_OUTPUT)):
            yield error("lora_modules_to_save", f"{model.name} has no layer {name}")


def _added_tokens(recipe: Recipe) -> Iterator[Check]:
    if not recipe.added_tokens:
        return
    what = ", ".join(recipe.added_tokens)
    if recipe.method not in LEARNING_EMBEDDINGS:
        message = f"method {recipe.method} leaves the embeddings as they are, so {what} would never be learned"
        yield error("added_tokens", message, "method: lora, or chat_template: alpaca, which needs no tokens")
    else:
        yield note("added_tokens", f"the vocabulary grows by {what}, which are learned and saved")


def _frozen_layers(recipe: Recipe, model: "ModelInfo") -> Iterator[Check]:
    from tuiwb.models.info import text_config

    layers = text_config(model.config).get("num_hidden_layers")
    if recipe.method == "freeze" and isinstance(layers, int) and (recipe.freeze_layers or 0) >= layers:
        message = f"{model.name} has {layers} layers, so from 0 to {layers - 1} of them can stay as they are"
        yield error("freeze_layers", message, f"freeze_layers: {max(0, layers - 2)}")


def _targets(recipe: Recipe, model: "ModelInfo", modules: Sequence[str]) -> Iterator[Check]:
    key, targets = "lora_target_modules", recipe.lora_target_modules
    if targets is None or targets == "all-linear":
        return
    from tuiwb.models.info import text_config

    tied = bool(text_config(model.config).get("tie_word_embeddings", model.config.get("tie_word_embeddings")))
    for name in (targets,) if isinstance(targets, str) else targets:
        if tied and any(part in name for part in _OUTPUT):
            message = f"{name} cannot have an adapter: its weights are also those of the embeddings"
            yield error(key, message, f"leave {name} out")
        elif modules and not any(_matches(module, name, pattern=isinstance(targets, str)) for module in modules):
            there = ", ".join(linear_layers(model))
            yield error(key, f"{model.name} has no layer {name}; it has {there}", f"{key}: all-linear")


def _modules(model: "ModelInfo") -> Sequence[str]:
    if model.kind == "gguf":
        return ()
    return [tensor.name.removesuffix(".weight") for tensor in model.tensors if tensor.name.endswith(".weight")]


def _matches(module: str, name: str, *, pattern: bool) -> bool:
    """PEFT's rule: a text is a pattern for the whole path, a list names the end of it."""
    if not pattern:
        return module == name or module.endswith(f".{name}")
    try:
        return re.fullmatch(name, module) is not None
    except re.error:
        return False


def _get(model: "ModelInfo") -> str:
    return f"tuiwb models get {model.ref}" if model.kind == "hub" else "put its weights beside it"
