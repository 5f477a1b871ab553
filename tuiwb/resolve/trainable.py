"""What can be trained today. A recipe may state more than that, because more can be planned."""

from tuiwb.recipe import Recipe
from tuiwb.recipe.pairs import UNFIT
from tuiwb.resolve.splitting import unfit_splitting

STAGES = ("sft", "pretrain", "reward", "dpo", "orpo", "kto", "ppo", "grpo", "rloo")
METHODS = ("full", "freeze", "lora", "qlora", "dora", "ia3", "prefix", "prompt")
LOSSES = {
    "sft": ("nll",),
    "pretrain": ("nll",),
    "dpo": (
        "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
        "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
    ),
    "kto": ("kto", "apo_zero_unpaired"),
    "grpo": ("dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
}  # fmt: skip
"""The losses of each stage, in TRL's names, the usual one first; the other stages have one loss alone."""
SEVERAL_LOSSES = ("dpo",)
_ONE = ("nodes", "tensor_parallel", "pipeline_parallel", "context_parallel", "expert_parallel")


def refusals(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Why a resolved recipe cannot be trained yet: (key, sentence, what to do)."""
    found = []
    if recipe.stages:
        return [fault for part in recipe.stages for fault in refusals(part)]
    if recipe.stage not in STAGES:
        found.append(("stage", f"stage {recipe.stage} can be planned but not trained yet", f"stage: {STAGES[0]}"))
    if recipe.method not in METHODS:
        fix = f"method: one of {', '.join(METHODS)}"
        found.append(("method", f"method {recipe.method} can be planned but not trained yet", fix))
    if why := UNFIT.get((recipe.stage or "sft", recipe.method or "lora")):
        found.append(("method", f"stage {recipe.stage} does not go with method {recipe.method}: {why}", "method: lora"))
    found += _losses(recipe)
    found += [(key, why, f"{key}: false") for key in ("packing", "padding_free") if (why := _joined(recipe, key))]
    launch = recipe.launch
    if launch is None:
        return found
    for key in _ONE:
        if (getattr(launch, key) or 1) > 1:
            found.append(
                (f"launch.{key}", "training on several GPUs can be planned but not done yet", f"launch.{key}: 1")
            )
    return [*found, *unfit_splitting(recipe)]


def _joined(recipe: Recipe, key: str) -> str:
    """Why examples cannot stand in one row without padding; empty where they can, or are not to."""
    if not getattr(recipe, key):
        return ""
    kernel = recipe.attn_implementation or "sdpa"
    if recipe.stage not in (None, "sft", "pretrain"):
        return f"stage {recipe.stage} compares or samples answers one by one"
    if recipe.method in ("prefix", "prompt"):
        return f"method {recipe.method} puts what it learned before a row, not before each example in it"
    if key == "packing" and recipe.packing_strategy not in (None, "bfd"):
        return f"packing_strategy {recipe.packing_strategy} cuts examples apart; bfd does not"
    if not ("flash" in kernel or kernel in ("sdpa", "eager", "flex_attention")):
        return f"{kernel} is not known to keep the examples of a row apart"
    return ""


def _losses(recipe: Recipe) -> list[tuple[str, str, str]]:
    stage, given = recipe.stage or "sft", recipe.loss_type
    if given is None:
        return []
    names, known = (given,) if isinstance(given, str) else given, LOSSES.get(stage, ())
    if not known:
        return [("loss_type", f"stage {stage} has one loss alone", "leave loss_type out")]
    for name in names:
        if name not in known:
            return [("loss_type", f"stage {stage} has no loss {name}", f"one of {', '.join(known)}")]
    if len(names) != 1 and stage not in SEVERAL_LOSSES:
        return [("loss_type", f"stage {stage} has one loss at a time", f"loss_type: {names[0] if names else known[0]}")]
    if recipe.loss_weights is not None and len(recipe.loss_weights) != len(names):
        message = f"{len(recipe.loss_weights)} weights do not fit {len(names)} losses"
        return [("loss_weights", message, "one for each of loss_type")]
    if "exo_pair" in names and not recipe.label_smoothing:
        return [("label_smoothing", "loss exo_pair needs one above 0", "label_smoothing: 1e-3")]
    return []
