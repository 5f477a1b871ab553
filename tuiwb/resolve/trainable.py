"""What can be trained today. A recipe may state more than that, because more can be planned."""

from tuiwb.recipe import Recipe

STAGES = ("sft", "pretrain")
METHODS = ("full", "freeze", "lora", "qlora", "dora", "ia3", "prefix", "prompt")
_ONE = ("nodes", "processes", "tensor_parallel", "pipeline_parallel", "context_parallel", "expert_parallel")


def refusals(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Why a resolved recipe cannot be trained yet: (key, sentence, what to do)."""
    found = []
    if recipe.stages:
        found.append(("stages", "several stages in one run cannot be trained yet", "launch them one after the other"))
    if recipe.stage not in STAGES:
        found.append(("stage", f"stage {recipe.stage} can be planned but not trained yet", f"stage: {STAGES[0]}"))
    if recipe.method not in METHODS:
        fix = f"method: one of {', '.join(METHODS)}"
        found.append(("method", f"method {recipe.method} can be planned but not trained yet", fix))
    for key in ("packing", "padding_free"):
        if getattr(recipe, key):
            fix = f"{key}: false, train_sampling_strategy: group_by_length"
            found.append((key, f"{key} can be planned but not trained yet", fix))
    launch = recipe.launch
    if launch is None:
        return found
    for key in _ONE:
        if (getattr(launch, key) or 1) > 1:
            found.append(
                (f"launch.{key}", "training on several GPUs can be planned but not done yet", f"launch.{key}: 1")
            )
    if launch.sharding not in (None, "none"):
        found.append(
            ("launch.sharding", f"sharding {launch.sharding} can be planned but not trained yet", "sharding: none")
        )
    if launch.offload not in (None, "none"):
        found.append(("launch.offload", f"offload {launch.offload} cannot be trained yet", "offload: none"))
    return found
