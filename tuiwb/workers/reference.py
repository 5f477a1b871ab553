"""What a policy is compared with: the model as it was before this training, or one that the recipe names.

A new adapter begins as the base, so the reference is the base with the adapter switched off. An adapter that goes on
from an earlier stage begins as that stage's, so the reference is a frozen copy of it beside it. The base alone would
be wrong there: the policy would seem far away before its first step. Where all weights are trained, the reference is a
second model.
"""

from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import PreTrainedModel

from tuiwb.recipe import Recipe
from tuiwb.workers import vocabulary
from tuiwb.workers.model import load_base
from tuiwb.workers.running import save_only

NAME = "ref"
"""The name that TRL gives a reference adapter."""


def reference_model(recipe: Recipe, device: torch.device) -> PreTrainedModel | None:
    """A second model, where the reference cannot be an adapter of the first."""
    named = recipe.ref_model_name_or_path
    if named and not is_adapter(named):
        recipe = msgspec.structs.replace(recipe, model_name_or_path=named)
    elif recipe.method not in ("full", "freeze"):
        return None
    model: Any = load_base(recipe, device=device, everywhere=True)
    if named and is_adapter(named):
        from peft import PeftModel

        vocabulary.grow_for(model, Path(named).expanduser())
        model = PeftModel.from_pretrained(model, str(Path(named).expanduser())).merge_and_unload()
    return model.requires_grad_(False).eval()


def settle_reference(model: Any, recipe: Recipe, device: torch.device) -> None:
    """After TRL's trainer took the model, which puts a copy of every adapter beside it: keep the copy only where the
    adapter began elsewhere, and let checkpoints hold the trained adapter alone."""
    if NAME not in (getattr(model, "peft_config", None) or {}):
        return
    named = recipe.ref_model_name_or_path
    if named:
        model.delete_adapter(NAME)
        model.load_adapter(str(Path(named).expanduser()), NAME, is_trainable=False)
    elif not recipe.adapter_name_or_path:
        model.delete_adapter(NAME)
    else:
        # On a quantized base TRL rounds the trained adapter to bfloat16 and not its copy.
        for name, copy in model.named_parameters():
            if f".{NAME}." not in name:
                continue
            trained = model.get_parameter(name.replace(f".{NAME}.", ".default."))
            if device.type == "cpu":
                trained.data = copy.data.clone()
            else:
                copy.data = trained.data.clone()
    save_only(model)


def is_adapter(name: str) -> bool:
    """Whether this is the folder of an adapter."""
    return (Path(name).expanduser() / "adapter_config.json").is_file()
