"""Mixtures of experts, and multi-head latent attention, which so far comes with them."""

from typing import Any

from msgspec.structs import replace

from tuiwb.memory.architecture import Architecture, Attention, Experts, FeedForward, Layer, Linear, Norm
from tuiwb.memory.config import Config
from tuiwb.memory.families import Builder, llama_like

# All their blocks are experts, and the width of these has the name that others give to a dense one.
_ONE_WIDTH = ("mixtral", "olmoe", "granitemoe", "granitemoeshared", "gpt_oss", "phimoe", "jamba")

_COUNTED_AS = {
    "mixtral": "num_local_experts", "granitemoe": "num_local_experts", "granitemoeshared": "num_local_experts",
    "gpt_oss": "num_local_experts", "phimoe": "num_local_experts", "deepseek_v2": "n_routed_experts",
    "deepseek_v3": "n_routed_experts", "glm4_moe": "n_routed_experts", "glm4_moe_lite": "n_routed_experts",
}  # fmt: skip


def dense(hidden: int, width: int, names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")) -> FeedForward:
    gate, up, down = names
    return FeedForward(Linear(gate, hidden, width), Linear(up, hidden, width), Linear(down, width, hidden), "silu")


def experts(config: Config, **more: Any) -> Experts:
    hidden = config.integer("hidden_size")
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    own = _COUNTED_AS.get(str(config.get("model_type")), "num_experts")
    count = config.integer(own, *(name for name in names if name != own))
    options: dict[str, Any] = {
        "router": Linear("gate", hidden, count),
        "count": count,
        "active": config.integer("num_experts_per_tok"),
        "width": config.integer(
            "intermediate_size" if config.get("model_type") in _ONE_WIDTH else "moe_intermediate_size"
        ),
        "hidden": hidden,
        "gated": True,
        "activation": "silu",
    }
    return Experts(**(options | more))


def _mixtral(config: Config) -> Architecture:
    return llama_like(
        config,
        qkv_bias=False,
        output_bias=False,
        windows=[bool(config.get("sliding_window"))] * config.integer("num_hidden_layers"),
        experts=lambda c, _: experts(c, names=("w1", "w3", "w2")),
    )


def _is_sparse(config: Config, index: int) -> bool:
    step = int(config.get("decoder_sparse_step", 1))
    only_dense = config.get("mlp_only_layers") or []
    experts = config.integer("num_experts", "num_local_experts")
    return index not in only_dense and experts > 0 and (index + 1) % step == 0


def _qwen2_moe(config: Config) -> Architecture:
    hidden = config.integer("hidden_size")

    def block(c: Config, index: int) -> FeedForward | Experts:
        if not _is_sparse(c, index):
            return dense(hidden, c.integer("intermediate_size"))
        shared = dense(hidden, c.integer("shared_expert_intermediate_size"))
        return experts(c, shared=shared, shared_gate=Linear("shared_expert_gate", hidden, 1))

    return llama_like(config, qkv_bias=config.flag("qkv_bias", True), output_bias=False, experts=block)


def _qwen3_moe(config: Config) -> Architecture:
    def block(c: Config, index: int) -> FeedForward | Experts:
        if not _is_sparse(c, index):
            return dense(c.integer("hidden_size"), c.integer("intermediate_size"))
        return experts(c)

    return llama_like(config, query_norm="head", experts=block)


def _olmoe(config: Config) -> Architecture:
    return llama_like(config, query_norm="full", experts=lambda c, _: experts(c))


def _granitemoe(config: Config) -> Architecture:
    def block(c: Config, _: int) -> FeedForward | Experts:
        shared_width = int(c.get("shared_intermediate_size", 0))
        hidden = c.integer("hidden_size")
        shared = None
        if shared_width and c.get("model_type") == "granitemoeshared":
            up = Linear("input_linear", hidden, 2 * shared_width)
            shared = FeedForward(None, up, Linear("output_linear", shared_width, hidden), "silu", fused=True)
        return experts(c, shared=shared)

    return llama_like(config, scaled_embedding=True, scaled_logits=1, experts=block)


def _gpt_oss(config: Config) -> Architecture:
    def block(c: Config, _: int) -> Experts:
        hidden = c.integer("hidden_size")
        count = c.integer("num_local_experts")
        return experts(c, bias=True, router=Linear("router", hidden, count, bias=True))

    count = config.integer("num_hidden_layers")
    windows = config.pattern(count) if config.get("layer_types") else [index % 2 == 0 for index in range(count)]
    bias = config.flag("attention_bias", True)
    return llama_like(config, qkv_bias=bias, output_bias=bias, sinks=True, windows=windows, experts=block)


def latent_attention(config: Config, value: int | None = None) -> Attention:
    """Multi-head latent attention: keys and values come out of one narrow latent, and that is what can be cached."""
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    rope = config.integer("qk_rope_head_dim")
    nope = config.integer("qk_nope_head_dim")
    value = value or config.integer("v_head_dim")
    latent = config.integer("kv_lora_rank")
    bias = config.flag("attention_bias")
    norms: list[Norm] = []
    projections: list[Linear] = []
    if config.has("q_lora_rank"):
        rank = config.integer("q_lora_rank")
        projections += [
            Linear("q_a_proj", hidden, rank, bias),
            Linear("q_b_proj", rank, heads * (nope + rope)),
        ]
        norms.append(Norm("q_a_layernorm", rank))
    else:
        projections.append(Linear("q_proj", hidden, heads * (nope + rope)))
    projections += [
        Linear("kv_a_proj_with_mqa", hidden, latent + rope, bias),
        Linear("kv_b_proj", latent, heads * (nope + value)),
        Linear("o_proj", heads * value, hidden, bias),
    ]
    norms.append(Norm("kv_a_layernorm", latent))
    return Attention(
        tuple(projections), heads, heads, nope + rope, value, latent_norms=tuple(norms), latent=latent + rope
    )


def _deepseek(config: Config, *, default_first_dense: int = 0, correction: bool = False) -> Architecture:
    hidden = config.integer("hidden_size")
    mixer = latent_attention(config)
    width = config.integer("moe_intermediate_size")
    shared_count = int(config.get("n_shared_experts") or 0)
    shared = dense(hidden, width * shared_count) if shared_count else None
    routed = config.integer("n_routed_experts", "num_local_experts")
    sparse = experts(config, shared=shared, router_bias=routed if correction else 0)
    sparse = replace(sparse, router_bias=0)  # e_score_correction_bias is a buffer, not a parameter
    first = int(config.get("first_k_dense_replace", default_first_dense))
    plain = dense(hidden, config.integer("intermediate_size"))
    pair = (Norm("input_layernorm", hidden), Norm("post_attention_layernorm", hidden))
    layers = tuple(
        Layer(mixer, plain if index < first else sparse, pair) for index in range(config.integer("num_hidden_layers"))
    )
    return Architecture(
        model_type=str(config.get("model_type")),
        name=str((config.get("architectures") or [config.get("model_type")])[0]),
        hidden=hidden,
        vocab=config.integer("vocab_size"),
        layers=layers,
        final_norm=Norm("norm", hidden),
        tied=config.flag("tie_word_embeddings"),
        context=config.get("max_position_embeddings"),
    )


def _glm4_moe(config: Config) -> Architecture:
    first = int(config.get("first_k_dense_replace", 1))
    hidden = config.integer("hidden_size")
    width = config.integer("moe_intermediate_size")

    def block(c: Config, index: int) -> FeedForward | Experts:
        if index < first:
            return dense(hidden, c.integer("intermediate_size"))
        return experts(c, shared=dense(hidden, width * int(c.get("n_shared_experts", 1))))

    return llama_like(config, output_bias=False, query_norm="head" if config.flag("use_qk_norm") else "", experts=block)


FAMILIES: dict[str, Builder] = {
    "mixtral": _mixtral,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "olmoe": _olmoe,
    "granitemoe": _granitemoe,
    "granitemoeshared": _granitemoe,
    "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek,
    "deepseek_v3": lambda config: _deepseek(config, default_first_dense=3),
    "glm4_moe_lite": lambda config: _deepseek(config, default_first_dense=1),
    "glm4_moe": _glm4_moe,
}
