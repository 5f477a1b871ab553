"""Keys of one recipe that cannot both hold, whatever the machine."""

from collections.abc import Iterator

from tuiwb.recipe.model import Recipe

LORA_METHODS = ("lora", "qlora", "dora")
_OWN_GROUPS = ("galore", "apollo", "lomo", "adalomo")


def contradictions(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Pairs of the key at fault and a sentence, the first fault first."""
    yield from _method(recipe)
    yield from _precision(recipe)
    yield from _measuring(recipe)


def _method(recipe: Recipe) -> Iterator[tuple[str, str]]:
    method = recipe.method
    if method == "qlora" and recipe.load_in_4bit is False:
        yield "load_in_4bit", "method qlora means a base in 4 bits; leave this out, or write method: lora"
    if method == "qlora" and recipe.load_in_8bit:
        yield "load_in_8bit", "method qlora means a base in 4 bits; for 8 bits write method: lora"
    if method == "dora" and recipe.use_dora is False:
        yield "use_dora", "method dora means true; leave this out, or write method: lora"
    if recipe.use_dora and method is not None and method not in LORA_METHODS:
        yield "use_dora", f"DoRA is a kind of LoRA and does not go with method {method}"
    if recipe.use_rslora and method is not None and method not in LORA_METHODS:
        yield "use_rslora", f"it scales LoRA and does not go with method {method}"
    if recipe.loraplus_lr_ratio is not None and recipe.optim and recipe.optim.startswith(_OWN_GROUPS):
        yield "loraplus_lr_ratio", f"{recipe.optim} groups the weights in its own way; leave one out"
    for key in ("load_in_4bit", "load_in_8bit"):
        if getattr(recipe, key) and method in ("full", "freeze"):
            yield key, f"quantized weights cannot be trained by method {method}; write method: qlora or lora"
    if method == "prefix" and recipe.gradient_checkpointing:
        yield "gradient_checkpointing", "a learned prefix does not go with it; leave it out, or write method: lora"
    if recipe.load_in_4bit and recipe.load_in_8bit:
        yield "load_in_8bit", "the base is in 4 bits or in 8, not both; leave one out"


def _precision(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if recipe.bf16 and recipe.fp16:
        yield "fp16", "bf16 is stated as well; computing has one format, so leave one out"
    if recipe.fp16 and recipe.dtype == "float16" and recipe.method == "full":
        yield "dtype", "weights in float16 cannot be trained with loss scaling; write dtype: float32"


def _measuring(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for key in ("logging_steps", "eval_steps", "save_steps"):
        steps = getattr(recipe, key)
        if steps is not None and steps > 1 and steps != int(steps):
            yield key, f"{steps:g} is neither a whole number of steps nor, below 1, a share of all steps"
    if recipe.eval_fraction and recipe.eval_datasets:
        yield "eval_fraction", "eval_datasets is stated as well; measure on one or the other"
    if recipe.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy") and recipe.eval_strategy == "no":
        yield "lr_scheduler_type", f"{recipe.lr_scheduler_type} follows what is measured; write eval_strategy: steps"
    if recipe.early_stopping_patience and recipe.load_best_model_at_end is False:
        yield "early_stopping_patience", "it needs the best checkpoint; leave out load_best_model_at_end: false"
    if recipe.load_best_model_at_end:
        yield from _best(recipe)


def _best(recipe: Recipe) -> Iterator[tuple[str, str]]:
    measure, save = recipe.eval_strategy, recipe.save_strategy
    if measure == "no":
        yield "load_best_model_at_end", "nothing is measured with eval_strategy: no; write steps or epoch there"
    elif save == "no":
        yield "load_best_model_at_end", "nothing is saved with save_strategy: no; write the same as in eval_strategy"
    elif measure is not None and save not in (None, "best", measure):
        yield "save_strategy", f"load_best_model_at_end needs the value of eval_strategy, {measure}, or best"
    elif recipe.eval_steps and recipe.save_steps and save != "best":
        times = recipe.save_steps / recipe.eval_steps
        if abs(times - round(times)) > 1e-6 or (recipe.save_steps < 1) != (recipe.eval_steps < 1):
            yield (
                "save_steps",
                "load_best_model_at_end needs a multiple of eval_steps, so that what is saved was measured",
            )
