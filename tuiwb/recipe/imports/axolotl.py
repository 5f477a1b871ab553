"""Axolotl's YAML as keys of a recipe."""

from collections.abc import Mapping
from typing import Any

from tuiwb.recipe.imports import axolotl_data as data
from tuiwb.recipe.imports.account import Draft, Fate, Rule, drop, keep, refuse, refused
from tuiwb.recipe.imports.shared import TRANSFORMERS, method_of, optimizer, validation_share

TOOL = "Axolotl"
_RL = {"dpo": ("dpo", None), "ipo": ("dpo", "ipo"), "orpo": ("orpo", None), "kto": ("kto", None),
       "grpo": ("grpo", None)}  # fmt: skip
_TEMPLATES = {
    "chatml": "chatml", "llama3": "llama-3", "alpaca": "alpaca", "gemma": "gemma", "phi_3": "phi-3",
    "inst": "mistral", "mistral_v1": "mistral", "llama2": "llama-2", "vicuna": "vicuna", "zephyr": "zephyr",
}  # fmt: skip


def read(values: Mapping[str, Any], draft: Draft) -> None:
    """Account for every key, and for the defaults that differ from ours."""
    # Found first: the keys of learning rate and counts are written as texts here and there.
    draft.apply(TRANSFORMERS | RULES)
    why = f"{TOOL} does so unless told otherwise"
    if "method" not in draft.recipe and not values.get("adapter"):
        draft.default("adapter", None, {"method": "full"}, f"without an adapter {TOOL} trains all weights")
    for key, value, into in (
        ("rl", None, {"stage": "sft"}),
        ("sequence_len", 512, {"max_length": 512}),
        ("lr_scheduler", "cosine", {"lr_scheduler_type": "cosine"}),
        ("warmup_steps", 0, {"warmup_steps": 0.0}),
        ("num_epochs", 1.0, {"num_train_epochs": 1.0}),
        ("micro_batch_size", 1, {"per_device_train_batch_size": 1}),
        ("gradient_accumulation_steps", 1, {"gradient_accumulation_steps": 1}),
        ("weight_decay", 0.0, {"weight_decay": 0.0}),
        ("max_grad_norm", 1.0, {"max_grad_norm": 1.0}),
    ):
        draft.default(key, value, into, why)
    if values.get("adapter"):
        draft.default("lora_dropout", 0.0, {"lora_dropout": 0.0}, why)
    template = data.template_of(values)
    if template:
        draft.default("type", "alpaca", {"chat_template": template}, "its rows are written as ### Instruction: there")


def _adapter(value: Any, draft: Draft) -> Fate:
    if value not in ("lora", "qlora"):
        return refused(f"the adapter {value} is not offered; lora is the nearest")
    if value == "qlora":
        return Fate({"method": "qlora"})
    return Fate(
        method_of(True, 8 if draft.values.get("load_in_8bit") else 4 if draft.values.get("load_in_4bit") else 0)
    )


def _bits(value: Any, draft: Draft) -> Fate:
    return Fate(why="the method says it" if value else "it is off")


def _stage(value: Any, draft: Draft) -> Fate:
    if value not in _RL:
        return refused(f"{value} is not offered; dpo, orpo, kto and grpo are")
    stage, loss = _RL[value]
    return Fate({"stage": stage} | ({"loss_type": loss} if loss else {}))


def _reward(value: Any, draft: Draft) -> Fate:
    return Fate({"stage": "reward"}) if value else Fate(why="it is off")


def _template(value: Any, draft: Draft) -> Fate:
    name = str(value)
    if name == "tokenizer_default":
        return Fate(why="the model's own template is the default here")
    if name == "jinja":
        return Fate(why="chat_template_jinja holds it")
    if name.startswith("tokenizer_default_fallback_"):
        inner = name.removeprefix("tokenizer_default_fallback_")
        other = _TEMPLATES.get(inner, inner)
        return Fate(why=f"the model's own template is the default here; if it has none, write {other}")
    if name in _TEMPLATES:
        return Fate({"chat_template": _TEMPLATES[name]}, "" if name == _TEMPLATES[name] else "its name here")
    return refused(f"there is no template {name} here; leave it out for the model's own, or name a Jinja file")


def _source(value: Any, draft: Draft) -> Fate:
    if str(value).endswith((".jinja", ".jinja2", ".j2")):
        return Fate({"chat_template": value})
    return refused("a template stands in a file: put it into one that ends in .jinja, and name that in chat_template")


def _targets(value: Any, draft: Draft) -> Fate:
    if draft.values.get("lora_target_linear"):
        return Fate(why="lora_target_linear says all linear layers")
    return Fate({"lora_target_modules": value})


def _linear(value: Any, draft: Draft) -> Fate:
    return Fate({"lora_target_modules": "all-linear"}) if value else Fate(why="it is off")


def _packing(value: Any, draft: Draft) -> Fate:
    return Fate({"packing": bool(value)}, "documents are always kept apart here" if value else "")


def _precision(key: str) -> Rule:
    def rule(value: Any, draft: Draft) -> Fate:
        if value in ("auto", "full"):
            return Fate(why="precision is chosen here for the machine, unless stated")
        return Fate({key: value})

    return rule


def _checkpointing(value: Any, draft: Draft) -> Fate:
    if value in ("unsloth", "offload", "offload_disk"):
        return Fate({"gradient_checkpointing": True, "activation_offloading": True}, "activations wait in host memory")
    return Fate({"gradient_checkpointing": value})


def _kernel(name: str) -> Rule:
    return lambda value, draft: Fate({"attn_implementation": name}) if value else Fate(why="it is off")


def _times(prefix: str) -> Rule:
    """So many times an epoch: a share of all steps."""

    def rule(value: Any, draft: Draft) -> Fate:
        epochs = float(draft.values.get("num_epochs") or 1)
        times = float(value) * epochs
        if times <= 0:
            return Fate({f"{prefix}_strategy": "no"})
        share = 1 / times
        if share >= 1:
            return Fate({f"{prefix}_strategy": "epoch"})
        return Fate({f"{prefix}_strategy": "steps", f"{prefix}_steps": round(share, 6)}, "a share of all steps")

    return rule


def _batch(value: Any, draft: Draft) -> Fate:
    micro = int(draft.values.get("micro_batch_size") or 1)
    if draft.values.get("gradient_accumulation_steps"):
        return Fate(why="gradient_accumulation_steps and micro_batch_size say it")
    return Fate(
        {"gradient_accumulation_steps": max(1, int(value) // micro)}, f"{value} examples a step, {micro} at once"
    )


def _scheduler(value: Any, draft: Draft) -> Fate:
    if value in ("one_cycle", "rex"):
        return refused(f"the scheduler {value} is not offered; cosine is the nearest")
    ratio = draft.values.get("cosine_min_lr_ratio")
    if value == "cosine" and ratio:
        return Fate({"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": float(ratio)}},
                    "cosine_min_lr_ratio is where it ends")  # fmt: skip
    return Fate({"lr_scheduler_type": value})


def _special(value: Any, draft: Draft) -> Fate:
    given = dict(value) if isinstance(value, Mapping) else {}
    eos, more = given.get("eos_token"), given.get("additional_special_tokens") or ()
    into: dict[str, Any] = {"eos_token": eos} if eos else {}
    if more:
        into["added_tokens"] = list(more)
    rest = [name for name in given if name not in ("eos_token", "additional_special_tokens")]
    why = f"{', '.join(rest)}: padding never carries loss, and the others are the tokenizer's" if rest else ""
    return Fate(into, why)


def _fsdp(value: Any, draft: Draft) -> Fate:
    from tuiwb.recipe.imports.shared import fsdp

    given = value if isinstance(value, list) else str(value).split()
    config = draft.values.get("fsdp_config") or {}
    if isinstance(config, Mapping) and (config.get("fsdp_offload_params") or config.get("offload_params")):
        given = [*given, "offload"]
    return fsdp(given, draft)


def _fsdp_config(value: Any, draft: Draft) -> Fate:
    if draft.values.get("fsdp"):
        return Fate(why="read together with `fsdp`")
    offload = isinstance(value, Mapping) and (value.get("offload_params") or value.get("fsdp_offload_params"))
    return Fate({"launch": {"sharding": "fsdp"} | ({"offload": "all"} if offload else {})},
                "which layers are wrapped is told from the model")  # fmt: skip


_WATCH = "the run directory holds logs, curves and samples"
_TOLD = "it is told from the model"

RULES: dict[str, Rule] = {
    "base_model": keep("model_name_or_path"),
    "revision_of_model": keep("model_revision"),
    "tokenizer_config": refuse("the tokenizer comes with the model"),
    "adapter": _adapter,
    "load_in_8bit": _bits,
    "load_in_4bit": _bits,
    "rl": _stage,
    "reward_model": _reward,
    "process_reward_model": refuse("rewards of single steps are not offered"),
    "lora_model_dir": keep("adapter_name_or_path"),
    "peft_use_dora": keep("use_dora"),
    "noisy_embedding_alpha": keep("neftune_noise_alpha"),
    "peft_use_rslora": keep("use_rslora"),
    "lora_target_modules": _targets,
    "lora_target_linear": _linear,
    "peft_layers_to_transform": refuse("all layers of a name get an adapter; lora_target_modules may be a pattern"),
    "lora_fan_in_fan_out": drop(_TOLD),
    "peft_init_lora_weights": refuse("adapters begin at zero"),
    "unfrozen_parameters": refuse("method freeze trains the last layers"),
    "relora": refuse("it is not offered"),
    "relora_steps": refuse("it is not offered"),
    "lisa_step_interval": refuse("it is not offered"),
    "datasets": data.train_entries,
    "test_datasets": data.eval_entries,
    "pretraining_dataset": data.pretraining,
    "chat_template": _template,
    "chat_template_jinja": _source,
    "default_system_message": refuse("rows bring their own system turn"),
    "eot_tokens": drop("the end mark is told from the template"),
    "special_tokens": _special,
    "tokens": keep("added_tokens"),
    "added_tokens_overrides": refuse("reserved tokens keep their names; added_tokens makes new ones"),
    "sequence_len": keep("max_length"),
    "max_prompt_len": refuse("prompt and answer together are cut at max_length"),
    "min_sample_len": refuse("short rows are learned too; `tuiwb data clean` takes them out"),
    "sample_packing": _packing,
    "micro_batch_size": keep("per_device_train_batch_size"),
    "eval_batch_size": keep("per_device_eval_batch_size"),
    "batch_size": _batch,
    "num_epochs": keep("num_train_epochs"),
    "optimizer": optimizer,
    "lr_scheduler": _scheduler,
    "train_on_inputs": data.on_inputs,
    "bf16": _precision("bf16"),
    "fp16": _precision("fp16"),
    "bfloat16": _precision("bf16"),
    "float16": _precision("fp16"),
    "gradient_checkpointing": _checkpointing,
    "flash_attention": _kernel("flash_attention_2"),
    "sdp_attention": _kernel("sdpa"),
    "eager_attention": _kernel("eager"),
    "xformers_attention": refuse("this kernel is not offered; sdpa is the nearest"),
    "flex_attention": _kernel("flex_attention"),
    "s2_attention": refuse("shifted attention is not offered"),
    "evals_per_epoch": _times("eval"),
    "saves_per_epoch": _times("save"),
    "val_set_size": validation_share,
    "rl_beta": keep("beta"),
    "dpo_beta": keep("beta"),
    "orpo_alpha": keep("beta"),
    "kto_desirable_weight": keep("desirable_weight"),
    "kto_undesirable_weight": keep("undesirable_weight"),
    "rpo_alpha": lambda value, draft: Fate(
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, float(value)]}, "two losses, weighed"
    ),
    "dpo_label_smoothing": keep("label_smoothing"),
    "simpo_gamma": refuse("it belongs to SimPO, which is not offered"),
    "fsdp": _fsdp,
    "fsdp_config": _fsdp_config,
    "liger_rope": lambda value, draft: Fate({"use_liger_kernel": True}) if value else Fate(why="it is off"),
    "liger_fused_linear_cross_entropy": drop("the loss is always fused with the output layer"),
    "plugins": drop("kernels are chosen here for the machine"),
    "world_size": drop("the launcher says it"),
    "device": drop("the device is chosen here"),
    "device_map": drop("the device is chosen here"),
    "max_memory": drop("the device is chosen here"),
    "gpu_memory_limit": drop("`tuiwb plan` says what fits"),
    "tensor_parallel_size": lambda value, draft: Fate({"launch": {"tensor_parallel": int(value)}}),
    "sequence_parallel_degree": lambda value, draft: Fate({"launch": {"context_parallel": int(value)}}),
    "context_parallel_size": lambda value, draft: Fate({"launch": {"context_parallel": int(value)}}),
    "loss_watchdog_threshold": drop("a loss that rises or is no number raises an alarm here"),
    "loss_watchdog_patience": drop("a loss that rises or is no number raises an alarm here"),
    "use_tensorboard": drop("event files are always written"),
    "dataset_exact_deduplication": refuse("write `steps: [dedup]` at a dataset, or use `tuiwb data dedup`"),
    "trl": refuse("its sampling settings stand one by one in a recipe"),
    "type": drop(_TOLD),
    **dict.fromkeys(("model_type", "tokenizer_type", "base_model_config", "cls_model_config", "tokenizer_use_fast",
                     "tokenizer_legacy", "is_llama_derived_model", "is_mistral_derived_model",
                     "is_falcon_derived_model", "is_qwen_derived_model", "processor_type", "strict", "ddp",
                     "num_labels"),
                    drop(_TOLD)),
    **dict.fromkeys(("dataset_prepared_path", "dataset_processes", "dataset_keep_in_memory",
                     "shuffle_merged_datasets", "skip_prepare_dataset", "dataset_shard_num", "dataset_shard_idx",
                     "push_dataset_to_hub", "pad_to_sequence_len", "eval_sample_packing", "sample_packing_group_size",
                     "sample_packing_bin_size", "sample_packing_eff_est", "total_num_tokens", "multipack_real_batches"),
                    drop("data are prepared here in a way of their own")),
    **dict.fromkeys(("eval_table_size", "eval_max_new_tokens", "debug", "profiler_steps", "gc_steps",
                     "mlflow_experiment_name", "mlflow_tracking_uri", "hf_mlflow_log_artifacts", "comet_project_name",
                     "wandb_mode", "auto_resume_from_checkpoints", "merge_lora", "hf_use_auth_token", "lora_on_cpu",
                     "early_stopping"),
                    drop(_WATCH)),
    **dict.fromkeys(("flash_attn_cross_entropy", "flash_attn_rms_norm", "flash_attn_fuse_qkv", "flash_attn_fuse_mlp",
                     "flash_optimum", "unsloth_cross_entropy_loss", "unsloth_lora_mlp", "unsloth_lora_qkv",
                     "unsloth_lora_o", "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "liger_rms_norm",
                     "liger_glu_activation", "liger_layer_norm", "cut_cross_entropy", "torchdistx_path"),
                    drop("kernels are chosen here for the machine")),
}  # fmt: skip
RULES["cosine_min_lr_ratio"] = lambda value, draft: (
    Fate(why="read together with `lr_scheduler`")
    if draft.values.get("lr_scheduler", "cosine") == "cosine"
    else refused("it belongs to the scheduler cosine")
)
