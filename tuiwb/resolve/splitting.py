"""What goes with which way to split a model over processes, and what is chosen for one."""

from tuiwb.recipe import Recipe
from tuiwb.resolve.choices import Choices

ZERO = ("zero1", "zero2", "zero3")
_WEIGHTS = ("fsdp", "zero3")
_BNB_OPTIMIZERS = ("8bit", "32bit", "paged", "bnb", "ademamix", "lion")


def splits_weights(recipe: Recipe) -> bool:
    """Whether each process holds a piece of every weight alone."""
    return recipe.launch is not None and recipe.launch.sharding in _WEIGHTS


def fill_splitting(choices: Choices) -> None:
    """What a split model needs, where the recipe leaves it open. To be called when the precision is settled."""
    if not splits_weights(choices.now):
        return
    kind = choices.now.launch.sharding if choices.now.launch else ""
    if choices.now.load_in_4bit:
        stored = choices.now.dtype if choices.now.dtype not in (None, "auto") else "float32"
        reason = f"{kind} splits 4-bit weights only where they are stored in the type of the others"
        choices.fill("bnb_4bit_quant_storage", stored, reason)
    choices.fill("optim", "adamw_torch_fused", f"its states are split by {kind} already")


def unfit_splitting(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Why a resolved recipe cannot be split as it says: (key, sentence, what to do)."""
    launch = recipe.launch
    if launch is None:
        return []
    kind, offload = launch.sharding or "none", launch.offload or "none"
    if kind in ("fsdp", *ZERO) and (launch.processes or 1) == 1:
        message = f"sharding {kind} splits a model between processes, and there is one"
        return [("launch.sharding", message, "launch.processes: 2 or more, or sharding: none")]
    if kind in ZERO and recipe.stage == "ppo":
        message = "stage ppo makes its optimizer steps itself, and so does DeepSpeed's engine"
        return [("launch.sharding", message, "sharding: ddp")]
    return [*_offload(kind, offload), *(_weights(recipe, kind) if kind in _WEIGHTS else ())]


def _offload(kind: str, offload: str) -> list[tuple[str, str, str]]:
    if offload == "none":
        return []
    if kind not in ("fsdp", *ZERO):
        return [("launch.offload", f"sharding {kind} keeps everything on the device", "offload: none")]
    if offload == "optimizer" and kind == "fsdp":
        return [("launch.offload", "FSDP moves the parameters with their optimizer states or neither", "offload: all")]
    if offload == "all" and kind in ("zero1", "zero2"):
        return [("launch.offload", f"{kind} does not split the parameters", "offload: optimizer, or sharding: zero3")]
    return []


def _weights(recipe: Recipe, kind: str) -> list[tuple[str, str, str]]:
    found = []
    if recipe.stage in ("ppo", "grpo", "rloo"):
        message = f"stage {recipe.stage} samples answers, for which each process needs the whole model"
        found.append(("launch.sharding", message, "sharding: ddp"))
    if recipe.method in ("prefix", "prompt"):
        message = f"what method {recipe.method} trains is too small to be split"
        found.append(("launch.sharding", message, "sharding: ddp"))
    if recipe.load_in_8bit:
        found.append(("load_in_8bit", f"weights in 8 bits cannot be split by {kind}", "load_in_4bit: true, or dtype"))
    if recipe.load_in_4bit and recipe.bnb_4bit_quant_storage != recipe.dtype:
        message = f"4-bit weights stored as {recipe.bnb_4bit_quant_storage or 'uint8'} would be whole in each process"
        found.append(("bnb_4bit_quant_storage", message, f"bnb_4bit_quant_storage: {recipe.dtype}"))
    if kind == "fsdp" and any(name in (recipe.optim or "") for name in _BNB_OPTIMIZERS):
        message = f"{recipe.optim} cannot work on pieces of weights"
        found.append(("optim", message, "optim: adamw_torch_fused"))
    if recipe.load_best_model_at_end and recipe.save_only_model:
        message = "the best of split models cannot be loaded from weights alone"
        found.append(("save_only_model", message, "save_only_model: false"))
    return found
