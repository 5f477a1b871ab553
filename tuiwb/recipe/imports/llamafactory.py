"""LLaMA-Factory's arguments (its YAML files and the command lines of `train_bash.py` alike) as keys of a recipe."""

from collections.abc import Mapping
from typing import Any

from tuiwb.recipe.imports import llamafactory_data as data
from tuiwb.recipe.imports.account import Draft, Fate, Rule, drop, keep, refuse, refused, words
from tuiwb.recipe.imports.shared import TRAINER_DEFAULTS, TRANSFORMERS, Default, method_of, validation_share

TOOL = "LLaMA-Factory"
_STAGES = {"pt": "pretrain", "sft": "sft", "rm": "reward", "ppo": "ppo", "dpo": "dpo", "kto": "kto"}
_LOSSES = ("sigmoid", "hinge", "ipo")
# Templates that are the same here by another name; all others are those of the models that bring them.
_TEMPLATES = {
    "alpaca": "alpaca", "vicuna": "vicuna", "chatml": "chatml", "llama2": "llama-2", "llama3": "llama-3",
    "mistral": "mistral", "gemma": "gemma", "zephyr": "zephyr", "phi": "phi-3",
}  # fmt: skip
_ATTENTION = {"fa2": "flash_attention_2", "fa3": "flash_attention_3", "sdpa": "sdpa", "disabled": "eager", "auto": None}


def read(values: Mapping[str, Any], draft: Draft) -> None:
    """Account for every key, and for the defaults that differ from ours."""
    draft.apply(TRANSFORMERS | RULES)
    why = f"{TOOL} does so unless told otherwise"
    defaults: tuple[Default, ...] = (
        ("stage", "sft", {"stage": "sft"}),
        ("finetuning_type", "lora", {"method": "lora"}),
        ("cutoff_len", 2048, {"max_length": 2048}),
        ("learning_rate", 5e-5, {"learning_rate": 5e-5}),
        *TRAINER_DEFAULTS,
    )
    for key, value, into in defaults:
        draft.default(key, value, into, why)
    if draft.recipe.get("method") in ("lora", "qlora"):
        rank = draft.recipe.get("lora_r", 8)
        draft.default("lora_rank", 8, {"lora_r": 8}, why)
        draft.default("lora_alpha", 2 * rank, {"lora_alpha": 2 * rank}, f"{TOOL} takes twice the rank")
        draft.default("lora_target", "all", {"lora_target_modules": "all-linear"}, why)
        draft.default("lora_dropout", 0.0, {"lora_dropout": 0.0}, why)


def _stage(value: Any, draft: Draft) -> Fate:
    if value == "dpo" and draft.values.get("pref_loss") == "orpo":
        return Fate({"stage": "orpo"}, "pref_loss is orpo")
    return Fate({"stage": _STAGES[value]}) if value in _STAGES else refused(f"there is no stage {value}")


def _method(value: Any, draft: Draft) -> Fate:
    if value == "freeze":
        return Fate({"method": "freeze"})
    if value not in ("lora", "full"):
        return refused(f"method {value} is not offered; lora is the nearest")
    bits = _whole(draft.values.get("quantization_bit"))
    found = method_of(value == "lora", bits if value == "lora" else None)
    return Fate(found, f"on a base in {bits} bits" if bits and value == "lora" else "")


def _bits(value: Any, draft: Draft) -> Fate:
    bits = _whole(value)
    if bits not in (4, 8):
        return refused(f"a base in {value} bits is not offered; 4 and 8 are")
    if draft.values.get("finetuning_type", "lora") != "lora":
        return refused("quantized weights cannot be trained whole; only LoRA goes on them")
    return Fate(method_of(True, bits))


def _template(value: Any, draft: Draft) -> Fate:
    if value in _TEMPLATES:
        return Fate({"chat_template": _TEMPLATES[value]}, "" if value == _TEMPLATES[value] else "its name here")
    if value in ("default", "vanilla", "empty", "fewshot"):
        return refused(f"the format {value} is not offered; alpaca and vicuna need no special tokens either")
    return Fate(why=f"the model's own chat template is {value}; a base model without one needs chat_template here")


def _frozen(value: Any, draft: Draft) -> Fate:
    if _whole(value) == 2:
        return Fate(why="the last two layers learn here too, unless freeze_layers is stated")
    return refused(f"it counts from the end; write freeze_layers: the model's number of layers minus {value}")


def _loss(value: Any, draft: Draft) -> Fate:
    if value == "orpo":
        return Fate({"stage": "orpo"}, "a stage of its own here")
    if value not in _LOSSES:
        return refused(f"the loss {value} is not offered; {', '.join(_LOSSES)} and stage orpo are")
    more = draft.values.get("pref_ftx") or draft.values.get("dpo_ftx")
    return _likelihood(more, draft) if more else Fate({"loss_type": value})


def _likelihood(value: Any, draft: Draft) -> Fate:
    """`pref_ftx`: the likelihood of the chosen answer is added, so much of it."""
    loss = draft.values.get("pref_loss") or draft.values.get("dpo_loss") or "sigmoid"
    if float(value) == 0:
        return Fate(why="it is off")
    return Fate({"loss_type": [loss, "sft"], "loss_weights": [1.0, float(value)]}, "two losses, weighed")


def _on_prompt(value: Any, draft: Draft) -> Fate:
    if _is_true(value):
        return Fate({"train_roles": ["system", "user", "assistant", "tool"]}, "questions are learned too")
    return Fate({"train_roles": ["assistant"]}, "only answers are learned")


def _packing(value: Any, draft: Draft) -> Fate:
    return Fate({"packing": _is_true(value)}, "documents are always kept apart here" if _is_true(value) else "")


def _checkpointing(value: Any, draft: Draft) -> Fate:
    return Fate({"gradient_checkpointing": not _is_true(value)})


def _pure(value: Any, draft: Draft) -> Fate:
    if not _is_true(value):
        return Fate(why="it is off")
    return Fate({"bf16": True, "dtype": "bfloat16"}, "weights and computing in bfloat16")


def _targets(value: Any, draft: Draft) -> Fate:
    if value in ("all", ["all"]):
        return Fate({"lora_target_modules": "all-linear"})
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    return Fate({"lora_target_modules": names})


def _adapter(value: Any, draft: Draft) -> Fate:
    paths = value.split(",") if isinstance(value, str) else list(value)
    if len(paths) > 1:
        return refused("one adapter can be continued; merge the others into the base first")
    return Fate({"adapter_name_or_path": paths[0]})


def _galore(name: str) -> Rule:
    return lambda value, draft: Fate({"optim": name}) if _is_true(value) else Fate(why="it is off")


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "1")


_KERNELS = "speed-ups of the kernels are chosen here for the machine"
_IMAGES = "images, sound and video are not trained on"
_VIEW = "the run directory holds logs, curves and samples"

RULES: dict[str, Rule] = {
    "stage": _stage,
    "finetuning_type": _method,
    "quantization_bit": _bits,
    "quantization_type": keep("bnb_4bit_quant_type"),
    "quantization_method": words("", {"bitsandbytes": None, "bnb": None}, "quantizing is bitsandbytes' work"),
    "double_quantization": keep("use_bnb_nested_quant"),
    "quantization_device_map": drop("the device is chosen here"),
    "template": _template,
    "dataset": data.train_entries,
    "eval_dataset": data.eval_entries,
    "dataset_dir": data.beside,
    "max_samples": data.beside,
    "mix_strategy": data.mixing,
    "interleave_probs": data.beside,
    "cutoff_len": keep("max_length"),
    "max_source_length": refuse("prompt and answer together are cut at max_length"),
    "max_target_length": refuse("prompt and answer together are cut at max_length"),
    "val_size": validation_share,
    "train_on_prompt": _on_prompt,
    "mask_history": refuse("every answer of a conversation is learned, not the last alone"),
    "packing": _packing,
    "neat_packing": _packing,
    "sft_packing": _packing,
    "streaming": drop("rows are read where they lie, whatever the size"),
    "buffer_size": drop("rows are read where they lie, whatever the size"),
    "lora_rank": keep("lora_r"),
    "lora_target": _targets,
    "additional_target": keep("lora_modules_to_save"),
    "adapter_name_or_path": _adapter,
    "checkpoint_dir": _adapter,
    "create_new_adapter": refuse("an adapter that is named is continued"),
    "pissa_init": refuse("adapters begin at zero"),
    "pissa_iter": drop("it belongs to pissa_init"),
    "pissa_convert": drop("it belongs to pissa_init"),
    "freeze_trainable_layers": _frozen,
    "freeze_trainable_modules": words("", {"all": None}, "layers are trained whole"),
    "freeze_extra_modules": refuse("the last layers alone are trained"),
    "name_module_trainable": words("", {"all": None}, "layers are trained whole"),
    "num_layer_trainable": _frozen,
    "pref_beta": keep("beta"),
    "dpo_beta": keep("beta"),
    "kto_beta": keep("beta"),
    "orpo_beta": keep("beta"),
    "pref_loss": _loss,
    "dpo_loss": _loss,
    "pref_ftx": _likelihood,
    "dpo_ftx": _likelihood,
    "dpo_label_smoothing": keep("label_smoothing"),
    "kto_chosen_weight": keep("desirable_weight"),
    "kto_rejected_weight": keep("undesirable_weight"),
    "simpo_gamma": refuse("it belongs to SimPO, which is not offered"),
    "ref_model": keep("ref_model_name_or_path"),
    "reward_model": keep("reward_model_name_or_path"),
    "reward_model_type": drop("it is told from the folder whether it is an adapter or a whole model"),
    "ppo_epochs": keep("num_ppo_epochs"),
    "ppo_target": keep("kl_target"),
    "ppo_whiten_rewards": keep("whiten_rewards"),
    "ppo_score_norm": refuse("scores count as they are; whiten_rewards brings rewards to one scale"),
    "ppo_buffer_size": refuse("each rollout is one batch of optimizer steps"),
    "flash_attn": words("attn_implementation", _ATTENTION | {True: "flash_attention_2", "true": "flash_attention_2",
                                                             False: None, "false": None}),
    "enable_liger_kernel": keep("use_liger_kernel"),
    "disable_gradient_checkpointing": _checkpointing,
    "pure_bf16": _pure,
    "rope_scaling": refuse("a model is trained at the positions that it was made for"),
    "enable_thinking": refuse("whether an answer thinks first is the chat template's to say"),
    "shift_attn": refuse("shifted attention is not offered"),
    "mixture_of_depths": refuse("it is not offered"),
    "use_llama_pro": refuse("added blocks are not offered"),
    "use_galore": _galore("galore_adamw"),
    "use_apollo": _galore("apollo_adamw"),
    "use_badam": refuse("it is not offered; freeze trains the last layers"),
    "use_adam_mini": refuse("this optimizer is not offered"),
    "use_muon": refuse("this optimizer is not offered"),
    "use_dft_loss": refuse("the loss is the plain likelihood of the labels"),
    "neftune_noise_alpha": lambda value, draft: (
        Fate({"neftune_noise_alpha": value}) if float(value) > 0 else Fate(why="0 is no noise")
    ),
    "add_tokens": keep("added_tokens"),
    "new_special_tokens": keep("added_tokens"),
    "add_special_tokens": keep("added_tokens"),
    "resize_vocab": drop("the embeddings grow with the tokens that are added"),
    "ignore_pad_token_for_loss": drop("padding never carries loss"),
    "eval_on_each_dataset": drop("each evaluation set has a loss of its own"),
    "split_special_tokens": refuse("special tokens are tokens of their own"),
    "upcast_layernorm": drop("precision is chosen here for the machine"),
    "upcast_lmhead_output": drop("precision is chosen here for the machine"),
    "use_reentrant_gc": drop("how checkpointing is done is chosen for the model"),
    "compute_accuracy": drop("evaluation computes the loss"),
    "disable_shuffling": lambda value, draft: (
        Fate({"train_sampling_strategy": "sequential"}) if _is_true(value) else Fate(why="it is off")
    ),
    **dict.fromkeys(("use_unsloth", "use_unsloth_gc", "use_v1_kernels"), drop(_KERNELS)),
    **dict.fromkeys(("image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels", "video_fps",
                     "video_maxlen", "media_dir", "freeze_vision_tower", "freeze_multi_modal_projector",
                     "freeze_language_model", "audio_sampling_rate"), drop(_IMAGES)),
    **dict.fromkeys(("include_effective_tokens_per_second", "print_param_status", "use_swanlab", "swanlab_project",
                     "swanlab_run_name", "swanlab_mode"), drop(_VIEW)),
    **dict.fromkeys(("infer_backend", "infer_dtype", "offload_folder", "use_kv_cache", "max_new_tokens", "temperature",
                     "top_p", "top_k", "num_beams", "eval_num_beams", "do_sample", "repetition_penalty"),
                    drop("it is for answering, not for training")),
    **dict.fromkeys(("hf_hub_token", "ms_hub_token", "om_hub_token"), drop("the hub's own login is used")),
    **dict.fromkeys(("ray_run_name", "ray_storage_path", "ray_num_workers", "resources_per_worker",
                     "placement_strategy"), drop("runs are started on this machine")),
    **dict.fromkeys(("export_dir", "export_size", "export_device", "export_legacy_format", "export_hub_model_id"),
                    drop("`tuiwb export` does it, after training")),
}  # fmt: skip
