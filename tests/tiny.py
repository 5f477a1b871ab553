"""A tiny random Llama in a folder, made without torch: what unit tests use where the proofs use the 135M model."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris is the capital. " * 3


def make_tiny_model(
    folder: Path,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    chat_template: str | None = CHATML,
    tie: bool = True,
    seed: int = 0,
    context: int = 512,
) -> Path:
    """Write config, safetensors (float32), tokenizer and chat template into `folder`.

    Special tokens as SmolLM2 has them: `<|endoftext|>` 0, `<|im_start|>` 1 (bos), `<|im_end|>` 2 (eos and pad).
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    vocab = tokenizer.get_vocab_size()
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<|im_start|>",
                "eos_token": "<|im_end|>",
                "pad_token": "<|im_end|>",
                "model_max_length": context,
                "clean_up_tokenization_spaces": False,
                **({"chat_template": chat_template} if chat_template else {}),
            }
        )
    )
    intermediate, head = 2 * hidden, hidden // heads
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": hidden,
                "intermediate_size": intermediate,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "num_key_value_heads": kv_heads,
                "head_dim": head,
                "vocab_size": vocab,
                "max_position_embeddings": context,
                "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0,
                "hidden_act": "silu",
                "attention_bias": False,
                "mlp_bias": False,
                "tie_word_embeddings": tie,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "pad_token_id": 2,
                "dtype": "float32",
            }
        )
    )
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    )
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> "np.ndarray":
        return (random.standard_normal(shape) * 0.05).astype(np.float32)

    ones = np.ones(hidden, dtype=np.float32)
    tensors = {"model.embed_tokens.weight": weight(vocab, hidden), "model.norm.weight": ones.copy()}
    if not tie:
        tensors["lm_head.weight"] = weight(vocab, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        tensors |= {
            at + "self_attn.q_proj.weight": weight(heads * head, hidden),
            at + "self_attn.k_proj.weight": weight(kv_heads * head, hidden),
            at + "self_attn.v_proj.weight": weight(kv_heads * head, hidden),
            at + "self_attn.o_proj.weight": weight(hidden, heads * head),
            at + "mlp.gate_proj.weight": weight(intermediate, hidden),
            at + "mlp.up_proj.weight": weight(intermediate, hidden),
            at + "mlp.down_proj.weight": weight(hidden, intermediate),
            at + "input_layernorm.weight": ones.copy(),
            at + "post_attention_layernorm.weight": ones.copy(),
        }
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder
