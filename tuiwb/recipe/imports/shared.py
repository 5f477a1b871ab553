"""Rules for the names that transformers, PEFT and accelerate have had since 2023, in whatever tool they are written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.recipe.imports.account import Draft, Fate, Rule, drop, keep, refuse, refused, words

_HERE = "a run has a directory of its own, where it writes and is resumed"
_LOG = "the run directory holds logs, curves and samples"
_HUB = "models are published by `tuiwb export`, not by a recipe"
_PREPARED = "data are prepared once and kept, whoever trains on them"
_ALONE = "one process prepares the data, which the others read"


def method_of(adapter: bool, bits: int | None) -> dict[str, Any]:
    """The method for an adapter on a base in so many bits."""
    if bits == 4:
        return {"method": "qlora"}
    return {"method": "lora" if adapter else "full"} | ({"load_in_8bit": True} if bits == 8 else {})


def warmup(value: Any, draft: Draft) -> Fate:
    """`warmup_ratio`: today a number of steps below 1 is a share."""
    if draft.values.get("warmup_steps"):
        return Fate(why="warmup_steps is stated too, and goes first", refused=True)
    return Fate({"warmup_steps": value}, "a number below 1 is a share of all steps")


def deepspeed(value: Any, draft: Draft) -> Fate:
    """A DeepSpeed configuration, or the path of one: what it shards and where it offloads."""
    config = value if isinstance(value, Mapping) else _json_beside(str(value), draft.source)
    if config is not None:
        zero = config.get("zero_optimization") or {}
        stage = zero.get("stage", 0) if isinstance(zero, Mapping) else 0
        return _sharded(stage, zero, "its other settings are DeepSpeed's own defaults")
    name = Path(str(value)).name.lower()
    for number in (3, 2, 1):
        if any(mark in name for mark in (f"z{number}", f"zero{number}", f"zero_{number}", f"stage{number}")):
            offload = {"offload_param": 1, "offload_optimizer": 1} if "offload" in name else {}
            return _sharded(number, offload, f"told by its name; {value} is not here to be read")
    return refused(f"{value} is not here to be read; write launch: {{sharding: zero2}} or zero3")


def fsdp(value: Any, draft: Draft) -> Fate:
    """`full_shard auto_wrap offload` and its like."""
    parts = value.split() if isinstance(value, str) else [str(part) for part in value]
    if not parts or parts[0] in ("no_shard", "False"):
        return Fate(why="nothing is sharded")
    if "full_shard" not in parts and "hybrid_shard" not in parts:
        return refused(f"{' '.join(parts)} is not offered; sharding is fsdp (all is split) or zero2 (weights are not)")
    launch: dict[str, Any] = {"sharding": "fsdp"}
    if "offload" in parts:
        launch["offload"] = "all"
    return Fate({"launch": launch}, "which layers are wrapped is told from the model")


def optimizer(value: Any, draft: Draft) -> Fate:
    """Optimizers by today's names."""
    old = {"adamw_hf": "adamw_torch", "adamw": "adamw_torch", "adam": "adamw_torch", "adamw_torch_xla": None}
    name = str(value).lower()
    if old.get(name):
        return Fate({"optim": old[name]}, f"{value} is gone; its name today")
    return Fate({"optim": name})


def reports(value: Any, draft: Draft) -> Fate:
    """`report_to`: our own files are always written."""
    return Fate({"report_to": "tensorboard"}, "event files are always written") if value == "all" else Fate(
        {"report_to": value}
    )  # fmt: skip


def validation_share(value: Any, draft: Draft) -> Fate:
    """A share of the examples, or a number of them."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        return refused("it is no number")
    if share == 0:
        return Fate({"eval_fraction": 0.0})
    if share < 1:
        return Fate({"eval_fraction": share})
    return refused(f"it is a number of rows, {share:g}, and eval_fraction is a share of them")


def evaluation(value: Any, draft: Draft) -> Fate:
    """`eval_strategy`, which YAML 1.1 may have read as false."""
    return Fate({"eval_strategy": "no" if value in (False, "False", "false") else value})


def saving(value: Any, draft: Draft) -> Fate:
    """As `evaluation`, for `save_strategy`."""
    return Fate({"save_strategy": "no" if value in (False, "False", "false") else value})


def positive(key: str) -> Rule:
    """A count of which nothing, or -1, means without limit."""

    def rule(value: Any, draft: Draft) -> Fate:
        try:
            return Fate({key: value}) if float(value) > 0 else Fate(why="it means no limit, as leaving it out does")
        except (TypeError, ValueError):
            return Fate({key: value})

    return rule


def attention(value: Any, draft: Draft) -> Fate:
    """A switch that asks for flash attention."""
    wanted = value not in (False, "False", "false")
    return Fate({"attn_implementation": "flash_attention_2"}) if wanted else Fate(why="the kernel is chosen here")


def grouped(value: Any, draft: Draft) -> Fate:
    """`group_by_length`."""
    wanted = value not in (False, "False", "false")
    return Fate({"train_sampling_strategy": "group_by_length" if wanted else "random"})


# What a tool does unless told otherwise: its key, the value, and the recipe's keys for it.
Default = tuple[str, Any, Mapping[str, Any]]
# Those of transformers' Trainer.
TRAINER_DEFAULTS: tuple[Default, ...] = (
    ("lr_scheduler_type", "linear", {"lr_scheduler_type": "linear"}),
    ("warmup_steps", 0, {"warmup_steps": 0.0}),
    ("num_train_epochs", 3.0, {"num_train_epochs": 3.0}),
    ("per_device_train_batch_size", 8, {"per_device_train_batch_size": 8}),
    ("gradient_accumulation_steps", 1, {"gradient_accumulation_steps": 1}),
    ("weight_decay", 0.0, {"weight_decay": 0.0}),
    ("max_grad_norm", 1.0, {"max_grad_norm": 1.0}),
)

TRANSFORMERS: dict[str, Rule] = {
    "evaluation_strategy": evaluation,
    "eval_strategy": evaluation,
    "save_strategy": saving,
    "warmup_ratio": warmup,
    "group_by_length": grouped,
    "optim": optimizer,
    "report_to": reports,
    "torch_dtype": keep("dtype"),
    "model_name": keep("model_name_or_path"),
    "revision": keep("model_revision"),
    "no_cuda": keep("use_cpu"),
    "per_gpu_train_batch_size": keep("per_device_train_batch_size"),
    "per_gpu_eval_batch_size": keep("per_device_eval_batch_size"),
    "use_flash_attention_2": attention,
    "use_flash_attn": attention,
    "deepspeed": deepspeed,
    "fsdp": fsdp,
    "fsdp_config": drop("which layers are wrapped is told from the model"),
    "fsdp_transformer_layer_cls_to_wrap": drop("which layers are wrapped is told from the model"),
    "save_total_limit": positive("save_total_limit"),
    "model_max_length": keep("max_length"),
    "max_seq_length": keep("max_length"),
    "max_seq_len": keep("max_length"),
    "seq_length": keep("max_length"),
    "max_prompt_length": refuse("prompt and answer together are cut at max_length"),
    "r": keep("lora_r"),
    "bias": words("", {"none": None}, "biases are never trained with an adapter"),
    "task_type": drop("it follows from the stage"),
    "lora_task_type": drop("it follows from the stage"),
    "target_modules": keep("lora_target_modules"),
    "modules_to_save": keep("lora_modules_to_save"),
    "bnb_4bit_compute_dtype": drop("computing has the format of bf16 or fp16, which is chosen for the machine"),
    "bnb_4bit_use_double_quant": keep("use_bnb_nested_quant"),
    "gradient_checkpointing_kwargs": drop("how checkpointing is done is chosen for the model"),
    "ddp_find_unused_parameters": drop("it is told from the model"),
    "remove_unused_columns": drop("only the columns that play a part are read"),
    "early_stopping_patience": keep("early_stopping_patience"),
    "label_smoothing_factor": refuse("the loss is the plain likelihood of the labels"),
    "auto_find_batch_size": refuse("`tuiwb plan` says which batch fits before the start"),
    "tokenizer_name": refuse("the tokenizer comes with the model"),
    "tokenizer_name_or_path": refuse("the tokenizer comes with the model"),
    "config_name": refuse("the configuration comes with the model"),
    "use_fast_tokenizer": drop("tokenizers are always the fast ones"),
    "use_fast": drop("tokenizers are always the fast ones"),
    "low_cpu_mem_usage": drop("models are always loaded so"),
    "pad_to_multiple_of": drop("padding is as long as the longest row of a batch"),
    "run_name": keep("name"),
    "torch_compile_backend": drop("torch's own choice"),
    "torch_compile_mode": drop("torch's own choice"),
    "fp16_full_eval": drop("evaluation has the precision of training"),
    "bf16_full_eval": drop("evaluation has the precision of training"),
    "fp16_opt_level": drop("it belonged to apex, which is gone"),
    "half_precision_backend": drop("it was removed from transformers"),
    "ddp_timeout": drop("torch's own value"),
    "ddp_backend": drop("told from the device"),
    "local_rank": drop("the launcher says it"),
    "logging_first_step": drop("the first step is always written"),
    "logging_strategy": words("", {"steps": None}, "metrics are written every logging_steps"),
    "prediction_loss_only": drop("evaluation computes the loss alone"),
    "disable_tqdm": drop(_LOG),
    "do_train": drop("a recipe is for training"),
    "do_eval": drop("eval_strategy says it"),
    "do_predict": drop("`tuiwb eval` does it, after training"),
    "predict_with_generate": drop("`tuiwb eval` does it, after training"),
    "use_auth_token": drop("the hub's own login is used"),
    "hub_token": drop("the hub's own login is used"),
    "cache_dir": drop("the hub's own cache is used"),
    **dict.fromkeys(("output_dir", "overwrite_output_dir", "resume_from_checkpoint"),
                    drop(_HERE)),
    **dict.fromkeys(("logging_dir", "log_level", "plot_loss", "include_tokens_per_second",
                     "include_num_input_tokens_seen", "log_with", "wandb_project", "wandb_entity", "wandb_name",
                     "wandb_run_id", "wandb_watch", "wandb_log_model", "tracker_project_name", "save_safetensors"),
                    drop(_LOG)),
    **dict.fromkeys(("push_to_hub", "push_to_hub_model_id", "hub_model_id", "hub_strategy", "hub_private_repo"),
                    drop(_HUB)),
    **dict.fromkeys(("overwrite_cache", "preprocessing_batch_size", "tokenized_path"),
                    drop(_PREPARED)),
    **dict.fromkeys(("preprocessing_num_workers", "dataset_num_proc", "num_workers"),
                    drop(_ALONE)),
}  # fmt: skip


def _sharded(stage: Any, zero: Mapping[str, Any], why: str) -> Fate:
    if stage not in (1, 2, 3):
        return Fate(why="its ZeRO stage is 0: nothing is sharded")
    launch: dict[str, Any] = {"sharding": f"zero{stage}"}
    if _offloads(zero, "offload_param"):
        launch["offload"] = "all"
    elif _offloads(zero, "offload_optimizer"):
        launch["offload"] = "optimizer"
    return Fate({"launch": launch}, why)


def _offloads(zero: Mapping[str, Any], part: str) -> bool:
    given = zero.get(part)
    return bool(given) and (not isinstance(given, Mapping) or given.get("device") not in (None, "none"))


def _json_beside(name: str, source: str) -> Mapping[str, Any] | None:
    """The JSON of a file named in the source: from there, from the working directory, or from a folder above."""
    for folder in (Path(), *Path(os.path.abspath(source)).parents):  # noqa: PTH100
        try:
            found = json.loads((folder / Path(name).expanduser()).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return found if isinstance(found, Mapping) else None
    return None
