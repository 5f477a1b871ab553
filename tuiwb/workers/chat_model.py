"""The models that the chat engine loads: a base in the precision of the machine, adapters on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Base:
    """One loaded model. `peft` is the same network once an adapter was put on it."""

    model: Any
    tokenizer: Any
    peft: Any = None
    mixable: bool = True
    """Whether one batch may hold rows with different adapters."""

    @property
    def network(self) -> Any:
        return self.model if self.peft is None else self.peft


def load_model(path: str, wanted: str, *, quantization: str | None = None) -> Any:
    """The network at `path` (folder or GGUF file), in evaluation mode, on the GPUs when there are any.

    Args:
        wanted: the weights' type, as `protocol.Spec.dtype`.
        quantization: as `protocol.Lane.quantization`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    where, arguments = Path(path), dict[str, Any]()
    if where.suffix == ".gguf":
        where, arguments["gguf_file"] = where.parent, where.name
    else:
        arguments["use_safetensors"] = True  # pickles are not opened
    dtype = best_dtype() if wanted == "auto" else getattr(torch, wanted)
    if quantization is not None:
        arguments["quantization_config"] = _quantization(quantization, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        where,
        dtype=dtype,
        device_map="auto" if torch.cuda.is_available() else None,
        local_files_only=True,
        **arguments,
    )
    if quantization is not None and not torch.cuda.is_available():
        from tuiwb.workers.model import keep_unpacked

        keep_unpacked(model)  # the base's numbers as they were in training
    return model.eval()


def best_dtype() -> Any:
    """bfloat16 where the hardware computes in it, float16 on older GPUs, float32 on other CPUs (where bfloat16 is
    emulated, three times slower)."""
    import torch

    from tuiwb import hardware

    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if hardware.host().bf16_units else torch.float32


def _quantization(name: str, dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=name == "nf4-double",
        bnb_4bit_compute_dtype=dtype,
    )


def put_adapter(base: Base, folder: str, name: str) -> None:
    from peft import PeftModel

    from tuiwb.workers import vocabulary
    from tuiwb.workers.chat_mixed import mixable

    vocabulary.grow_for(base.model, Path(folder))
    if base.peft is None:
        base.peft = PeftModel.from_pretrained(base.model, folder, adapter_name=name, is_trainable=False)
    else:
        base.peft.load_adapter(folder, adapter_name=name, is_trainable=False)
    base.peft.eval()
    base.mixable = base.mixable and mixable(base.peft, name)
