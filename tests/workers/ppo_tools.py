"""Recipes and reward models for the tests of PPO, with the tiny model."""

import json
import shutil
from pathlib import Path
from typing import Any

from training import recipe_of

from tuiwb.recipe import Recipe

QUESTIONS = ("What is the capital?", "The lazy dog?", "Who jumps over the lazy dog?", "Paris?", "The quick brown fox")


def write_prompts(path: Path, count: int = 12) -> Path:
    rows = [{"prompt": [{"role": "user", "content": f"{QUESTIONS[n % 5]} {n}"}]} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ppo_recipe(model: Path, prompts: Path, **keys: Any) -> Recipe:
    """Six prompts an update, two updates an epoch of twelve prompts."""
    values: dict[str, Any] = {
        "stage": "ppo",
        "train_roles": None,
        "train_on_eos": None,
        "per_device_train_batch_size": 3,
        "num_mini_batches": 2,
        "num_ppo_epochs": 2,
        "max_completion_length": 8,
        "max_length": 64,
        "temperature": 1.0,
        "learning_rate": 1e-3,
        "train_sampling_strategy": "random",
        "num_train_epochs": 1.0,
        "beta": 0.05,
        "save_steps": 2.0,
        "reward_funcs": ("length:4",),
    }
    return recipe_of(model, prompts, **(values | keys))


def write_adapter(model: Path, folder: Path, *, scores: bool = False, seed: int = 1) -> Path:
    """A LoRA adapter with weights that are not zero; with `scores` a reward adapter and its head."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.manual_seed(seed)
    if scores:
        base = AutoModelForSequenceClassification.from_pretrained(str(model), num_labels=1, dtype=torch.float32)
    else:
        base = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    task = "SEQ_CLS" if scores else "CAUSAL_LM"
    made = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type=task))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name or "score" in name:
                parameter.normal_(std=0.1)
    made.save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, folder)
    return folder
