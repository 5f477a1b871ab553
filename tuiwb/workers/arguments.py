"""A recipe's keys as the arguments of one of TRL's trainers."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import TrainingArguments

from tuiwb.recipe import Recipe
from tuiwb.workers.sharding import sharding_arguments

Config = TypeVar("Config", bound=TrainingArguments)

# Written by our own callback, into the part's folder.
_OWN_REPORTS = {"tensorboard", "none"}
# Keys of the recipe that the configs have as well, but that are done before or after the trainer.
_NOT_THE_TRAINERS = {"max_length", "packing", "packing_strategy", "padding_free", "report_to", "eos_token"}


def training_arguments(
    kind: type[Config], recipe: Recipe, output: Path, *, measured: bool, leave: Sequence[str] = (), **fixed: Any
) -> Config:
    """The recipe's keys under TRL's names, one to one. To be called before the model is loaded, which ZeRO-3 splits
    while it is read.

    Args:
        kind: the config of the trainer, such as `SFTConfig`.
        measured: whether there is anything to evaluate on.
        leave: keys that this trainer is not given.
        fixed: arguments that are no key of the recipe, or that the stage decides.
    """
    known = {field.name for field in fields(kind)} - _NOT_THE_TRAINERS - set(leave)
    given = {name: getattr(recipe, name) for name in recipe.__struct_fields__ if name in known}
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in given.items() if v is not None}
    values.pop("tf32", None) if not torch.cuda.is_available() else None
    if not measured:
        values |= {"eval_strategy": "no", "eval_on_start": False}
    reports = recipe.report_to or ()
    wanted = [name for name in ([reports] if isinstance(reports, str) else reports) if name not in _OWN_REPORTS]
    if any(field.name == "max_length" for field in fields(kind)):
        fixed["max_length"] = None  # the prepared rows are cut already
    return kind(
        output_dir=str(output),
        # No column of the prepared rows is the model's argument.
        remove_unused_columns=False,
        report_to=wanted or "none",
        logging_nan_inf_filter=False,
        logging_first_step=True,
        disable_tqdm=True,
        do_train=True,
        **{"bf16": False, "gradient_checkpointing": False, **values, **sharding_arguments(recipe), **fixed},
    )
