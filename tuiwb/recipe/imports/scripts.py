"""The training scripts of 2023 whose flags are neither TRL's nor LLaMA-Factory's: QLoRA, Stanford Alpaca, FastChat,
alpaca-lora. What they share is transformers' `TrainingArguments`."""

from collections.abc import Mapping
from typing import Any

from tuiwb.recipe.imports.account import Draft, Fate, Rule, drop, keep, refuse, refused
from tuiwb.recipe.imports.shared import TRANSFORMERS, method_of, validation_share

TOOL = "a training script"
_QLORA_DATA = {
    "alpaca": "tatsu-lab/alpaca",
    "alpaca-clean": "yahma/alpaca-cleaned",
    "oasst1": "timdettmers/openassistant-guanaco",
}
_QLORA = (
    ("dataset_format", "alpaca", {"chat_template": "alpaca"}),
    ("learning_rate", 2e-4, {"learning_rate": 2e-4}),
    ("lr_scheduler_type", "constant", {"lr_scheduler_type": "constant"}),
    ("warmup_ratio", 0.03, {"warmup_steps": 0.03}),
    ("per_device_train_batch_size", 1, {"per_device_train_batch_size": 1}),
    ("gradient_accumulation_steps", 16, {"gradient_accumulation_steps": 16}),
    ("max_steps", 10000, {"max_steps": 10000}),
    ("max_grad_norm", 0.3, {"max_grad_norm": 0.3}),
    ("weight_decay", 0.0, {"weight_decay": 0.0}),
    ("lora_r", 64, {"lora_r": 64}),
    ("lora_alpha", 16, {"lora_alpha": 16}),
    ("lora_dropout", 0.0, {"lora_dropout": 0.0}),
    ("lora_modules", "all", {"lora_target_modules": "all-linear"}),
    ("optim", "paged_adamw_32bit", {"optim": "paged_adamw_32bit"}),
)


def read(values: Mapping[str, Any], draft: Draft, script: str) -> None:
    """Account for every flag.

    Args:
        script: the name of the file, such as qlora.py, for its own defaults.
    """
    draft.apply(TRANSFORMERS | RULES)
    draft.default("command", script, {"stage": "sft"}, f"{script} learns from examples")
    if script == "qlora.py":
        why = "qlora.py does so unless told otherwise"
        draft.default("bits", 4, {"method": "qlora"}, why)
        for key, value, into in _QLORA:
            draft.default(key, value, into, why)
    elif script == "finetune.py":
        draft.default(
            "command", script, {"method": "lora", "chat_template": "alpaca"}, "what alpaca-lora's script does"
        )
    elif script in ("train.py", "train_mem.py", "train_lora.py", "train_flash_attn.py"):
        adapter = script == "train_lora.py" or bool(values.get("lora_r"))
        draft.default(
            "command", script, method_of(adapter, None), "no flag speaks of an adapter" if not adapter else ""
        )


def _bits(value: Any, draft: Draft) -> Fate:
    if _is_true(draft.values.get("full_finetune")):
        return Fate(why="full_finetune trains weights that are not quantized")
    bits = int(value)
    return Fate(method_of(True, bits if bits in (4, 8) else None))


def _data(value: Any, draft: Draft) -> Fate:
    ids = {
        "alpaca": "tatsu-lab/alpaca",
        "alpaca-clean": "yahma/alpaca-cleaned",
        "oasst1": "timdettmers/openassistant-guanaco",
    }
    path = ids.get(str(value), str(value))
    forms = {"alpaca": "alpaca", "alpaca-clean": "alpaca", "oasst1": "text", "input-output": "prompt_completion"}
    kind = forms.get(str(draft.values.get("dataset_format") or value))
    return Fate({"datasets": [{"path": path} | ({"format": kind} if kind else {})]})


def _path(key: str) -> Rule:
    return lambda value, draft: Fate({key: [{"path": str(value)}]})


def _modules(value: Any, draft: Draft) -> Fate:
    return Fate({"lora_target_modules": "all-linear" if value in ("all", ["all"]) else value})


def _lengths(value: Any, draft: Draft) -> Fate:
    source, target = draft.values.get("source_max_len"), draft.values.get("target_max_len")
    try:
        return Fate({"max_length": int(source or 1024) + int(target or 256)}, "prompt and answer together")
    except ValueError:
        return refused("it is no number")


def _full(value: Any, draft: Draft) -> Fate:
    return Fate({"method": "full"}) if _is_true(value) else Fate(why="it is off")


def _on(into: Mapping[str, Any]) -> Rule:
    return lambda value, draft: Fate(into) if _is_true(value) else Fate(why="it is off")


def _lora(value: Any, draft: Draft) -> Fate:
    return Fate(method_of(_is_true(value), 4 if _is_true(draft.values.get("q_lora")) else None))


def _on_inputs(value: Any, draft: Draft) -> Fate:
    if _is_true(value):
        return Fate({"train_roles": ["system", "user", "assistant", "tool"]}, "questions are learned too")
    return Fate(why="answers alone are learned here too")


def _batch(value: Any, draft: Draft) -> Fate:
    micro = int(draft.values.get("micro_batch_size") or 4)
    return Fate(
        {"gradient_accumulation_steps": max(1, int(value) // micro)}, f"{value} examples a step, {micro} at once"
    )


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "1")


RULES: dict[str, Rule] = {
    "bits": _bits,
    "full_finetune": _full,
    "double_quant": keep("use_bnb_nested_quant"),
    "quant_type": keep("bnb_4bit_quant_type"),
    "lora_modules": _modules,
    "source_max_len": _lengths,
    "target_max_len": _lengths,
    "train_on_source": _on_inputs,
    "dataset": _data,
    "dataset_format": lambda value, draft: Fate(why="read together with `dataset`"),
    "max_train_samples": refuse("write max_examples at the dataset"),
    "eval_dataset_size": validation_share,
    "max_eval_samples": drop("write max_examples at an evaluation dataset"),
    "do_mmlu_eval": drop("`tuiwb eval` does it, after training"),
    "mmlu_split": drop("`tuiwb eval` does it, after training"),
    "max_memory_MB": drop("the device is chosen here"),
    # Stanford Alpaca, FastChat
    "data_path": _path("datasets"),
    "eval_data_path": _path("eval_datasets"),
    "lazy_preprocess": drop("data are prepared once and kept"),
    "padding_side": drop("padding is at the end, and never carries loss"),
    "conv_template": keep("chat_template"),
    "q_lora": _on(method_of(True, 4)),
    "use_lora": _lora,
    "lora_target_modules": keep("lora_target_modules"),
    # alpaca-lora
    "base_model": keep("model_name_or_path"),
    "micro_batch_size": keep("per_device_train_batch_size"),
    "batch_size": _batch,
    "num_epochs": keep("num_train_epochs"),
    "cutoff_len": keep("max_length"),
    "val_set_size": validation_share,
    "train_on_inputs": _on_inputs,
    "prompt_template_name": lambda value, draft: (
        Fate({"chat_template": "alpaca"}) if value == "alpaca" else refused(f"there is no template {value} here")
    ),
    "add_eos_token": drop("the end of an answer is always learned"),
    # Flags that many scripts share
    "model_id": keep("model_name_or_path"),
    "dataset_name": _path("datasets"),
    "dataset_path": _path("datasets"),
    "train_file": _path("datasets"),
    "validation_file": _path("eval_datasets"),
    "epochs": keep("num_train_epochs"),
    "lr": keep("learning_rate"),
    "max_length": keep("max_length"),
    "block_size": keep("max_length"),
    "use_4bit": _on(method_of(True, 4)),
    "load_in_4bit": _on(method_of(True, 4)),
    "load_in_8bit": _on(method_of(True, 8)),
    "use_nested_quant": keep("use_bnb_nested_quant"),
    "use_peft": _lora,
}  # fmt: skip
