"""From a config.json to shapes: one small builder for each family of architectures, and a refusal for all others.

The builders follow the modelling code of transformers 5 (`models/<type>/modeling_<type>.py`); a test builds each of
them there on the meta device and compares the parameter counts. Defaults are those of the configuration classes.
"""

import difflib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from tuiwb.base.errors import InputFault
from tuiwb.memory.architecture import Architecture, Attention, Experts, FeedForward, Layer, Linear, Norm
from tuiwb.memory.config import Config

Builder = Callable[["Config"], Architecture]


def architecture(config: Mapping[str, Any], source: str = "config.json") -> Architecture:
    """The shapes that a config.json describes.

    Raises:
        InputFault: a key is missing or absurd, or the architecture is not known.
    """
    try:
        text = json.dumps(config, sort_keys=True)
    except TypeError:  # a value that no config.json can hold
        return _build(config, source)
    return _built(text, source)


@lru_cache(maxsize=64)
def _built(text: str, source: str) -> Architecture:
    """The same configuration is planned again and again while somebody types."""
    return _build(json.loads(text), source)


def _build(config: Mapping[str, Any], source: str) -> Architecture:
    from tuiwb.models.info import text_config

    inner = text_config(config)
    model_type = inner.get("model_type") or config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise InputFault("the configuration names no architecture (model_type)", file=source, key="model_type")
    build = _families().get(model_type)
    if build is None:
        near = difflib.get_close_matches(model_type, _families(), n=1)
        hint = f"; the nearest known one is {near[0]}" if near else ""
        raise InputFault(
            f"the memory of the architecture {model_type!r} is not known{hint}", file=source, key="model_type"
        )
    merged = {**config, **inner} if inner is not config else inner
    read = Config(merged, source)
    shapes = build(read)
    # Equal layers are one object, so that whoever walks them sees at once which are alike.
    known: dict[Layer, Layer] = {}
    layers = tuple(known.setdefault(layer, layer) for layer in shapes.layers)
    return replace(shapes, layers=layers, notes=(*shapes.notes, *read.assumed.values()))


def known_architectures() -> tuple[str, ...]:
    """The `model_type`s that can be planned."""
    return tuple(sorted(_families()))


# ---------------------------------------------------------------------------------------------- the Llama line

# Where these leave head_dim out, their configuration classes have it so, whatever the hidden size.
_HEADS = {
    "gemma": 256, "gemma2": 256, "gemma3": 256, "gemma3_text": 256, "glm4": 128, "gpt_oss": 64, "qwen3": 128,
    "qwen3_next": 256,
}  # fmt: skip


def llama_like(
    config: Config,
    *,
    qkv_bias: bool | None = None,
    output_bias: bool | None = None,
    mlp_bias: bool | None = None,
    tied: bool = False,
    layer_norm: bool = False,
    norm_weight: bool = True,
    norm_bias: bool = False,
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm"),
    query_norm: str = "",
    activation: str = "silu",
    gated: bool = True,
    parallel: bool = False,
    scaled_embedding: bool = False,
    scaled_logits: int = 0,
    windows: list[bool] | None = None,
    experts: "Callable[[Config, int], FeedForward | Experts] | None" = None,
    output_name: str = "o_proj",
    mlp_names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
    head_bias: bool = False,
    sinks: bool = False,
    query_gate: bool = False,
) -> Architecture:
    """Separate q, k, v and o, a gated feed-forward block, pre-norms: what most models since Llama are.

    Args:
        query_norm: `head` normalises each head, `full` all heads together, `heads` each head with weights of its own.
        query_gate: the query matrix makes a gate of the same width too (Qwen3-Next).
    """
    hidden = config.integer("hidden_size")
    count = config.integer("num_hidden_layers")
    heads = config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", default=heads)
    head_dim = config.integer("head_dim", default=_HEADS.get(str(config.get("model_type")), max(hidden // heads, 1)))
    bias = config.flag("attention_bias")
    in_bias = bias if qkv_bias is None else qkv_bias
    out_bias = bias if output_bias is None else output_bias
    feed_bias = config.flag("mlp_bias") if mlp_bias is None else mlp_bias
    windows = windows if windows is not None else config.pattern(count)
    window = config.get("sliding_window")

    def norm(name: str, size: int = hidden) -> Norm:
        return Norm(name, size, "layer" if layer_norm else "rms", norm_weight, norm_bias)

    def dense(width: int) -> FeedForward:
        gate_name, up_name, down_name = mlp_names
        return FeedForward(
            Linear(gate_name, hidden, width, feed_bias) if gated else None,
            Linear(up_name, hidden, width, feed_bias),
            Linear(down_name, width, hidden, feed_bias),
            activation,
        )

    sizes = {
        "head": (head_dim, head_dim),
        "full": (heads * head_dim, kv_heads * head_dim),
        "heads": (heads * head_dim, kv_heads * head_dim),
    }.get(query_norm)
    layers = []
    for index in range(count):
        mixer = Attention(
            (
                Linear("q_proj", hidden, heads * head_dim * (2 if query_gate else 1), in_bias),
                Linear("k_proj", hidden, kv_heads * head_dim, in_bias),
                Linear("v_proj", hidden, kv_heads * head_dim, in_bias),
                Linear(output_name, heads * head_dim, hidden, out_bias),
            ),
            heads,
            kv_heads,
            head_dim,
            head_dim,
            query_norm=norm("q_norm", sizes[0]) if sizes else None,
            key_norm=norm("k_norm", sizes[1]) if sizes else None,
            window=window if windows[index] and isinstance(window, int) else None,
            sinks=heads if sinks else 0,
        )
        block = experts(config, index) if experts else dense(config.integer("intermediate_size"))
        layers.append(Layer(mixer, block, tuple(norm(name) for name in norms), parallel))
    return Architecture(
        model_type=str(config.get("model_type")),
        name=_name(config),
        hidden=hidden,
        vocab=config.integer("vocab_size"),
        layers=tuple(layers),
        final_norm=norm("norm"),
        tied=config.flag("tie_word_embeddings", tied),
        context=config.get("max_position_embeddings"),
        scaled_embedding=scaled_embedding,
        scaled_logits=scaled_logits,
        head_bias=head_bias,
    )


def _name(config: Config) -> str:
    names = config.get("architectures") or [str(config.get("model_type"))]
    return str(names[0])


def _qwen_windows(config: Config) -> list[bool]:
    count = config.integer("num_hidden_layers")
    if config.get("layer_types"):
        return config.pattern(count)
    if not config.flag("use_sliding_window") or not config.get("sliding_window"):
        return [False] * count
    first = int(config.get("max_window_layers", 28))
    return [index >= first for index in range(count)]


def _mistral(config: Config) -> Architecture:
    count = config.integer("num_hidden_layers")
    return llama_like(
        config,
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        windows=[bool(config.get("sliding_window"))] * count if not config.get("layer_types") else None,
    )


def _qwen2(config: Config) -> Architecture:
    return llama_like(config, qkv_bias=True, output_bias=False, mlp_bias=False, windows=_qwen_windows(config))


def _qwen3(config: Config) -> Architecture:
    return llama_like(config, mlp_bias=False, query_norm="head", windows=_qwen_windows(config))


def _gemma(config: Config) -> Architecture:
    return llama_like(config, mlp_bias=False, tied=True, activation="gelu", scaled_embedding=True)


def _gemma2(config: Config, query_norm: str = "", every: int = 2) -> Architecture:
    count = config.integer("num_hidden_layers")
    every = int(config.get("sliding_window_pattern", every))
    windows = config.pattern(count) if config.get("layer_types") else [bool((i + 1) % every) for i in range(count)]
    return llama_like(
        config,
        mlp_bias=False,
        tied=True,
        activation="gelu",
        scaled_embedding=True,
        scaled_logits=3 if config.get("final_logit_softcapping") else 0,
        query_norm=query_norm,
        norms=(
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ),
        windows=windows,
    )


def _gemma3(config: Config) -> Architecture:
    return _gemma2(config, "head", 6)


def _granite(config: Config) -> Architecture:
    return llama_like(config, scaled_embedding=True, scaled_logits=1)


def _olmo(config: Config) -> Architecture:
    return llama_like(config, mlp_bias=False, layer_norm=True, norm_weight=False)


def _olmo2(config: Config) -> Architecture:
    return llama_like(
        config,
        mlp_bias=False,
        query_norm="full",
        norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    )


def _cohere(config: Config) -> Architecture:
    return llama_like(
        config,
        mlp_bias=False,
        tied=True,
        layer_norm=True,
        norms=("input_layernorm",),
        parallel=True,
        query_norm="heads" if config.flag("use_qk_norm") else "",
        scaled_logits=1,
    )


def _stablelm(config: Config) -> Architecture:
    parallel = config.flag("use_parallel_residual")
    return llama_like(
        config,
        qkv_bias=config.flag("use_qkv_bias"),
        output_bias=False,
        mlp_bias=False,
        layer_norm=True,
        norm_bias=True,
        parallel=parallel,
        norms=("input_layernorm",) if parallel else ("input_layernorm", "post_attention_layernorm"),
        query_norm="heads" if config.flag("qk_layernorm") else "",
    )


def _starcoder2(config: Config) -> Architecture:
    bias = config.flag("use_bias", True)
    return llama_like(
        config,
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=bias,
        tied=True,
        layer_norm=True,
        norm_bias=True,
        gated=False,
        activation="gelu",
        mlp_names=("", "c_fc", "c_proj"),
    )


def _smollm3(config: Config) -> Architecture:
    return llama_like(config, tied=True)


def _nemotron(config: Config) -> Architecture:
    return llama_like(
        config, layer_norm=True, norm_bias=True, gated=False, activation="relu2", mlp_names=("", "up_proj", "down_proj")
    )


def _arcee(config: Config) -> Architecture:
    return llama_like(config, gated=False, activation="relu2", mlp_names=("", "up_proj", "down_proj"))


def _exaone4(config: Config) -> Architecture:
    return llama_like(
        config,
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        query_norm="head",
        norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    )


def _seed_oss(config: Config) -> Architecture:
    return llama_like(
        config,
        qkv_bias=config.flag("attention_bias", True),
        output_bias=config.flag("attention_out_bias"),
    )


def _ernie(config: Config) -> Architecture:
    bias = config.flag("use_bias")
    return llama_like(config, qkv_bias=bias, output_bias=bias, mlp_bias=bias, tied=True)


def _families() -> dict[str, Builder]:
    from tuiwb.memory import families_hybrid, families_moe, families_other

    return {
        **_DENSE,
        **families_moe.FAMILIES,
        **families_hybrid.FAMILIES,
        **families_other.FAMILIES,
    }


_DENSE: dict[str, Builder] = {
    "llama": llama_like,
    "mistral": _mistral,
    "ministral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
    "granite": _granite,
    "olmo": _olmo,
    "olmo2": _olmo2,
    "olmo3": _olmo2,
    "cohere": _cohere,
    "cohere2": _cohere,
    "stablelm": _stablelm,
    "starcoder2": _starcoder2,
    "smollm3": _smollm3,
    "nemotron": _nemotron,
    "arcee": _arcee,
    "exaone4": _exaone4,
    "seed_oss": _seed_oss,
    "ernie4_5": _ernie,
}
