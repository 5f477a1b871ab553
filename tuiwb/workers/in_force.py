"""What a training really runs with, for the comparison with what was asked (`tuiwb.monitor.downgrades`)."""

from typing import Any

import torch
from transformers import TrainingArguments


def in_force(args: TrainingArguments, model: torch.nn.Module | None) -> dict[str, Any]:
    """As the libraries have it when training begins, not as they were told.

    Returns:
        `world_size`, `device` (torch's kind), `precision` (of autocast: no, bf16 or fp16), `sharding` (accelerate's
        DistributedType), and of the model `dtype` (that of its largest weight) and `attn_implementation`.
    """
    from accelerate.state import AcceleratorState

    state = AcceleratorState()
    found: dict[str, Any] = {
        "world_size": args.world_size,
        "device": args.device.type,
        "precision": str(state.mixed_precision),
        "sharding": str(getattr(state.distributed_type, "value", state.distributed_type)).lower(),
    }
    if model is not None:
        largest = max(model.parameters(), key=torch.Tensor.numel, default=None)
        found["dtype"] = None if largest is None else str(largest.dtype).removeprefix("torch.")
        found["attn_implementation"] = getattr(getattr(model, "config", None), "_attn_implementation", None)
    return found
