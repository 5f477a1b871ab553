"""A resolved recipe in TRL's own words: what its command line and its Python classes take.

The recipe's keys have TRL's names already, so most are passed on as they are. What TRL lacks is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb.base.errors import UsageFault
from tuiwb.recipe.model import Recipe
from tuiwb.recipe.reward_funcs import RewardFunc, parse_reward

# The stages that `trl` has a command for, by its name there.
COMMANDS = {"sft": "sft", "pretrain": "sft"} | {name: name for name in ("reward", "dpo", "kto", "grpo", "rloo")}
ON_TEXTS = "_on_texts"
"""Ends the name of a module beside the file of a user's reward functions, which hands them what they get here."""
BUILT_IN = "built_in_rewards"
"""The module with the others."""
_LORA = ("lora", "qlora", "dora")
# Keys of transformers' `TrainingArguments`, which every configuration of TRL has.
_ARGUMENTS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size",
    "train_sampling_strategy", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps",
    "num_train_epochs", "max_steps", "optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon",
    "max_grad_norm", "neftune_noise_alpha", "seed", "data_seed", "bf16", "fp16", "tf32", "gradient_checkpointing",
    "use_liger_kernel", "torch_compile", "logging_steps", "eval_strategy", "eval_steps", "eval_on_start",
    "save_strategy", "save_steps", "save_total_limit", "save_only_model", "load_best_model_at_end",
    "metric_for_best_model", "greater_is_better", "report_to", "use_cpu", "dataloader_num_workers",
    "dataloader_pin_memory",
)  # fmt: skip
# What the configuration of a stage has besides.
_OF_STAGE = {
    "sft": ("max_length", "packing", "packing_strategy", "padding_free", "activation_offloading", "trust_remote_code"),
    "reward": ("max_length", "activation_offloading", "trust_remote_code"),
    "dpo": ("max_length", "beta", "loss_type", "loss_weights", "label_smoothing", "activation_offloading",
            "trust_remote_code"),
    "kto": ("max_length", "beta", "loss_type", "desirable_weight", "undesirable_weight", "activation_offloading",
            "trust_remote_code"),
    "grpo": ("beta", "loss_type", "num_generations", "max_completion_length", "temperature", "reward_weights",
             "trust_remote_code"),
    "rloo": ("beta", "num_generations", "max_completion_length", "temperature", "reward_weights", "trust_remote_code"),
}  # fmt: skip
_MODEL = ("model_revision", "dtype", "attn_implementation")
_ADAPTER = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters",
            "lora_modules_to_save", "use_rslora", "use_dora")  # fmt: skip
_QUANTIZED = ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage")
_LISTS = ("lora_target_modules", "lora_target_parameters")


@dataclass(frozen=True, slots=True)
class TrlRun:
    """What TRL is told.

    Attributes:
        command: of `trl`, and the stage.
        config: arguments of the stage's configuration (`SFTConfig` …).
        model: keys of `ModelConfig` about the base model, its precision and quantization.
        adapter: keys of `ModelConfig` about LoRA; empty without an adapter.
        rewards: functions and models that score answers.
    """

    command: str
    config: Mapping[str, Any]
    model: Mapping[str, Any]
    adapter: Mapping[str, Any]
    rewards: Mapping[str, Any]


def trl_run(recipe: Recipe, *, script: bool = False) -> TrlRun:
    """A resolved recipe for TRL.

    Args:
        script: for a Python program, which can do what `trl` has no flag for.

    Raises:
        UsageFault: TRL lacks the stage or something else that the recipe states; one sentence.
    """
    problem = next(_refusals(recipe, script=script), None)
    if problem is not None:
        key, message = problem
        raise UsageFault(message, key=key)
    command = COMMANDS[recipe.stage or "sft"]
    config = {key: _plain(getattr(recipe, key)) for key in (*_ARGUMENTS, *_OF_STAGE[command])}
    # Left out, TRL would switch both on.
    config["bf16"], config["gradient_checkpointing"] = bool(recipe.bf16), bool(recipe.gradient_checkpointing)
    if recipe.use_cpu:
        config.pop("tf32", None)  # a format of GPUs, which transformers refuses to hear of elsewhere
    if command == "dpo" and isinstance(recipe.loss_type, str):
        config["loss_type"] = [recipe.loss_type]
    if command in ("sft", "kto") and isinstance(config.get("loss_type"), list):
        config["loss_type"] = config["loss_type"][0]
    if command == "sft":
        config.pop("loss_type", None)
    if command == "kto":
        config["train_sampling_strategy"] = "sequential"  # TRL pairs answers beforehand and asks for this order
    elif command != "sft" and recipe.train_sampling_strategy == "group_by_length":
        config["train_sampling_strategy"] = "random"  # TRL cannot tell the length of a pair
    if recipe.eval_strategy == "no":
        config = {key: value for key, value in config.items() if key != "eval_steps"}
    model = {key: _plain(getattr(recipe, key)) for key in (*_MODEL, *_QUANTIZED)}
    if not recipe.load_in_4bit:
        model = {key: value for key, value in model.items() if not key.startswith(("bnb_", "use_bnb", "load_in_4"))}
    if not recipe.load_in_8bit:
        model.pop("load_in_8bit")
    adapter = {key: _plain(getattr(recipe, key)) for key in _ADAPTER} if recipe.method in _LORA else {}
    for key in _LISTS:
        if isinstance(adapter.get(key), str):
            adapter[key] = [adapter[key]]
    if adapter and command == "reward":
        adapter["lora_task_type"] = "SEQ_CLS"  # with which PEFT trains and saves the head that scores
    rewards = _rewards(recipe) if command in ("grpo", "rloo") else {}
    return TrlRun(command, _stated(config), _stated(model), _stated(adapter), _stated(rewards))


def _refusals(recipe: Recipe, *, script: bool) -> Iterator[tuple[str, str]]:
    """What TRL lacks: key and sentence."""
    stage = recipe.stage or "sft"
    if recipe.stages:
        yield "stages", "TRL runs one stage at a time; export the recipe of each stage on its own"
    if stage not in COMMANDS:
        yield "stage", f"TRL has no command for stage {stage}; it has {', '.join(dict.fromkeys(COMMANDS.values()))}"
    method = recipe.method or "lora"
    if method not in (*_LORA, "full") and not (script and method in ("freeze", "ia3", "prefix", "prompt")):
        end = "; `tuiwb recipe export script` can do it" if not script else ""
        yield "method", f"`trl` has no flag for method {method}; it has full and lora{end}"
    for key in ("adapter_name_or_path", "ref_model_name_or_path"):
        if getattr(recipe, key) and not script:
            yield key, f"`trl` has no flag for {key}; `tuiwb recipe export script` can do it"
    if recipe.loraplus_lr_ratio is not None:
        yield "loraplus_lr_ratio", "TRL makes one learning rate for the whole adapter; export it without"
    if recipe.added_tokens:
        yield "added_tokens", "TRL cannot add tokens to a model's vocabulary; use a template that needs none, as alpaca"
    if stage in ("grpo", "rloo"):
        yield from _reward_refusals(recipe)
    launch = recipe.launch
    if launch is not None and launch.sharding not in (None, "none", "ddp"):
        yield "launch.sharding", f"sharding {launch.sharding} is stated to accelerate, not to TRL; export it without"


def _reward_refusals(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for text in recipe.reward_funcs or ():
        one = parse_reward(text)
        if one.kind == "judge":
            message = f"TRL has no reward function {text}; write it as a Python function, FILE.py:FUNCTION"
            yield "reward_funcs", message
        elif one.kind == "exact" and not one.argument:
            yield "reward_funcs", "TRL's rows have no answer of their own to compare with; name a column, exact:COLUMN"


def reward_names(functions: Sequence[RewardFunc]) -> list[str]:
    """Module and name of each, as TRL imports them from the folder of the run."""
    names: list[str] = []
    for one in functions:
        if one.kind == "python":
            names.append(f"{Path(one.argument).stem}{ON_TEXTS}.{one.function}")
            continue
        name = f"{BUILT_IN}.{one.name}"
        before = sum(other == name or other.startswith(f"{name}_") for other in names)
        names.append(f"{name}_{before + 1}" if before else name)
    return names


def _rewards(recipe: Recipe) -> dict[str, Any]:
    """What scores answers: functions by module and name, as they are imported from the folder of the run."""
    functions = [parse_reward(text) for text in recipe.reward_funcs or ()]
    return {
        "reward_funcs": reward_names(functions) or None,
        "reward_model_name_or_path": recipe.reward_model_name_or_path,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
