"""Exact parameter counts from headers: quantized weights unpacked, tied weights counted once, buffers left out."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tuiwb.models.info import TensorInfo, text_config
from tuiwb.models.safetensors_header import TORCH_NAMES

# Saved with some checkpoints, but computed and never trained: rotary tables, the causal masks of GPT-2 and GPT-NeoX.
_BUFFER = re.compile(
    r"(rotary_emb\.inv_freq|rotary_pos_emb\.inv_freq|attn\.masked_bias|attention\.masked_bias|attn\.rotary_emb\..*"
    r"|position_ids|rope_freqs\.weight|rope_factors_(long|short)\.weight)$"
)
_CAUSAL_MASK = re.compile(r"(attn|attention)\.bias$")

# What quantizers store beside the packed weight (bitsandbytes, GPTQ, AWQ, FP8, compressed-tensors, MXFP4).
_BESIDE = re.compile(
    r"\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*|SCB|weight_format"
    r"|qzeros|scales|g_idx|weight_scale|weight_scale_inv|input_scale|output_scale|weight_scale_2|weight_shape"
    r"|weight_zero_point|weight_g_idx|k_scale|v_scale)$|_scales$|_scale_inv$"
)


def count_parameters(tensors: Iterable[TensorInfo], config: Mapping[str, Any]) -> int:
    """How many numbers the model has, each weight once.

    Args:
        tensors: from the headers of all the files of one model.
        config: config.json, for tied embeddings and the bits of a quantizer.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    total = sum(_elements(tensor, by_name, config) for tensor in by_name.values())
    head, embedding = _output_head(by_name), _embedding(by_name)
    if head and embedding and text_config(config).get("tie_word_embeddings", config.get("tie_word_embeddings")):
        total -= head.elements
    return total


def vocab_size(config: Mapping[str, Any]) -> int | None:
    """Rows of the embedding, as the configuration states it."""
    size = text_config(config).get("vocab_size", config.get("vocab_size"))
    return size if isinstance(size, int) else None


def dominant_dtype(tensors: Iterable[TensorInfo]) -> str | None:
    """torch's name of the type that most bytes have; a GGML type keeps its own name."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.nbytes
    if not sizes:
        return None
    name = max(sizes, key=lambda dtype: (sizes[dtype], dtype))
    return TORCH_NAMES.get(name, name)


def _elements(tensor: TensorInfo, by_name: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> int:
    name = tensor.name
    if _BUFFER.search(name) or _BESIDE.search(name):
        return 0
    if _CAUSAL_MASK.search(name) and len(tensor.shape) == 4:
        return 0
    if name.endswith((".qweight", ".weight_packed")):
        return tensor.elements * 8 * (tensor.nbytes // max(tensor.elements, 1)) // _bits(config)
    packed_in_pairs = name.endswith("_blocks") or any(
        f"{name}.quant_state.bitsandbytes__{kind}" in by_name for kind in ("nf4", "fp4")
    )
    return tensor.elements * 2 if packed_in_pairs and tensor.dtype == "U8" else tensor.elements


def _bits(config: Mapping[str, Any]) -> int:
    quantization = config.get("quantization_config")
    if isinstance(quantization, Mapping):
        groups = quantization.get("config_groups")
        for group in groups.values() if isinstance(groups, Mapping) else ():
            weights = group.get("weights") if isinstance(group, Mapping) else None
            if isinstance(weights, Mapping) and isinstance(weights.get("num_bits"), int):
                return int(weights["num_bits"])
        bits = quantization.get("bits", quantization.get("w_bit"))
        if isinstance(bits, int) and bits > 0:
            return bits
    return 4


def _output_head(by_name: Mapping[str, TensorInfo]) -> TensorInfo | None:
    return next((by_name[name] for name in by_name if name.endswith(("lm_head.weight", "embed_out.weight"))), None)


def _embedding(by_name: Mapping[str, TensorInfo]) -> TensorInfo | None:
    names = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
    return next((by_name[name] for name in by_name if name.endswith(names)), None)
