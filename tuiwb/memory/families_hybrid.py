"""Hybrids of attention and recurrences, and what else came after: Jamba, Qwen3-Next, Phi-3.5-MoE, MiniCPM3."""

from collections.abc import Callable

from msgspec.structs import replace

from tuiwb.memory.architecture import Architecture, Experts, FeedForward, Layer, Linear, Norm, Recurrence
from tuiwb.memory.config import Config
from tuiwb.memory.families import Builder, llama_like
from tuiwb.memory.families_moe import dense, experts, latent_attention

_RECURRENT = (
    "layers without attention are counted as their fused kernels keep them (mamba-ssm, flash-linear-attention); "
    "without these packages transformers computes them in pieces and needs more"
)


def _jamba(config: Config) -> Architecture:
    """Seven Mamba layers to one of attention; every second feed-forward block is a mixture of experts."""
    hidden = config.integer("hidden_size")
    width = config.integer("intermediate_size")
    state = config.integer("mamba_d_state", default=16)
    kernel = config.integer("mamba_d_conv", default=4)
    inner = hidden * config.integer("mamba_expand", default=2)
    automatic = config.get("mamba_dt_rank", "auto") == "auto"
    steps = -(-hidden // 16) if automatic else config.integer("mamba_dt_rank")
    bias = config.flag("mamba_proj_bias")
    mixer = Recurrence(
        "mamba",
        (
            Linear("in_proj", hidden, 2 * inner, bias),
            Linear("x_proj", inner, steps + 2 * state),
            Linear("dt_proj", steps, inner, True),
            Linear("out_proj", inner, hidden, bias),
        ),
        (Norm("dt_layernorm", steps), Norm("b_layernorm", state), Norm("c_layernorm", state)),
        # the convolution, A_log and D
        inner * kernel + (inner if config.flag("mamba_conv_bias", True) else 0) + inner * state + inner,
        # both halves of the projection, the convolution's output, the step sizes before and after theirs, B, C
        4 * inner + steps + 2 * state,
        inner * (state + kernel),
    )

    def block(c: Config, index: int) -> FeedForward | Experts:
        period, offset = int(c.get("expert_layer_period", 2)), int(c.get("expert_layer_offset", 1))
        if index % period != offset or c.integer("num_experts", default=16) == 1:
            return dense(hidden, width)
        return experts(c, width=width, router=Linear("router", hidden, c.integer("num_experts", default=16)))

    period, offset = int(config.get("attn_layer_period", 8)), int(config.get("attn_layer_offset", 4))
    base = llama_like(
        config, qkv_bias=False, output_bias=False, norms=("input_layernorm", "pre_ff_layernorm"), experts=block
    )
    return _with_recurrences(base, mixer, lambda index: index % period != offset)


def _qwen3_next(config: Config) -> Architecture:
    """Three layers of the gated delta rule to one of attention with a gate."""
    hidden = config.integer("hidden_size")
    keys = config.integer("linear_num_key_heads") * config.integer("linear_key_head_dim")
    heads = config.integer("linear_num_value_heads")
    value = config.integer("linear_value_head_dim")
    values = heads * value
    mixed = 2 * keys + values
    mixer = Recurrence(
        "delta",
        (
            Linear("in_proj_qkvz", hidden, mixed + values),
            Linear("in_proj_ba", hidden, 2 * heads),
            Linear("out_proj", values, hidden),
        ),
        (Norm("norm", value),),
        # the convolution, dt_bias and A_log
        mixed * config.integer("linear_conv_kernel_dim", default=4) + 2 * heads,
        # what goes into the convolution and comes out of it, the gate, the rule's output, the decays
        2 * mixed + 2 * values + 2 * heads,
        heads * value * config.integer("linear_key_head_dim") + 4 * mixed,
    )

    def block(c: Config, index: int) -> FeedForward | Experts:
        step = int(c.get("decoder_sparse_step", 1))
        if index in (c.get("mlp_only_layers") or []) or (index + 1) % step:
            return dense(hidden, c.integer("intermediate_size"))
        shared = dense(hidden, c.integer("shared_expert_intermediate_size"))
        return experts(c, shared=shared, shared_gate=Linear("shared_expert_gate", hidden, 1))

    base = llama_like(config, mlp_bias=False, query_norm="head", query_gate=True, experts=block)
    kinds = config.get("layer_types") or [
        "full_attention" if (index + 1) % 4 == 0 else "linear_attention" for index in range(len(base.layers))
    ]
    return _with_recurrences(base, mixer, lambda index: kinds[index] == "linear_attention")


def _with_recurrences(base: Architecture, mixer: Recurrence, recurrent: Callable[[int], bool]) -> Architecture:
    layers: tuple[Layer, ...] = tuple(
        replace(layer, mixer=mixer) if recurrent(index) else layer for index, layer in enumerate(base.layers)
    )
    return replace(base, layers=layers, notes=(*base.notes, _RECURRENT))


def _phimoe(config: Config) -> Architecture:
    bias = config.flag("attention_bias")
    return llama_like(
        config,
        qkv_bias=bias,
        output_bias=bias,
        layer_norm=True,
        norm_bias=True,
        head_bias=config.flag("lm_head_bias"),
        experts=lambda c, _: experts(c, names=("w1", "w3", "w2"), router=_router(c)),
    )


def _router(config: Config) -> Linear:
    return Linear("router", config.integer("hidden_size"), config.integer("num_local_experts"))


def _minicpm3(config: Config) -> Architecture:
    """Latent attention with a dense feed-forward block; embedding and logits are scaled."""
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    mixer = latent_attention(config, value=config.integer("v_head_dim", default=hidden // heads))
    layer = Layer(
        mixer,
        dense(hidden, config.integer("intermediate_size")),
        (Norm("input_layernorm", hidden), Norm("post_attention_layernorm", hidden)),
    )
    base = llama_like(config, tied=True, scaled_embedding=True, scaled_logits=1)
    return replace(base, layers=(layer,) * len(base.layers))


FAMILIES: dict[str, Builder] = {
    "jamba": _jamba,
    "qwen3_next": _qwen3_next,
    "phimoe": _phimoe,
    "minicpm3": _minicpm3,
}
