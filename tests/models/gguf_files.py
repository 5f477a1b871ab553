"""Tiny GGUF files for tests, written by the gguf package itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SENTENCEPIECE = ["<unk>", "<s>", "</s>", *BYTES, "▁", "h", "e", "l", "o", "▁h", "el", "lo", "▁hel", "▁hello", "w"]


def write_llama(path: Path, *, tensors: bool = True, **metadata: Any) -> Path:
    """A Llama of 2 layers, 8 wide, with tied embeddings over 16 tokens unless `metadata` says otherwise."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(1)
    for key, value in metadata.items():
        getattr(writer, f"add_{key}")(value)
    if tensors:
        writer.add_tensor("token_embd.weight", np.zeros((16, 8), dtype=np.float16))
        writer.add_tensor("output_norm.weight", np.ones(8, dtype=np.float32))
        writer.add_tensor("rope_freqs.weight", np.ones(1, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def sentencepiece_vocabulary() -> dict[str, Any]:
    """Metadata of a small SentencePiece vocabulary in which `▁hello` is built in steps."""
    scores = [0.0] * 259 + [-float(number) for number in range(len(SENTENCEPIECE) - 259)]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(SENTENCEPIECE) - 259)
    return {
        "tokenizer_model": "llama",
        "token_list": SENTENCEPIECE,
        "token_scores": scores,
        "token_types": types,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unk_token_id": 0,
    }


def byte_level_vocabulary(folder: Path) -> dict[str, Any]:
    """The vocabulary of the tiny model as GGUF metadata."""
    saved = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(saved["vocab"], key=saved["vocab"].__getitem__)
    return {
        "tokenizer_model": "gpt2",
        "token_list": tokens,
        "token_types": [3, 3, 3] + [1] * (len(tokens) - 3),
        "token_merges": [" ".join(pair) for pair in saved["merges"]],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_from(folder: Path, path: Path) -> Path:
    """The tiny model as a whole GGUF file, with the names and the order of rotary halves that llama.cpp has."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(0)
    writer.add_license("apache-2.0")
    writer.add_tokenizer_pre("gpt-2")
    for key, value in byte_level_vocabulary(folder).items():
        getattr(writer, f"add_{key}")(value)
    writer.add_chat_template(json.loads((folder / "tokenizer_config.json").read_text())["chat_template"])
    for name, weight in load_file(folder / "model.safetensors").items():
        *place, kind = name.removeprefix("model.").removesuffix(".weight").split(".", 2)
        if not place:
            target = {"embed_tokens": "token_embd", "norm": "output_norm"}[kind]
        else:
            target = f"blk.{place[1]}.{_NAMES[kind]}"
        for suffix, count in (("attn_q", heads), ("attn_k", kv_heads)):
            if target.endswith(suffix):
                weight = weight.reshape(count, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(f"{target}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
