"""Presets for each stage with each method. Those that need values of their own are files; any other is its stage's
`<stage>-lora` with the method of `sft-<method>`, put together when it is asked for."""

import functools
from typing import get_args

import msgspec

from tuiwb.base import paths
from tuiwb.recipe.model import Method, Recipe, Stage

STAGES: tuple[Stage, ...] = get_args(Stage)
METHODS: tuple[Method, ...] = get_args(Method)
UNFIT = {
    ("reward", "prefix"): "a head reads the last token of a text, and PEFT hides its length behind a learned prompt",
    ("reward", "prompt"): "a head reads the last token of a text, and PEFT hides its length behind a learned prompt",
    ("ppo", "freeze"): "its four models are adapters on one base, or whole models",
    ("ppo", "ia3"): "policy, reference, reward and value are LoRA adapters on one base, or whole models",
    ("ppo", "prefix"): "policy, reference, reward and value are LoRA adapters on one base, or whole models",
    ("ppo", "prompt"): "policy, reference, reward and value are LoRA adapters on one base, or whole models",
    ("grpo", "prefix"): "sampling and training must give a token the same probability, which a prefix does not",
    ("rloo", "prefix"): "sampling and training must give a token the same probability, which a prefix does not",
}
"""Stages and methods that cannot go together, each with the reason."""

_WHEN = {
    "full": "all weights: much data, and memory for 16 bytes a parameter.",
    "freeze": "the last layers alone: cheaper than all weights, and the result is a model like any other.",
    "lora": "a LoRA adapter: the first thing to try.",
    "qlora": "the base in 4 bits, where it does not fit the GPU in 16.",
    "dora": "DoRA: a little better at low ranks and a quarter slower.",
    "ia3": "(IA)³, a few numbers a layer: very little data, or a great many adapters.",
    "prefix": "a learned prefix in every layer: the base stays as it is to the last number.",
    "prompt": "a learned prompt before each example: one task, a file of some kilobytes.",
}
# What a method says for itself; the rest of a recipe is the stage's.
_OF_METHOD = (
    "method", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "use_rslora", "use_dora", "freeze_layers",
    "num_virtual_tokens", "prefix_projection", "bnb_4bit_quant_type", "use_bnb_nested_quant", "max_grad_norm",
    "weight_decay",
)  # fmt: skip


def names() -> tuple[str, ...]:
    """`<stage>-<method>` of every pair that can work, in the order of stages and methods."""
    return tuple(f"{stage}-{method}" for stage in STAGES for method in METHODS if (stage, method) not in UNFIT)


def is_pair(name: str) -> bool:
    return name in names()


def summary(name: str) -> str:
    """When to use a pair that has no file of its own."""
    stage, method = split(name)
    return f"As {stage}-lora, with {_WHEN[method]}"


def split(name: str) -> tuple[Stage, Method]:
    """The stage and the method of `<stage>-<method>`."""
    return next((stage, method) for stage in STAGES for method in METHODS if name == f"{stage}-{method}")


@functools.cache
def compose(name: str) -> Recipe:
    """The preset of a pair that has no file of its own. The learning rate is left to `resolve`, which knows the usual
    one of each pair."""
    stage, method = split(name)
    task, way = _shipped(f"{stage}-lora"), _shipped(f"sft-{method}")
    own = {key: getattr(way, key) for key in _OF_METHOD}
    return msgspec.structs.replace(task, learning_rate=None, **own)


@functools.cache
def _shipped(name: str) -> Recipe:
    from tuiwb.recipe.reading import parse, read_text, to_recipe

    file = paths.presets_folder() / f"{name}.yaml"
    return to_recipe(parse(read_text(file), str(file)))
