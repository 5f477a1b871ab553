"""Tiny GGUF files for tests, written by the gguf package itself."""

from pathlib import Path
from typing import Any

import numpy as np

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
