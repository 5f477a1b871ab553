"""How many rows an optimizer step takes."""

from tuiwb.recipe import Recipe


def rows_of_step(recipe: Recipe) -> float:
    """Rows that all devices together take in for a step, of ppo for an update. Of grpo and rloo a batch is of answers,
    several of them to a row's prompt."""
    processes = (recipe.launch.processes if recipe.launch else None) or 1
    rows = (recipe.per_device_train_batch_size or 1) * (recipe.gradient_accumulation_steps or 1) * processes
    if recipe.stage in ("grpo", "rloo"):
        return rows / (recipe.num_generations or 1)
    return rows * ((recipe.num_mini_batches or 1) if recipe.stage == "ppo" else 1)
