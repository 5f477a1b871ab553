"""Checks of the recipe against itself: what has no effect, and what cannot work on any machine."""

from collections.abc import Iterator

from tuiwb.recipe import Recipe
from tuiwb.resolve.check import Check, error, note, warning
from tuiwb.resolve.ppo import PPO_KEYS
from tuiwb.resolve.trainable import refusals

_LORA: tuple[str, ...] = (
    "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters", "lora_modules_to_save",
)  # fmt: skip
_FOUR_BITS = ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage")
_SOFT = ("num_virtual_tokens", "prefix_projection", "prompt_tuning_init_text")
_REFERENCE = ("dpo", "kto", "ppo", "grpo", "rloo")
_SCORED = ("ppo", "grpo", "rloo")
_OF_STAGES: dict[str, tuple[str, ...]] = {
    "beta": (*_REFERENCE, "orpo"),
    "loss_weights": ("dpo",),
    "label_smoothing": ("dpo",),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
    "ref_model_name_or_path": _REFERENCE,
    "reward_model_name_or_path": _SCORED,
    "reward_funcs": _SCORED,
    "reward_weights": _SCORED,
    "temperature": _SCORED,
    "num_generations": ("grpo", "rloo"),
    **dict.fromkeys(PPO_KEYS, ("ppo",)),
}
"""Keys that only these stages read."""


def check_keys(recipe: Recipe, stated: Recipe) -> Iterator[Check]:
    """Errors of a complete recipe, and notes on stated keys that nothing reads."""
    for key, message, fix in refusals(recipe):
        yield error(key, message, fix)
    if recipe.eval_strategy != "no" and not (recipe.eval_datasets or recipe.eval_fraction):
        yield error("eval_strategy", "there is nothing to measure on", "eval_fraction: 0.05, or eval_strategy: no")
    if recipe.stage == "sft" and recipe.train_roles == ():
        yield error("train_roles", "nobody's turns are learned, so nothing is", "train_roles: [assistant]")
    if recipe.method in ("full", "freeze") and recipe.dtype in ("bfloat16", "float16", "auto"):
        message = "weights that are trained in 16 bits lose updates smaller than their last digit"
        yield warning("dtype", message, "dtype: float32; bf16: true computes in 16 bits all the same")
    if (recipe.packing or recipe.padding_free) and "flash" not in (recipe.attn_implementation or "sdpa"):
        message = "without a flash kernel, a row of several examples costs a mask of its length squared"
        yield warning("attn_implementation", message, "flash_attention_2, or packing: false and padding_free: false")
    yield from _without_effect(recipe, stated)


def _without_effect(recipe: Recipe, stated: Recipe) -> Iterator[Check]:
    idle: list[tuple[tuple[str, ...], str]] = []
    if recipe.method not in ("lora", "qlora", "dora"):
        # IA3 goes by the same names of layers.
        keys = (*_LORA[:3], "loraplus_lr_ratio") if recipe.method == "ia3" else (*_LORA, "loraplus_lr_ratio")
        idle.append((keys, f"method is {recipe.method}"))
    if not recipe.load_in_4bit:
        idle.append((_FOUR_BITS, "the base is not in 4 bits"))
    if recipe.method not in ("prefix", "prompt"):
        idle.append(
            (("num_virtual_tokens", "prefix_projection", "prompt_tuning_init_text"), f"method is {recipe.method}")
        )
    if recipe.method != "freeze":
        idle.append((("freeze_layers",), f"method is {recipe.method}"))
    others = tuple(key for key, stages in _OF_STAGES.items() if recipe.stage not in stages)
    idle.append((others, f"stage is {recipe.stage}"))
    if recipe.stage not in _SCORED and not recipe.sample_prompts:
        idle.append((("max_completion_length",), f"stage is {recipe.stage}, and there are no sample_prompts"))
    if recipe.stage == "pretrain":
        idle.append((("train_roles", "train_on_eos"), "stage is pretrain, which learns every token"))
    if recipe.eval_strategy != "steps":
        idle.append((("eval_steps",), f"eval_strategy is {recipe.eval_strategy}"))
    if recipe.save_strategy != "steps":
        idle.append((("save_steps",), f"save_strategy is {recipe.save_strategy}"))
    if not recipe.packing:
        idle.append((("packing_strategy",), "packing is false"))
    if (recipe.max_steps or -1) > 0:
        idle.append((("num_train_epochs",), f"max_steps is {recipe.max_steps}"))
    if recipe.stage == "ppo":
        if recipe.kl_target is None:
            idle.append((("kl_control", "kl_horizon"), "there is no kl_target"))
        elif recipe.kl_control == "limit":
            idle.append((("kl_horizon",), "kl_control is limit"))
        idle.append((("loraplus_lr_ratio",), "stage is ppo, which has rates of its own for policy and value"))
    if recipe.stage == "reward":
        idle.append((("sample_prompts",), "a reward model writes no answers"))
    if recipe.eval_strategy == "no":
        idle.append((("early_stopping_patience",), "nothing is measured"))
    for keys, why in idle:
        found = [key for key in keys if getattr(stated, key) is not None]
        if found:
            verb = "has" if len(found) == 1 else "have"
            yield note(found[0], f"{', '.join(found)} {verb} no effect: {why}")
