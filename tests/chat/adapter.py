"""A LoRA adapter for the tiny model, made without torch: what a run would have left."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def make_adapter(folder: Path, base: Path, *, r: int = 4, seed: int = 1, scale: float = 3.0) -> Path:
    """Random LoRA matrices on q_proj and v_proj, large enough to change what the model says."""
    config = json.loads((base / "config.json").read_text())
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": str(base),
                "r": r,
                "lora_alpha": r,
                "lora_dropout": 0.0,
                "target_modules": ["q_proj", "v_proj"],
                "bias": "none",
            }
        )
    )
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for name, out in (("q_proj", hidden), ("v_proj", kv)):
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{at}.lora_A.weight"] = (random.standard_normal((r, hidden)) * scale).astype(np.float32)
            tensors[f"{at}.lora_B.weight"] = (random.standard_normal((out, r)) * scale).astype(np.float32)
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    return folder
