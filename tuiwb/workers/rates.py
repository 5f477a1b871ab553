"""Learning rates that differ within an adapter."""

from typing import Any

import torch
from transformers import Trainer, TrainingArguments


def lora_plus(model: Any, args: TrainingArguments, ratio: float) -> torch.optim.Optimizer:
    """The optimizer of LoRA+ (arXiv 2402.12354), as PEFT makes it: the outer matrices learn `ratio` times as fast.

    Args:
        model: a PeftModel with LoRA.
    """
    from peft.optimizers import create_loraplus_optimizer

    kind, arguments = Trainer.get_optimizer_cls_and_kwargs(args, model)
    return create_loraplus_optimizer(
        model, kind, loraplus_lr_ratio=ratio, loraplus_weight_decay=args.weight_decay, **arguments
    )
