"""TRL's configuration (the YAML of `trl <stage> --config`) and the flags of its scripts since 2023."""

from collections.abc import Mapping
from typing import Any

from tuiwb.recipe.imports.account import Draft, Fate, Rule, drop, keep, refuse, refused
from tuiwb.recipe.imports.shared import TRAINER_DEFAULTS, TRANSFORMERS, Default, method_of, validation_share

TOOL = "TRL"
# A key that only one stage has, in the order in which they decide.
_TELLING = (
    ("grpo", ("reward_funcs", "num_iterations", "epsilon", "scale_rewards")),
    ("rloo", ("rloo_k", "normalize_advantages")),
    ("ppo", ("num_ppo_epochs", "reward_model_path", "sft_model_path", "init_kl_coef", "target_kl", "ppo_epochs",
             "vf_coef", "cliprange", "mini_batch_size")),
    ("reward", ("center_rewards_coefficient",)),
    ("kto", ("desirable_weight", "undesirable_weight")),
    ("dpo", ("precompute_ref_log_probs", "loss_weights", "f_divergence_type", "max_prompt_length", "use_weighting",
             "discopop_tau", "beta")),
)  # fmt: skip
_RATES = {"sft": 2e-5, "dpo": 1e-6, "kto": 1e-6, "grpo": 1e-6, "rloo": 1e-6, "orpo": 1e-6, "reward": 1e-4}
_STAGE = {"reward_modeling": "reward", "rm": "reward", "supervised": "sft"}
_ALL = ["system", "user", "assistant", "tool"]


def read(values: Mapping[str, Any], draft: Draft, stage: str = "", *, modern: bool = True) -> None:
    """Account for every key, and for the defaults that differ from ours.

    Args:
        stage: where the command says it; a YAML file does not.
        modern: whether the defaults of today's configurations hold.
    """
    draft.apply(TRANSFORMERS | RULES)
    if stage := _STAGE.get(stage, stage):
        draft.default("command", stage, {"stage": stage}, "the command says it")
    else:
        stage, mark = next(
            ((name, key) for name, keys in _TELLING for key in keys if values.get(key) is not None), ("sft", "")
        )
        told = f"told by the key {mark}" if mark else "no key belongs to another stage; --set stage=… says otherwise"
        draft.default("command", None, {"stage": stage}, told)
    adapter = _is_true(values.get("use_peft"))
    if not adapter and "method" not in draft.recipe:
        draft.default("use_peft", False, {"method": "full"}, "without an adapter all weights are trained")
    if modern:
        _defaults(draft, stage, adapter)


def _defaults(draft: Draft, stage: str, adapter: bool) -> None:
    why = f"{TOOL} does so unless told otherwise"
    defaults: tuple[Default, ...] = (
        ("learning_rate", _RATES.get(stage, 1e-6), {"learning_rate": _RATES.get(stage, 1e-6)}),
        ("max_length", 1024, {"max_length": 1024}),
        *TRAINER_DEFAULTS,
    )
    for key, value, into in defaults:
        draft.default(key, value, into, why)
    if adapter:
        draft.default("lora_r", 16, {"lora_r": 16}, why)
        draft.default("lora_alpha", 32, {"lora_alpha": 32}, why)
        draft.default("lora_dropout", 0.05, {"lora_dropout": 0.05}, why)
        if "lora_target_modules" not in draft.recipe:
            draft.default(
                "lora_target_modules", None, {"lora_target_modules": ["q_proj", "v_proj"]},
                "PEFT takes q_proj and v_proj of a Llama; for another model name its own",
            )  # fmt: skip
    if stage == "sft":
        draft.default("assistant_only_loss", False, {"train_roles": _ALL},
                      f"{TOOL} learns every turn of a conversation unless told otherwise")  # fmt: skip


def _peft(value: Any, draft: Draft) -> Fate:
    if not _is_true(value):
        return Fate({"method": "full"}, "without an adapter all weights are trained")
    bits = (
        4 if _is_true(draft.values.get("load_in_4bit")) else 8 if _is_true(draft.values.get("load_in_8bit")) else None
    )
    return Fate(method_of(True, bits), "on a base in 4 bits" if bits == 4 else "")


def _bits(value: Any, draft: Draft) -> Fate:
    if not _is_true(value):
        return Fate(why="it is off")
    if not _is_true(draft.values.get("use_peft")):
        return refused("quantized weights cannot be trained whole; write use_peft: true")
    return Fate(why="the method says it")


def _dataset(value: Any, draft: Draft) -> Fate:
    if draft.values.get("datasets"):
        return Fate(why="TRL reads `datasets` instead", refused=True)
    entry = {"path": str(value)}
    for key, ours in (("dataset_config", "subset"), ("dataset_train_split", "split")):
        if draft.values.get(key):
            entry[ours] = str(draft.values[key])
    into: dict[str, Any] = {"datasets": [entry]}
    if (field := draft.values.get("dataset_text_field")) and field != "text":
        into["datasets"][0] |= {"format": "text", "columns": {"text": str(field)}}
    measured = str(draft.values.get("eval_strategy") or draft.values.get("evaluation_strategy") or "no")
    if measured not in ("no", "False"):
        held = {"path": str(value), "split": str(draft.values.get("dataset_test_split") or "test")}
        into["eval_datasets"] = [held]
    return Fate(into)


def _datasets(value: Any, draft: Draft) -> Fate:
    entries = []
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, Mapping) or not (one.get("path") or one.get("data_files")):
            return refused("a dataset needs its path")
        files = one.get("data_files")
        built_in = str(one.get("path")) in ("json", "csv", "parquet", "text", "arrow")
        if built_in and not isinstance(files, str):
            return refused("several data_files in one entry are not offered; write an entry for each")
        entry: dict[str, Any] = {"path": files if built_in else str(one["path"])}
        if one.get("name"):
            entry["subset"] = str(one["name"])
        if one.get("split") and not built_in:
            entry["split"] = str(one["split"])
        if one.get("fraction"):
            entry["weight"] = float(one["fraction"])
        entries.append(entry)
    return Fate({"datasets": entries})


def _assistant_only(value: Any, draft: Draft) -> Fate:
    if _is_true(value):
        return Fate({"train_roles": ["assistant"]})
    return Fate({"train_roles": _ALL}, "every turn of a conversation is learned")


def _completion_only(value: Any, draft: Draft) -> Fate:
    if _is_true(value):
        return Fate(why="of a prompt and its completion the completion alone is learned here too")
    return refused("of a prompt and its completion the completion alone is learned; text is learned whole")


def _model_arguments(value: Any, draft: Draft) -> Fate:
    if not isinstance(value, Mapping):
        return refused("it is no map")
    known = {"dtype": "dtype", "torch_dtype": "dtype", "attn_implementation": "attn_implementation",
             "revision": "model_revision", "trust_remote_code": "trust_remote_code"}  # fmt: skip
    rest = [key for key in value if key not in known]
    why = f"{', '.join(rest)} is left out: a recipe has no such setting" if rest else ""
    return Fate({known[key]: one for key, one in value.items() if key in known}, why)


def _reward_functions(value: Any, draft: Draft) -> Fate:
    """TRL's own functions, and those of the user by a dotted name."""
    found = []
    for name in value if isinstance(value, list) else [value]:
        module, dot, function = str(name).rpartition(".")
        if name == "think_format_reward":
            found.append("regex:(?s)^<think>(?!.*<think>)(.*?)</think>.*$")
        elif name == "accuracy_reward":
            found.append("exact:solution")
        elif dot:
            found.append(f"{module.replace('.', '/')}.py:{function}")
        else:
            return refused(f"the reward function {name} is not offered; write one in Python, FILE.py:FUNCTION")
    why = "the answer is compared as text, not as mathematics" if "exact:solution" in found else ""
    return Fate({"reward_funcs": found}, why)


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "1")


def _beside(value: Any, draft: Draft) -> Fate:
    return Fate(why="read together with `dataset_name`")


_VLLM = drop("answers are sampled by the trainer itself")

RULES: dict[str, Rule] = {
    "use_peft": _peft,
    "load_in_4bit": _bits,
    "load_in_8bit": _bits,
    "peft_lora_r": keep("lora_r"),
    "peft_lora_alpha": keep("lora_alpha"),
    "lora_rank": keep("lora_r"),
    "lora_task_type": drop("it follows from the stage"),
    "dataset_name": _dataset,
    "dataset_config": _beside,
    "dataset_train_split": _beside,
    "dataset_test_split": _beside,
    "dataset_text_field": _beside,
    "dataset_streaming": drop("rows are read where they lie, whatever the size"),
    "streaming": drop("rows are read where they lie, whatever the size"),
    "datasets": _datasets,
    "test_split_size": validation_share,
    "shuffle_dataset": drop("the order is drawn by the seed"),
    "dataset_kwargs": drop("how rows are prepared is told from their format"),
    "chat_template_path": keep("chat_template"),
    "max_prompt_length": refuse("prompt and answer together are cut at max_length"),
    "truncation_mode": lambda value, draft: (
        Fate(why="examples are cut at their end here too") if value == "keep_start"
        else refused("examples are cut at their end")
    ),
    "assistant_only_loss": _assistant_only,
    "completion_only_loss": _completion_only,
    "train_on_prompt": _completion_only,
    "eval_packing": drop("evaluation is never packed"),
    "model_init_kwargs": _model_arguments,
    "reward_funcs": _reward_functions,
    "batch_size": keep("per_device_train_batch_size"),
    "max_new_tokens": keep("max_completion_length"),
    "response_length": keep("max_completion_length"),
    "learning_rate": keep("learning_rate"),
    "init_kl_coef": keep("beta"),
    "kl_coef": keep("beta"),
    "adap_kl_ctrl": drop("adaptive wherever kl_target is stated"),
    "target": keep("kl_target"),
    "horizon": keep("kl_horizon"),
    "response_template": keep("response_marker"),
    "num_sample_generations": drop("sample_prompts says what is answered at each evaluation"),
    "ppo_epochs": keep("num_ppo_epochs"),
    "rloo_k": keep("num_generations"),
    "sft_model_path": lambda value, draft: (
        Fate(why="the model is the reference here too") if value == draft.values.get("model_name_or_path")
        else Fate({"ref_model_name_or_path": value})
    ),
    "reward_model_path": keep("reward_model_name_or_path"),
    "reward_model_name": keep("reward_model_name_or_path"),
    "rm_adapter": keep("reward_model_name_or_path"),
    "ref_model": keep("ref_model_name_or_path"),
    "reference_free": refuse("a reference is always used; stage orpo needs none"),
    "rpo_alpha": lambda value, draft: Fate(
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, float(value)]}, "two losses, weighed"
    ),
    "env": drop("environment variables are set where tuiwb is started"),
    "disable_dropout": drop("a reference never has dropout"),
    "dataset_num_proc": drop("one process prepares the data, which the others read"),
    "pad_token": drop("padding never carries loss, whatever its token"),
    "padding_value": drop("padding never carries loss, whatever its token"),
    "ignore_bias_buffers": drop("it was for one model of 2022"),
    "sanity_check": drop("it was for trying the script out; max_examples does that"),
    "log_completions": drop("the samples of each evaluation are kept in the run"),
    "use_vllm": _VLLM,
    "vllm_mode": _VLLM,
    "vllm_gpu_memory_utilization": _VLLM,
    "vllm_server_host": _VLLM,
    "vllm_server_port": _VLLM,
    "vllm_tensor_parallel_size": _VLLM,
    "trust_remote_code": keep("trust_remote_code"),
}  # fmt: skip
