"""Shapes from config.json: exact against transformers, and refused where they are not known."""

from collections.abc import Iterator
from typing import Any

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.memory.families import architecture, known_architectures
from tuiwb.models import catalogue

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "head_dim": 16,
    "max_position_embeddings": 64,
}
_GPT2 = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64}
_LATENT = {
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
    "moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 2,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
MORE: dict[str, dict[str, Any]] = {
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gptj": {**_GPT2, "rotary_dim": 8},
    "bloom": {"n_layer": 3, "n_head": 4},
    "mpt": {"d_model": 64, "n_layers": 3, "n_heads": 4},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 32},
    "falcon": {"num_kv_heads": 2},
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "glm4_moe_lite": _LATENT,
    "qwen2_moe": {
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48, "num_experts": 8, "num_experts_per_tok": 2,
    },
    "qwen3_moe": {"moe_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": 2},
    "glm4_moe": {
        "moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
        "use_qk_norm": True,
    },
    "mixtral": _EXPERTS,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": _EXPERTS,
    "granitemoeshared": {**_EXPERTS, "shared_intermediate_size": 40},
    "gpt_oss": {**_EXPERTS, "layer_types": None},
    "phimoe": {**_EXPERTS, "attention_bias": True, "lm_head_bias": True},
    "jamba": {
        **_EXPERTS, "num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 8,
        "mamba_d_state": 4,
    },
    "qwen3_next": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "minicpm3": {
        "q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
        "num_key_value_heads": 4,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


# Their modelling code comes with their weights; gemma3 is built by its text part.
ELSEWHERE = ("qwen", "baichuan", "gemma3")


@pytest.mark.torch
@pytest.mark.parametrize("model_type", [name for name in known_architectures() if name not in ELSEWHERE])
def test_parameters_are_exactly_those_that_transformers_builds(model_type: str) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    values = SMALL | MORE.get(model_type, {})
    try:
        config = AutoConfig.for_model(model_type, **values)
    except Exception:
        # Some configurations derive these and refuse to be told.
        derived = ("head_dim", "num_key_value_heads")
        config = AutoConfig.for_model(model_type, **{k: v for k, v in values.items() if k not in derived})
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, 0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    exact = sum(parameter.numel() for parameter in model.parameters())
    assert architecture(config.to_diff_dict()).parameters == exact


@pytest.mark.parametrize(
    ("name", "config", "parameters"),
    [
        (
            "Mistral-7B-v0.1",
            {"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000},
            7_241_732_096,
        ),
        (
            "Llama-3-8B",
            {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
            8_030_261_248,
        ),
        (
            "Mixtral-8x7B",
            {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
             "num_experts_per_tok": 2},
            46_702_792_704,
        ),
        (
            "Qwen-7B",
            {"model_type": "qwen", "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
             "num_attention_heads": 32, "vocab_size": 151936},
            7_721_324_544,
        ),
        (
            "Baichuan2-7B",
            {"model_type": "baichuan", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
             "num_attention_heads": 32, "vocab_size": 125696},
            7_505_973_248,
        ),
    ],
)  # fmt: skip
def test_published_models_have_their_published_count(name: str, config: dict[str, Any], parameters: int) -> None:
    assert architecture(config).parameters == parameters, name


def test_every_model_of_the_catalogue_is_planned_with_its_exact_count() -> None:
    entries = catalogue()
    assert len(entries) >= 60
    for entry in entries:
        assert architecture(entry.config).parameters == entry.parameters, entry.name


def test_the_configuration_of_a_multimodal_model_is_read_from_its_text_part() -> None:
    inner = {"model_type": "llama", **SMALL}
    assert architecture({"model_type": "llava", "text_config": inner}) == architecture(inner)


def test_an_unknown_architecture_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(InputFault, match=r"mistrall.*nearest known one is mistral"):
        architecture({"model_type": "mistrall"})
    with pytest.raises(InputFault, match="names no architecture"):
        architecture({})


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [None, 0, -3, True, "4096", 10**12])
def test_missing_and_absurd_values_are_refused_with_their_key(key: str, value: object) -> None:
    with pytest.raises(InputFault) as caught:
        architecture({"model_type": "llama", **SMALL, key: value})
    assert caught.value.key == key
