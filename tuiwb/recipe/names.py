"""Names that people bring along, from older releases and other tools, and what to write instead."""

from collections.abc import Sequence

MOVED = {
    # transformers, older releases
    "warmup_ratio": "write `warmup_steps`; a number below 1 is a share of all steps",
    "evaluation_strategy": "write `eval_strategy`",
    "group_by_length": "write `train_sampling_strategy: group_by_length`",
    "torch_dtype": "write `dtype`",
    "no_cuda": "write `use_cpu`",
    "tokenizer": "the tokenizer comes with `model_name_or_path`",
    "tokenizer_name_or_path": "the tokenizer comes with `model_name_or_path`",
    "processing_class": "the tokenizer comes with `model_name_or_path`",
    "per_gpu_train_batch_size": "write `per_device_train_batch_size`",
    "per_gpu_eval_batch_size": "write `per_device_eval_batch_size`",
    "half_precision_backend": "it was removed; write `bf16` or `fp16`",
    "fp16_opt_level": "it was removed; write `fp16: true`",
    "save_safetensors": "it was removed; checkpoints are always safetensors",
    "logging_dir": "it was removed; the run directory holds the logs",
    "overwrite_output_dir": "it was removed; every run has a directory of its own",
    "activation_checkpointing": "write `gradient_checkpointing`",
    "revision": "write `model_revision`",
    "output_dir": "every run has a directory of its own under the runs folder",
    "run_name": "write `name`",
    "hub_model_id": "models are published by `tuiwb export`, not by a recipe",
    "push_to_hub": "models are published by `tuiwb export`, not by a recipe",
    "resume_from_checkpoint": "resume a run with `tuiwb runs resume`",
    "fsdp": "write `launch: {sharding: fsdp}`",
    "deepspeed": "write `launch: {sharding: zero2}` or zero3",
    "do_train": "a recipe is always for training",
    "do_eval": "write `eval_strategy`",
    # TRL, older releases and its scripts
    "max_seq_length": "write `max_length`",
    "max_seq_len": "write `max_length`",
    "max_prompt_length": "it was removed; write `max_length`",
    "dataset_text_field": "write `datasets: [{path: …, columns: {text: …}}]`",
    "dataset_name": "write `datasets: [{path: …}]`",
    "dataset_config": "write `datasets: [{path: …, subset: …}]`",
    "dataset_train_split": "write `datasets: [{path: …, split: …}]`",
    "dataset_test_split": "write `eval_datasets: [{path: …, split: …}]`",
    "dataset": "write `datasets: [{path: …}]`",
    "eval_dataset": "write `eval_datasets: [{path: …}]`",
    "val_size": "write `eval_fraction`",
    "completion_only_loss": "write `train_roles: [assistant]`",
    "assistant_only_loss": "write `train_roles: [assistant]`",
    "train_on_inputs": "write `train_roles: [user, assistant]`",
    "chat_template_path": "write `chat_template`",
    "template": "write `chat_template`",
    "use_peft": "write `method: lora`",
    "lora_task_type": "it follows from `stage`",
    "bnb_4bit_compute_dtype": "write `dtype`",
    "bnb_4bit_use_double_quant": "write `use_bnb_nested_quant`",
    "double_quantization": "write `use_bnb_nested_quant`",
    "quantization_bit": "write `method: qlora`, or `load_in_8bit: true`",
    "model_init_kwargs": "write `dtype`, `attn_implementation` or `model_revision`",
    # PEFT, inside its own configuration
    "r": "write `lora_r`",
    "lora_rank": "write `lora_r`",
    "lora_target": "write `lora_target_modules`",
    "target_modules": "write `lora_target_modules`",
    "modules_to_save": "write `lora_modules_to_save`",
    "additional_target": "write `lora_modules_to_save`",
    # Plain words
    "model": "write `model_name_or_path`",
    "base_model": "write `model_name_or_path`",
    "batch_size": "write `per_device_train_batch_size`",
    "micro_batch_size": "write `per_device_train_batch_size`",
    "epochs": "write `num_train_epochs`",
    "num_epochs": "write `num_train_epochs`",
    "lr": "write `learning_rate`",
    "optimizer": "write `optim`",
    "lr_scheduler": "write `lr_scheduler_type`",
    "cutoff_len": "write `max_length`",
    "sequence_len": "write `max_length`",
    "finetuning_type": "write `method`",
    "flash_attn": "write `attn_implementation: flash_attention_2`",
    "flash_attention": "write `attn_implementation: flash_attention_2`",
    "sample_packing": "write `packing`",
}


def advice(name: str, known: tuple[str, ...], *, moved: bool = True) -> str:
    """One sentence on a name that is no key: what to write instead, or the nearest right name.

    Args:
        known: the keys of the map that the name stands in.
        moved: whether the names of `MOVED` may be meant (they are keys of a whole recipe).
    """
    plain = name.lower().replace("-", "_").replace(" ", "_")
    elsewhere = {old: text for old, text in MOVED.items() if old not in known} if moved else {}
    if plain in elsewhere:
        return f"is not a key of a recipe; {elsewhere[plain]}"
    if plain in known:
        return f"no such key; write `{plain}`"
    near = nearest(plain, [*known, *elsewhere])
    if near is None:
        return "no such key; " + ("`tuiwb recipe schema` lists them all" if moved else f"there are {', '.join(known)}")
    if near in elsewhere:
        return f"no such key; {elsewhere[near]}"
    return f"no such key; did you mean `{near}`?"


def nearest(word: str, words: Sequence[str]) -> str | None:
    """The word that was probably meant."""
    import difflib  # what is spelt right need not pay for it

    near = difflib.get_close_matches(word.lower().replace("-", "_"), words, n=1)
    return near[0] if near else None
