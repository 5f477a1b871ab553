"""What a training really runs with, for the comparison with what was asked (`tuiwb.monitor.downgrades`)."""

from typing import Any

import torch
from transformers import TrainingArguments

from tuiwb.workers.sharding import pieces


def in_force(args: TrainingArguments, model: torch.nn.Module | None) -> dict[str, Any]:
    """As the libraries have it when training begins, not as they were told.

    Returns:
        `world_size`, `device` (torch's kind), `precision` (of autocast: no, bf16 or fp16), `sharding` (fsdp2, zero1 to
        zero3, else accelerate's DistributedType), and of the model `dtype` (that of its largest weight) and
        `attn_implementation`.
    """
    from accelerate.state import AcceleratorState

    state = AcceleratorState()
    found: dict[str, Any] = {
        "world_size": args.world_size,
        "device": args.device.type,
        "precision": str(state.mixed_precision),
        "sharding": _sharding(state, model),
    }
    if model is not None:
        largest = max(model.parameters(), key=torch.Tensor.numel, default=None)
        found["dtype"] = None if largest is None else str(largest.dtype).removeprefix("torch.")
        found["attn_implementation"] = getattr(getattr(model, "config", None), "_attn_implementation", None)
    return found


def _sharding(state: Any, model: torch.nn.Module | None) -> str:
    """What splits the model. That FSDP was switched on is not enough: its weights must really lie in pieces."""
    kind = str(getattr(state.distributed_type, "value", state.distributed_type)).lower()
    if kind == "fsdp" and model is not None:
        return f"fsdp{state.fsdp_plugin.fsdp_version}" if pieces(model) else "fsdp without a split weight"
    if kind == "deepspeed" and state.deepspeed_plugin is not None:
        return f"zero{state.deepspeed_plugin.zero_stage}"
    return kind
