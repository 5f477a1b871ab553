"""Answering instead of training: the weights, and a cache of keys and values that grows with every token."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuiwb.memory.architecture import Attention, Layer, Recurrence

if TYPE_CHECKING:
    from tuiwb.memory.inputs import Inputs
    from tuiwb.memory.phases import Phase, Step


def cache_bytes(inputs: "Inputs", sequences: int, tokens: int) -> float:
    """The cache of `sequences` that are `tokens` long.

    transformers keeps of a layer with a sliding window only the window, and of latent attention the keys and values
    that are expanded from the latent; llama.cpp keeps the window too; vLLM gives such layers whole pages, and keeps the
    latent.
    """
    total = 0.0
    for layer, count in inputs.architecture.kinds:
        total += count * sequences * _of_layer(inputs, layer, tokens)
    return total


def _of_layer(inputs: "Inputs", layer: Layer, tokens: int) -> float:
    mixer = layer.mixer
    if isinstance(mixer, Recurrence):
        return float(mixer.state * inputs.cache_width)
    if mixer.window is not None and inputs.engine != "vllm":
        tokens = min(tokens, mixer.window)
    return tokens * cached_width(mixer, inputs.engine) * inputs.cache_width


def cached_width(mixer: Attention, engine: str) -> int:
    """Elements that one token takes in one layer."""
    if mixer.latent is not None and engine != "transformers":
        return mixer.latent
    return mixer.kv_width + mixer.value_width


def answering(step: "Step") -> Iterator["Phase"]:
    """Reading the prompt, and writing the last token of the answer."""
    from tuiwb.memory.phases import Phase

    inputs = step.inputs
    base = step.shards.standing() | step.shards.unsharded(None)
    vocab = inputs.architecture.vocab
    prompt = max(inputs.length - inputs.completion, 1)
    reading = dict(base)
    reading["cache of keys and values"] = cache_bytes(inputs, inputs.batch, prompt)
    if inputs.engine == "transformers":
        parts = step.inference(reading, inputs.batch * prompt, prompt)
    else:
        # Both read a prompt in pieces (n_ubatch 512 of llama.cpp, max_num_batched_tokens 2048 and more of vLLM).
        piece = min(prompt, 512 if inputs.engine == "llama.cpp" else 2048)
        parts = step.inference(reading, piece * (inputs.batch if inputs.engine == "vllm" else 1), prompt)
    parts["logits"] = parts.get("logits", 0.0) + float(vocab * (inputs.compute + 4) * inputs.batch)
    yield Phase("reading the prompt", parts)
    writing = dict(base)
    cache = cache_bytes(inputs, inputs.batch, inputs.length)
    writing["cache of keys and values"] = cache
    if inputs.engine == "transformers":
        # DynamicCache appends by copying: the old keys of one layer are there until the new ones are.
        widest = max((_of_layer(inputs, layer, inputs.length) for layer, _ in inputs.architecture.kinds), default=0.0)
        writing["copy of one layer's cache"] = inputs.batch * widest / 2
    writing["logits"] = float(vocab * (inputs.compute + 4 + 4) * inputs.batch)
    yield Phase("writing the answer", {name: value for name, value in writing.items() if value >= 0.5})
