"""Configurations of the models that the measurements name: of what their repositories publish the keys that matter."""

from typing import Any


def _llama(hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
        **more,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "mistral-7b": _llama(4096, 14336, 32, 32, 8, 32000, model_type="mistral", architectures=["MistralForCausalLM"]),
    "mistral-7b-gptq": _llama(
        4096, 14336, 32, 32, 8, 32000, model_type="mistral", architectures=["MistralForCausalLM"],
        quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128},
    ),
    "llama-3-8b": _llama(4096, 14336, 32, 32, 8, 128256),
    "llama-3-8b-gptq": _llama(
        4096, 14336, 32, 32, 8, 128256, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128}
    ),
    "llama-2-7b": _llama(4096, 11008, 32, 32, 32, 32000),
    "llama-2-13b": _llama(5120, 13824, 40, 40, 40, 32000),
    "llama-2-70b": _llama(8192, 28672, 80, 64, 8, 32000),
    "llama-2-70b-gptq": _llama(
        8192, 28672, 80, 64, 8, 32000, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128}
    ),
    "llama-3-70b": _llama(8192, 28672, 80, 64, 8, 128256),
    "llama-3.2-3b": _llama(3072, 8192, 28, 24, 8, 128256, tie_word_embeddings=True),
    "mixtral-8x7b": _llama(
        4096, 14336, 32, 32, 8, 32000, model_type="mixtral", architectures=["MixtralForCausalLM"],
        num_local_experts=8, num_experts_per_tok=2,
    ),
    "mixtral-8x7b-gptq": _llama(
        4096, 14336, 32, 32, 8, 32000, model_type="mixtral", architectures=["MixtralForCausalLM"],
        num_local_experts=8, num_experts_per_tok=2,
        quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128},
    ),
    "powerlm-3b": _llama(
        2304, 9216, 40, 36, 36, 49152, model_type="granite", architectures=["GraniteForCausalLM"],
        tie_word_embeddings=True,
    ),
    "granite-8b": _llama(4096, 14336, 36, 32, 8, 49152, tie_word_embeddings=True),
    "santacoder": {
        "model_type": "gpt_bigcode",
        "architectures": ["GPTBigCodeForCausalLM"],
        "n_embd": 2048,
        "n_inner": 8192,
        "n_layer": 24,
        "n_head": 16,
        "n_positions": 2048,
        "vocab_size": 49280,
        "multi_query": True,
    },
}  # fmt: skip


# Names of the measurements, lower case, as they contain them.
NAMES = {
    "mistral-7b-v0.1-gptq": "mistral-7b-gptq",
    "mistral-7b": "mistral-7b",
    "meta-llama-3-8b-gptq": "llama-3-8b-gptq",
    "meta-llama-3-8b": "llama-3-8b",
    "llama-2-70b-gptq": "llama-2-70b-gptq",
    "llama-2-70b": "llama-2-70b",
    "mixtral-8x7b-instruct-v0.1-gptq": "mixtral-8x7b-gptq",
    "mixtral-8x7b": "mixtral-8x7b",
    "powerlm-3b": "powerlm-3b",
    "granite-8b": "granite-8b",
    "santacoder": "santacoder",
}


def config_named(name: str) -> dict[str, Any] | None:
    """The configuration of a model as a measurement names it; None for one that is not listed here."""
    lowered = name.lower()
    for part, key in NAMES.items():
        if part in lowered:
            return CONFIGS[key]
    return None
