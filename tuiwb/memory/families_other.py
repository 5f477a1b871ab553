"""Architectures outside the Llama line: GPT-2 and its children with learned positions and layer norms, and those with
fused matrices."""

from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.memory.architecture import Architecture, Attention, FeedForward, Layer, Linear, Norm
from tuiwb.memory.config import Config
from tuiwb.memory.families import Builder, llama_like


class _Names(Struct, frozen=True):
    """How a family names its modules."""

    qkv: tuple[str, ...]
    out: str
    up: str
    down: str
    norms: tuple[str, ...]
    final: str = "ln_f"


def _classic(
    config: Config,
    names: _Names,
    *,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int | None = None,
    width: int,
    qkv_bias: bool = True,
    out_bias: bool = True,
    mlp_bias: bool = True,
    norm_bias: bool = True,
    parallel: bool = False,
    rotary: bool = False,
    positions: int = 0,
    tied: bool = True,
    head_bias: bool = False,
    embedding_norm: bool = False,
    embedding_width: int = 0,
    final_norm: bool = True,
    dropout: bool = False,
    head_dim: int | None = None,
    activation: str = "gelu",
    other: tuple[tuple[str, int], ...] = (),
) -> Architecture:
    head_dim = head_dim or hidden // heads
    kv_heads = kv_heads or heads
    total = heads * head_dim + 2 * kv_heads * head_dim
    if len(names.qkv) == 1:
        into = (Linear(names.qkv[0], hidden, total, qkv_bias),)
    else:
        sizes = (heads, kv_heads, kv_heads)
        into = tuple(  # type: ignore[assignment]
            Linear(name, hidden, count * head_dim, qkv_bias) for name, count in zip(names.qkv, sizes, strict=True)
        )
    mixer = Attention(
        (*into, Linear(names.out, heads * head_dim, hidden, out_bias)),
        heads,
        kv_heads,
        head_dim,
        head_dim,
        fused=len(names.qkv) == 1,
        rotary=rotary,
        residual_dropout=dropout,
    )
    block = FeedForward(
        None,
        Linear(names.up, hidden, width, mlp_bias),
        Linear(names.down, width, hidden, mlp_bias),
        activation,
        residual_dropout=dropout,
    )
    layer = Layer(mixer, block, tuple(Norm(name, hidden, "layer", bias=norm_bias) for name in names.norms), parallel)
    return Architecture(
        model_type=str(config.get("model_type")),
        name=str((config.get("architectures") or [config.get("model_type")])[0]),
        hidden=hidden,
        vocab=config.integer("vocab_size"),
        layers=(layer,) * layers,
        final_norm=Norm(names.final, hidden, "layer", bias=norm_bias) if final_norm else None,
        tied=config.flag("tie_word_embeddings", tied),
        context=config.get("max_position_embeddings") or config.get("n_positions"),
        positions=positions,
        embedding_width=embedding_width,
        head_bias=head_bias,
        embedding_norm=Norm("word_embeddings_layernorm", hidden, "layer", bias=norm_bias) if embedding_norm else None,
        embedding_dropout=dropout,
        other=other,
    )


def _gpt2(config: Config) -> Architecture:
    hidden = config.integer("n_embd", "hidden_size")
    multi_query = config.get("model_type") == "gpt_bigcode" and config.flag("multi_query", True)
    return _classic(
        config,
        _Names(("c_attn",), "c_proj", "c_fc", "c_proj", ("ln_1", "ln_2")),
        hidden=hidden,
        layers=config.integer("n_layer", "num_hidden_layers"),
        heads=config.integer("n_head", "num_attention_heads"),
        kv_heads=1 if multi_query else None,
        width=config.integer("n_inner", default=4 * hidden),
        positions=config.integer("n_positions", "max_position_embeddings"),
        dropout=True,
    )


def _gpt_neox(config: Config) -> Architecture:
    bias = config.flag("attention_bias", True)
    return _classic(
        config,
        _Names(
            ("query_key_value",),
            "dense",
            "dense_h_to_4h",
            "dense_4h_to_h",
            ("input_layernorm", "post_attention_layernorm"),
            "final_layer_norm",
        ),
        hidden=config.integer("hidden_size"),
        layers=config.integer("num_hidden_layers"),
        heads=config.integer("num_attention_heads"),
        width=config.integer("intermediate_size"),
        qkv_bias=bias,
        out_bias=bias,
        parallel=config.flag("use_parallel_residual", True),
        rotary=True,
        tied=False,
    )


def _gptj(config: Config) -> Architecture:
    hidden = config.integer("n_embd", "hidden_size")
    return _classic(
        config,
        _Names(("q_proj", "k_proj", "v_proj"), "out_proj", "fc_in", "fc_out", ("ln_1",)),
        hidden=hidden,
        layers=config.integer("n_layer", "num_hidden_layers"),
        heads=config.integer("n_head", "num_attention_heads"),
        width=config.integer("n_inner", default=4 * hidden),
        qkv_bias=False,
        out_bias=False,
        parallel=True,
        rotary=True,
        tied=False,
        head_bias=True,
    )


def _phi(config: Config) -> Architecture:
    return _classic(
        config,
        _Names(("q_proj", "k_proj", "v_proj"), "dense", "fc1", "fc2", ("input_layernorm",), "final_layernorm"),
        hidden=config.integer("hidden_size"),
        layers=config.integer("num_hidden_layers"),
        heads=config.integer("num_attention_heads"),
        kv_heads=config.integer("num_key_value_heads", default=config.integer("num_attention_heads")),
        width=config.integer("intermediate_size"),
        parallel=True,
        rotary=True,
        tied=False,
        head_bias=True,
    )


def _opt(config: Config) -> Architecture:
    hidden = config.integer("hidden_size")
    embedding = config.integer("word_embed_proj_dim", default=hidden)
    bias = config.flag("enable_bias", True)
    final = config.flag("do_layer_norm_before", True) and not config.flag("_remove_final_layer_norm")
    projected = embedding != hidden
    return _classic(
        config,
        _Names(
            ("q_proj", "k_proj", "v_proj"),
            "out_proj",
            "fc1",
            "fc2",
            ("self_attn_layer_norm", "final_layer_norm"),
            "final_layer_norm",
        ),
        hidden=hidden,
        layers=config.integer("num_hidden_layers"),
        heads=config.integer("num_attention_heads"),
        width=config.integer("ffn_dim"),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        positions=config.integer("max_position_embeddings") + 2,
        embedding_width=embedding if projected else 0,
        final_norm=final,
        dropout=True,
        activation="relu",
        other=(("project_in", hidden * embedding), ("project_out", hidden * embedding)) if projected else (),
    )


def _bloom(config: Config) -> Architecture:
    hidden = config.integer("hidden_size", "n_embed")
    return _classic(
        config,
        _Names(
            ("query_key_value",),
            "dense",
            "dense_h_to_4h",
            "dense_4h_to_h",
            ("input_layernorm", "post_attention_layernorm"),
        ),
        hidden=hidden,
        layers=config.integer("n_layer", "num_hidden_layers"),
        heads=config.integer("n_head", "num_attention_heads"),
        width=4 * hidden,
        embedding_norm=True,
        dropout=True,
    )


def _falcon(config: Config) -> Architecture:
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads", "n_head")
    new = config.flag("new_decoder_architecture")
    multi_query = config.flag("multi_query", True)
    kv_heads = config.integer("num_kv_heads", default=heads) if new or not multi_query else 1
    parallel = config.flag("parallel_attn", True) or new
    two_norms = new and int(config.get("num_ln_in_parallel_attn") or 2) == 2
    norms: tuple[str, ...] = ("ln_attn", "ln_mlp") if two_norms else ("input_layernorm",)
    if not parallel:
        norms = ("input_layernorm", "post_attention_layernorm")
    bias = config.flag("bias")
    return _classic(
        config,
        _Names(("query_key_value",), "dense", "dense_h_to_4h", "dense_4h_to_h", norms),
        hidden=hidden,
        layers=config.integer("num_hidden_layers", "n_layer"),
        heads=heads,
        kv_heads=kv_heads,
        width=config.integer("ffn_hidden_size", default=4 * hidden),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        parallel=parallel,
        rotary=not config.flag("alibi"),
        dropout=True,
    )


def _mpt(config: Config) -> Architecture:
    hidden = config.integer("d_model", "hidden_size")
    bias = not config.flag("no_bias", True)
    return _classic(
        config,
        _Names(("Wqkv",), "out_proj", "up_proj", "down_proj", ("norm_1", "norm_2"), "norm_f"),
        hidden=hidden,
        layers=config.integer("n_layers", "num_hidden_layers"),
        heads=config.integer("n_heads", "num_attention_heads"),
        width=int(config.get("expansion_ratio", 4)) * hidden,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        norm_bias=False,
        dropout=True,
    )


def _glm(config: Config) -> Architecture:
    """GLM and GLM-4: one matrix for gate and up."""
    base = llama_like(config, output_bias=False, mlp_bias=False, norms=_glm_norms(config))
    layers = tuple(_with_fused_mlp(layer, base.hidden) for layer in base.layers)
    return replace(base, layers=layers)


def _glm_norms(config: Config) -> tuple[str, ...]:
    pair = ("input_layernorm", "post_attention_layernorm")
    return (*pair, "post_self_attn_layernorm", "post_mlp_layernorm") if config.get("model_type") == "glm4" else pair


def _with_fused_mlp(layer: Layer, hidden: int) -> Layer:
    block = cast(FeedForward, layer.feed_forward)
    fused = Linear("gate_up_proj", hidden, 2 * block.width)
    return replace(layer, feed_forward=replace(block, gate=None, up=fused, fused=True))


def _phi3(config: Config) -> Architecture:
    """One matrix for queries, keys and values, one for gate and up."""
    count = config.integer("num_hidden_layers")
    base = llama_like(
        config,
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        windows=[bool(config.get("sliding_window"))] * count if not config.get("layer_types") else None,
    )

    def fused(layer: Layer) -> Layer:
        mixer = cast(Attention, layer.mixer)
        qkv = Linear("qkv_proj", base.hidden, mixer.query_width + 2 * mixer.kv_width)
        return replace(layer, mixer=replace(mixer, projections=(qkv, mixer.projections[-1]), fused=True))

    return replace(base, layers=tuple(_with_fused_mlp(fused(layer), base.hidden) for layer in base.layers))


def _qwen(config: Config) -> Architecture:
    """Qwen 1, whose modelling code comes with its weights: one matrix for queries, keys and values."""
    hidden = config.integer("hidden_size")
    qkv = Linear("c_attn", hidden, 3 * hidden, True)
    width = config.integer("intermediate_size") // 2
    block = FeedForward(
        Linear("w2", hidden, width), Linear("w1", hidden, width), Linear("c_proj", width, hidden), "silu"
    )
    return _fused_llama(config, qkv, "c_proj", block)


def _baichuan(config: Config) -> Architecture:
    """Baichuan 2, whose modelling code comes with its weights."""
    hidden, width = config.integer("hidden_size"), config.integer("intermediate_size")
    block = FeedForward(
        Linear("gate_proj", hidden, width), Linear("up_proj", hidden, width), Linear("down_proj", width, hidden), "silu"
    )
    return _fused_llama(config, Linear("W_pack", hidden, 3 * hidden), "o_proj", block)


def _fused_llama(config: Config, qkv: Linear, out: str, block: FeedForward) -> Architecture:
    """Llama's layer with one matrix for queries, keys and values of as many heads."""
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    size = hidden // heads
    mixer = Attention((qkv, Linear(out, hidden, hidden)), heads, heads, size, size, fused=True)
    layer = Layer(mixer, block, (Norm("ln_1", hidden), Norm("ln_2", hidden)))
    return Architecture(
        model_type=str(config.get("model_type")),
        name=str((config.get("architectures") or [config.get("model_type")])[0]),
        hidden=hidden,
        vocab=config.integer("vocab_size"),
        layers=(layer,) * config.integer("num_hidden_layers"),
        final_norm=Norm("ln_f", hidden),
        tied=config.flag("tie_word_embeddings"),
        context=config.get("max_position_embeddings"),
    )


FAMILIES: dict[str, Builder] = {
    "gpt2": _gpt2,
    "gpt_bigcode": _gpt2,
    "gpt_neox": _gpt_neox,
    "gptj": _gptj,
    "phi": _phi,
    "opt": _opt,
    "bloom": _bloom,
    "falcon": _falcon,
    "mpt": _mpt,
    "glm": _glm,
    "glm4": _glm,
    "phi3": _phi3,
    "qwen": _qwen,
    "baichuan": _baichuan,
}
