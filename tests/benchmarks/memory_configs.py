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


def _qwen(hidden: int, inner: int, layers: int, heads: int, vocab: int = 151936) -> dict[str, Any]:
    return _llama(hidden, 2 * inner, layers, heads, heads, vocab, model_type="qwen", architectures=["QWenLMHeadModel"])


def _mistral(hidden: int, inner: int, layers: int, heads: int, vocab: int, **more: Any) -> dict[str, Any]:
    return _llama(
        hidden, inner, layers, heads, 8, vocab, model_type="mistral", architectures=["MistralForCausalLM"], **more
    )


CONFIGS |= {
    "qwen-1.8b": _qwen(2048, 5504, 24, 16),
    "qwen-7b": _qwen(4096, 11008, 32, 32),
    "qwen-14b": _qwen(5120, 13696, 40, 40, 152064),
    "qwen-72b": _qwen(8192, 24576, 80, 64, 152064),
    "yi-6b": _llama(4096, 11008, 32, 32, 4, 64000),
    "zephyr-7b": _mistral(4096, 14336, 32, 32, 36608),
    "baichuan2-7b": _llama(
        4096, 11008, 32, 32, 32, 125696, model_type="baichuan", architectures=["BaichuanForCausalLM"]
    ),
    "stablelm-alpha-3b": {
        "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 16, "num_attention_heads": 32, "vocab_size": 50688, "use_parallel_residual": True,
    },
    "mistral-small-24b": _mistral(5120, 32768, 40, 32, 131072, head_dim=128),
    "ministral-8b": _mistral(4096, 12288, 36, 32, 131072, head_dim=128),
    "olmo-3-7b": _llama(4096, 11008, 32, 32, 32, 100278, model_type="olmo3", architectures=["Olmo3ForCausalLM"]),
    "seed-oss-36b": _llama(
        5120, 27648, 64, 80, 8, 155136, head_dim=128, model_type="seed_oss", architectures=["SeedOssForCausalLM"]
    ),
}  # fmt: skip

# Names of the measurements, lower case, as they contain them; the first that is found counts.
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
    "qwen-1_8b": "qwen-1.8b",
    "qwen-1.8b": "qwen-1.8b",
    "qwen-7b": "qwen-7b",
    "qwen-14b": "qwen-14b",
    "qwen-72b": "qwen-72b",
    "yi-6b": "yi-6b",
    "zephyr-7b": "zephyr-7b",
    "baichuan2-7b": "baichuan2-7b",
    "stablelm alpha 3b": "stablelm-alpha-3b",
    "stablelm-base-alpha-3b": "stablelm-alpha-3b",
    "magistral-small": "mistral-small-24b",
    "devstral-small": "mistral-small-24b",
    "ministral-8b": "ministral-8b",
    "olmo-3-7b": "olmo-3-7b",
    "seed-oss-36b": "seed-oss-36b",
    "llama-2-7b": "llama-2-7b",
    "llama-7b": "llama-2-7b",
    "llama-13b": "llama-2-13b",
    "llama-2-13b": "llama-2-13b",
}
# And those that the program's own catalogue has.
CATALOGUED = {
    "llama 2 7b": "llama-2-7b", "llama 2 13b": "llama-2-13b", "llama 2 70b": "llama-2-70b",
    "codellama 34b": "codellama-34b", "falcon 40b": "falcon-40b", "falcon-7b": "falcon-7b", "phi-1.5": "phi-1.5",
    "phi-2": "phi-2", "phi-3-mini-4k": "phi-3-mini-4k-instruct", "gemma-2b": "gemma-2b", "gemma-7b": "gemma-7b",
    "gemma-2-9b": "gemma-2-9b", "tiny-llama": "tinyllama-1.1b-chat", "llama 3.1 8b": "llama-3.1-8b",
    "llama-3.1-8b": "llama-3.1-8b", "llama-3-8b": "llama-3-8b", "llama-3.2-1b": "llama-3.2-1b",
    "llama-3.2-3b": "llama-3.2-3b", "llama 3.2 3b": "llama-3.2-3b", "llama 3.3 70b": "llama-3.3-70b-instruct",
    "qwen3-0.6b": "qwen3-0.6b", "qwen3-1.7b": "qwen3-1.7b", "qwen3-4b": "qwen3-4b", "qwen3-8b": "qwen3-8b",
    "qwen3-14b": "qwen3-14b", "qwen3-32b": "qwen3-32b",
}  # fmt: skip


def config_named(name: str) -> dict[str, Any] | None:
    """The configuration of a model as a measurement names it; None for one that is not known here."""
    lowered = name.lower()
    for part, key in NAMES.items():
        if part in lowered:
            return CONFIGS[key]
    for part, key in CATALOGUED.items():
        if part in lowered:
            from tuiwb.models import catalogue

            return next(dict(entry.config) for entry in catalogue() if entry.name == key)
    return None
