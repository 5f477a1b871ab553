"""What is known of a model without loading its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["folder", "gguf", "hub"]


class TensorInfo(Struct, frozen=True):
    """One tensor as a file's header describes it.

    `shape` is in the order of torch (slowest dimension first), also for GGUF, which stores it the other way round.
    `dtype` is the file format's own name (`BF16`, `F32`, `U8`; `Q4_K` …); `nbytes` is what it takes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int

    @property
    def elements(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count


class AdapterInfo(Struct, frozen=True):
    """A PEFT adapter: what `adapter_config.json` says and what its safetensors hold."""

    peft_type: str
    base_model: str | None
    r: int | None
    lora_alpha: int | None
    target_modules: tuple[str, ...]
    parameters: int
    bytes_on_disk: int


class ModelInfo(Struct, frozen=True):
    """A model that was found, and all that its headers and configuration say.

    Attributes:
        ref: the reference as the user wrote it.
        name: a short name for lists and titles.
        kind: `folder`, `gguf`, or `hub` (a hub id; `path` is then its snapshot in the local cache, or None).
        path: folder or `.gguf` file; None where only the configuration was read.
        config: config.json in Hugging Face names; translated from the metadata of a GGUF file.
        architecture: such as `LlamaForCausalLM`; `unknown` for an adapter folder.
        parameters: exact count, tied weights once; None where no header and no catalogue gives it.
        dtype: torch's name of the type most weights have (`bfloat16`), or the GGUF file type (`Q4_K_M`).
        quantization: such as `bitsandbytes 4-bit nf4`, `gptq 4-bit`, `GGUF Q4_K_M`; None for plain weights.
        bytes_on_disk: of the weight files; 0 where only a configuration is there.
        license: as the model card or GGUF metadata names it.
        chat_template: the default chat template's source.
        adapter: set when the folder is a PEFT adapter rather than a whole model.
        hub_id: the repository it came from, when that is known.
    """

    ref: str
    name: str
    kind: Kind
    path: Path | None
    config: Mapping[str, Any]
    architecture: str
    parameters: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    tensors: tuple[TensorInfo, ...] = ()
    bytes_on_disk: int = 0
    context_length: int | None = None
    vocab_size: int | None = None
    license: str | None = None
    chat_template: str | None = None
    has_tokenizer: bool = False
    adapter: AdapterInfo | None = None
    hub_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The model as `tuiwb models show --json` prints it; the tensors are only counted."""
        return {
            "name": self.name,
            "ref": self.ref,
            "kind": self.kind,
            "path": None if self.path is None else str(self.path),
            "hub_id": self.hub_id,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "tensors": len(self.tensors),
            "bytes_on_disk": self.bytes_on_disk,
            "context_length": self.context_length,
            "vocab_size": self.vocab_size,
            "license": self.license,
            "has_tokenizer": self.has_tokenizer,
            "chat_template": self.chat_template,
            "adapter": None
            if self.adapter is None
            else {
                "peft_type": self.adapter.peft_type,
                "base_model": self.adapter.base_model,
                "r": self.adapter.r,
                "lora_alpha": self.adapter.lora_alpha,
                "target_modules": list(self.adapter.target_modules),
                "parameters": self.adapter.parameters,
            },
            "config": dict(self.config),
        }


def context_length(config: Mapping[str, Any]) -> int | None:
    """The longest sequence the configuration names, in tokens, under any of the names architectures use."""
    for key in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len", "n_ctx"):
        value = text_config(config).get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that describes the language model (multimodal models nest it)."""
    for key in ("text_config", "language_config", "llm_config"):
        nested = config.get(key)
        if isinstance(nested, Mapping) and nested:
            return nested
    return config


def dtype_of(config: Mapping[str, Any]) -> str | None:
    """torch's name of the weights' type; `dtype` in transformers 5, `torch_dtype` before."""
    for place in (config, text_config(config)):
        value = place.get("dtype") or place.get("torch_dtype")
        if isinstance(value, str):
            return value.removeprefix("torch.")
    return None


def quantization_of(config: Mapping[str, Any]) -> str | None:
    """The quantization that a configuration names, in words; None for plain weights."""
    quantization = config.get("quantization_config") or text_config(config).get("quantization_config")
    if not isinstance(quantization, Mapping):
        return None
    method = str(quantization.get("quant_method") or "quantized")
    if method.startswith("bitsandbytes") or "load_in_4bit" in quantization:
        if quantization.get("load_in_4bit"):
            return f"bitsandbytes 4-bit {quantization.get('bnb_4bit_quant_type', 'fp4')}"
        return "bitsandbytes 8-bit"
    bits = quantization.get("bits") or quantization.get("w_bit")
    return f"{method} {bits}-bit" if isinstance(bits, int) else method
