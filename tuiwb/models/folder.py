"""A model in a folder: config.json, safetensors (one file or shards with an index), or a PEFT adapter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.models import templates
from tuiwb.models.files import card_license, read_json
from tuiwb.models.info import AdapterInfo, ModelInfo, TensorInfo, context_length, dtype_of, quantization_of, text_config
from tuiwb.models.parameters import count_parameters, dominant_dtype, vocab_size
from tuiwb.models.safetensors_header import read_safetensors

INDEX = "model.safetensors.index.json"
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


def open_folder(folder: Path, *, ref: str, config_only: bool = False, task: Task | None = None) -> ModelInfo:
    """What a model's folder holds.

    Args:
        config_only: a folder with a config.json alone is enough; headers are still read where there are any.

    Raises:
        InputFault: there is no model, a file is broken or cut short, or only pickles are there.
        EnvironmentFault: the folder or a file in it cannot be read.
    """
    files = _names(folder)
    if "adapter_config.json" in files and "config.json" not in files:
        return _open_adapter(folder, ref)
    if "config.json" not in files:
        raise InputFault(_no_model(folder, files), file=folder)
    config = read_json(folder / "config.json")
    shards = weight_files(folder)
    if not shards and not config_only:
        raise InputFault(_no_weights(folder), file=folder)
    tensors = _read_all(shards, task)
    tokenizer = read_json(folder / "tokenizer_config.json")
    return ModelInfo(
        ref=ref,
        name=folder.name,
        kind="folder",
        path=folder,
        config=config,
        architecture=architecture_of(config, folder),
        parameters=count_parameters(tensors, config) if tensors else None,
        dtype=_dtype(tensors, config),
        quantization=quantization_of(config),
        tensors=tensors,
        bytes_on_disk=sum(shard.stat().st_size for shard in shards),
        context_length=context_length(config),
        vocab_size=vocab_size(config),
        license=card_license(folder),
        chat_template=templates.of_folder(folder, tokenizer).get("default"),
        has_tokenizer="tokenizer.json" in files,
        hub_id=read_json(folder / "tuiwb.json").get("hub_id"),
    )


def open_config(file: Path, *, ref: str) -> ModelInfo:
    """What a config.json alone says, whatever it is called and whatever stands beside it.

    Raises:
        InputFault: it is no model's configuration.
        EnvironmentFault: it cannot be read.
    """
    config = read_json(file)
    return ModelInfo(
        ref=ref,
        name=file.parent.name if file.name == "config.json" else file.stem,
        kind="folder",
        path=None,
        config=config,
        architecture=architecture_of(config, file),
        dtype=_dtype((), config),
        quantization=quantization_of(config),
        context_length=context_length(config),
        vocab_size=vocab_size(config),
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder in order, those of the index where there is one; none for a bare config.

    Raises:
        InputFault: the index names files that are not there, or is not an index.
        EnvironmentFault: the index cannot be read.
    """
    index = folder / INDEX
    if index.is_file():
        mapping = read_json(index).get("weight_map")
        if not isinstance(mapping, dict) or not mapping:
            raise InputFault("has no weight_map", file=index)
        shards = [folder / name for name in sorted(set(map(str, mapping.values())))]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise InputFault(
                f"{len(missing)} of {len(shards)} files of weights are missing, the first is {missing[0]}; "
                "download or copy the model again",
                file=folder,
            )
        return shards
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    # Other tools name them freely; an adapter beside a model is not part of it.
    return sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("adapter"))


def architecture_of(config: Mapping[str, Any], file: Path | str) -> str:
    """The class name in a configuration.

    Raises:
        InputFault: it names neither a class nor a model type.
    """
    names = config.get("architectures") or text_config(config).get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    if isinstance(kind := config.get("model_type"), str):
        return kind
    raise InputFault("names neither architectures nor a model_type, so this is no model", file=file, key="config.json")


def _open_adapter(folder: Path, ref: str) -> ModelInfo:
    config = read_json(folder / "adapter_config.json")
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise InputFault("has an adapter_config.json but no adapter_model.safetensors", file=folder)
    tensors = read_safetensors(file).tensors
    targets = config.get("target_modules")
    size = file.stat().st_size
    base = config.get("base_model_name_or_path")
    tokenizer = read_json(folder / "tokenizer_config.json")
    adapter = AdapterInfo(
        peft_type=str(config.get("peft_type", "unknown")),
        base_model=base if isinstance(base, str) else None,
        r=config.get("r"),
        lora_alpha=config.get("lora_alpha"),
        target_modules=tuple(sorted(targets)) if isinstance(targets, list) else (targets,) if targets else (),
        parameters=sum(tensor.elements for tensor in tensors),
        bytes_on_disk=size,
    )
    return ModelInfo(
        ref=ref,
        name=folder.name,
        kind="folder",
        path=folder,
        config=config,
        architecture="unknown",
        parameters=adapter.parameters,
        dtype=dominant_dtype(tensors),
        tensors=tensors,
        bytes_on_disk=size,
        license=card_license(folder),
        chat_template=templates.of_folder(folder, tokenizer).get("default"),
        has_tokenizer=(folder / "tokenizer.json").is_file(),
        adapter=adapter,
    )


def _names(folder: Path) -> set[str]:
    try:
        return {file.name for file in folder.iterdir()}
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=folder) from error


def _read_all(shards: list[Path], task: Task | None) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
    for number, shard in enumerate(shards):
        if task is not None:
            task.step("reading headers", number, len(shards), "files")
        tensors += read_safetensors(shard).tensors
    return tuple(tensors)


def _dtype(tensors: tuple[TensorInfo, ...], config: Mapping[str, Any]) -> str | None:
    # The bytes of a quantized file are packed integers, which say nothing of the type it computes in.
    stated = dtype_of(config)
    if quantization_of(config) and stated:
        return stated
    return dominant_dtype(tensors) or stated


def _no_model(folder: Path, files: set[str]) -> str:
    ggufs = sorted(name for name in files if name.endswith(".gguf"))
    if ggufs:
        return f"holds GGUF files; name one of them, such as {folder / ggufs[0]}"
    nested = sorted(name for name in files if (folder / name / "config.json").is_file())
    if nested:
        return f"is not a model, but holds some; name one of them, such as {folder / nested[0]}"
    return "holds no model (no config.json)" if files else "is empty"


def _no_weights(folder: Path) -> str:
    for pattern in _PICKLES:
        if found := sorted(folder.glob(pattern)):
            return (
                f"has its weights only as a pickle ({found[0].name}), which can run code when it is opened; "
                "get the model as safetensors"
            )
    return "has a config.json but no weights (*.safetensors)"
