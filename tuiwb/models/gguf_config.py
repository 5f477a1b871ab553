"""A GGUF file's metadata as a config.json in Hugging Face names."""

from collections.abc import Callable
from typing import Any

from tuiwb.base.errors import InputFault
from tuiwb.models.gguf_header import GgufHeader

# llama.cpp's architecture: model_type and class of transformers. `llama` also carries Mistral and SmolLM.
ARCHITECTURES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "llama4": ("llama4_text", "Llama4ForCausalLM"),
    "mistral3": ("mistral", "MistralForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen2moe": ("qwen2_moe", "Qwen2MoeForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "qwen3moe": ("qwen3_moe", "Qwen3MoeForCausalLM"),
    "gemma": ("gemma", "GemmaForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi2": ("phi", "PhiForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
    "phimoe": ("phimoe", "PhimoeForCausalLM"),
    "gpt2": ("gpt2", "GPT2LMHeadModel"),
    "gptneox": ("gpt_neox", "GPTNeoXForCausalLM"),
    "falcon": ("falcon", "FalconForCausalLM"),
    "bloom": ("bloom", "BloomForCausalLM"),
    "starcoder2": ("starcoder2", "Starcoder2ForCausalLM"),
    "stablelm": ("stablelm", "StableLmForCausalLM"),
    "olmo": ("olmo", "OlmoForCausalLM"),
    "olmo2": ("olmo2", "Olmo2ForCausalLM"),
    "olmoe": ("olmoe", "OlmoeForCausalLM"),
    "smollm3": ("smollm3", "SmolLM3ForCausalLM"),
    "granite": ("granite", "GraniteForCausalLM"),
    "granitemoe": ("granitemoe", "GraniteMoeForCausalLM"),
    "command-r": ("cohere", "CohereForCausalLM"),
    "cohere2": ("cohere2", "Cohere2ForCausalLM"),
    "deepseek2": ("deepseek_v2", "DeepseekV2ForCausalLM"),
    "glm4": ("glm4", "Glm4ForCausalLM"),
    "gpt-oss": ("gpt_oss", "GptOssForCausalLM"),
    "lfm2": ("lfm2", "Lfm2ForCausalLM"),
    "mamba": ("mamba", "MambaForCausalLM"),
}

# Metadata under `<architecture>.`: name in config.json. Everything is copied only where the file states it.
_KEYS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.kv_lora_rank": "kv_lora_rank",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "leading_dense_block_count": "first_k_dense_replace",
    "expert_shared_count": "n_shared_experts",
}
_EXPERT_COUNT = {"mixtral": "num_local_experts", "gpt_oss": "num_local_experts", "deepseek_v2": "n_routed_experts"}
_GELU = {"gpt2", "gpt_neox", "phi", "starcoder2", "falcon", "bloom"}
_GEMMA = {"gemma", "gemma2", "gemma3_text"}


def config_of(header: GgufHeader) -> dict[str, Any]:
    """The configuration that a GGUF file states.

    Raises:
        InputFault: the file states no architecture, or lacks a size that every model has.
    """
    name = header.get("general.architecture")
    if not isinstance(name, str):
        raise InputFault("names no architecture (general.architecture)", file=header.path)
    model_type, class_name = _class_of(name, header)
    config: dict[str, Any] = {"model_type": model_type, "architectures": [class_name]}
    for key, hf_name in _KEYS.items():
        value = header.get(f"{name}.{key}")
        if value is not None:
            config[hf_name] = value
    for needed in ("hidden_size", "num_hidden_layers"):
        if needed not in config:
            raise InputFault(f"lacks the metadata that gives {needed}", file=header.path)
    if (experts := header.get(f"{name}.expert_count")) is not None and experts > 0:
        config[_EXPERT_COUNT.get(model_type, "num_experts")] = experts
    _finish(config, name, header)
    return config


def _class_of(name: str, header: GgufHeader) -> tuple[str, str]:
    if name == "llama" and header.get("llama.expert_count", 0):
        return "mixtral", "MixtralForCausalLM"
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    return name, name


def _finish(config: dict[str, Any], name: str, header: GgufHeader) -> None:
    names = {tensor.name for tensor in header.tensors}
    shapes: Callable[[str], tuple[int, ...] | None] = lambda wanted: next(  # noqa: E731
        (tensor.shape for tensor in header.tensors if tensor.name == wanted), None
    )
    embedding = shapes("token_embd.weight")
    if embedding:
        # The metadata may leave it out, and the embedding is what the model really has.
        config["vocab_size"] = embedding[0]
    config.setdefault("vocab_size", header.length("tokenizer.ggml.tokens") or None)
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and heads > 0:
        config.setdefault("num_key_value_heads", heads)
        config.setdefault("head_dim", config["hidden_size"] // heads)
    config["tie_word_embeddings"] = "output.weight" not in names
    if config["model_type"] not in _GELU:
        config["hidden_act"] = "gelu_pytorch_tanh" if config["model_type"] in _GEMMA else "silu"
    config["attention_bias"] = "blk.0.attn_q.bias" in names
    config["mlp_bias"] = "blk.0.ffn_up.bias" in names
    for key, hf_name in (("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")):
        if (token := header.get(f"tokenizer.ggml.{key}_token_id")) is not None:
            config[hf_name] = token
    if scaling := header.get(f"{name}.rope.scaling.type"):
        config["rope_scaling"] = {
            "rope_type": scaling,
            "factor": header.get(f"{name}.rope.scaling.factor"),
            "original_max_position_embeddings": header.get(f"{name}.rope.scaling.original_context_length"),
        }
