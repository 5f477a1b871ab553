"""A model in one `.gguf` file."""

from pathlib import Path

from tuiwb.models.gguf_config import config_of
from tuiwb.models.gguf_header import FILE_TYPES, GgufHeader, read_gguf
from tuiwb.models.info import ModelInfo, context_length
from tuiwb.models.parameters import count_parameters, dominant_dtype, vocab_size


def open_gguf(path: Path, *, ref: str) -> ModelInfo:
    """What a GGUF file says of its model; neither weights nor vocabulary are decoded.

    Raises:
        InputFault: not a GGUF file, cut short, or without an architecture.
        EnvironmentFault: it cannot be read.
    """
    header = read_gguf(path)
    config = config_of(header)
    kind = file_type(header)
    return ModelInfo(
        ref=ref,
        name=path.name,
        kind="gguf",
        path=path,
        config=config,
        architecture=config["architectures"][0],
        parameters=count_parameters(header.tensors, config),
        dtype=kind,
        quantization=None if kind in ("F32", "F16", "BF16", None) else f"GGUF {kind}",
        tensors=header.tensors,
        bytes_on_disk=path.stat().st_size,
        context_length=context_length(config),
        vocab_size=vocab_size(config),
        license=header.get("general.license"),
        chat_template=header.get("tokenizer.chat_template"),
        has_tokenizer=header.length("tokenizer.ggml.tokens") > 0,
    )


def file_type(header: GgufHeader) -> str | None:
    """The quantization that was asked for when the file was made; else the type that most bytes have."""
    return FILE_TYPES.get(header.get("general.file_type", -1)) or dominant_dtype(header.tensors)
