"""Checks of what a stage builds on: the adapter it goes on from, the reference, the reward model, the rewards."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.recipe import Recipe
from tuiwb.recipe.reward_funcs import RewardFunc, parse_reward
from tuiwb.resolve.check import Check, error, warning

if TYPE_CHECKING:
    from tuiwb.models import ModelInfo, TensorInfo

_REFERENCE = ("dpo", "kto", "ppo", "grpo", "rloo")
_SAMPLED = ("ppo", "grpo", "rloo")
NOTHING_SCORES = "nothing scores the answers"
_HEAD = "score.weight"
_PREFIX = "base_model.model."


def check_stage(recipe: Recipe, model: "ModelInfo | None", task: Task) -> Iterator[Check]:
    """Whether the models and functions that the stage names are there, and fit the base model."""
    if model is not None and model.adapter is None:
        yield from _headless(recipe, model)
        yield from _adapter("adapter_name_or_path", recipe.adapter_name_or_path, model)
    if recipe.stage in _REFERENCE:
        yield from _reference(recipe, model)
    if recipe.reward_model_name_or_path:
        yield from _reward_model(recipe.reward_model_name_or_path)
    if recipe.stage in _SAMPLED:
        yield from _rewards(recipe, task)
    if recipe.stage in ("grpo", "rloo"):
        yield from _groups(recipe)
    if recipe.stage == "kto" and recipe.per_device_train_batch_size == 1 and recipe.loss_type in (None, "kto"):
        message = "one answer at a time says nothing about the distance to the reference, which kto needs"
        yield error("per_device_train_batch_size", message, "per_device_train_batch_size: 2 or more")


def misfit(adapter: "ModelInfo", base: "ModelInfo") -> str:
    """Why a LoRA adapter cannot be of this base model, by the names and shapes of their tensors; empty if it can."""
    if base.kind == "gguf" or not base.tensors:
        return ""
    shapes = {tensor.name.removesuffix(".weight"): tensor.shape for tensor in base.tensors}
    for tensor in adapter.tensors:
        found = _lora_side(tensor)
        if found is None:
            continue
        layer, side = found
        shape = shapes.get(layer)
        if shape is None:
            return f"it changes {layer}, which {base.name} does not have"
        wide = tensor.shape[0] if side else tensor.shape[1]
        if len(shape) == 2 and base.quantization is None and wide != shape[1 - side]:
            return (
                f"it was made for a {layer.rpartition('.')[2]} of {wide}, and that of {base.name} has {shape[1 - side]}"
            )
    return ""


def _lora_side(tensor: "TensorInfo") -> tuple[str, int] | None:
    """The layer that a LoRA matrix belongs to, and 0 for its inputs or 1 for its outputs."""
    for side, mark in enumerate((".lora_A.", ".lora_B.")):
        if mark in tensor.name:
            return tensor.name.partition(mark)[0].removeprefix(_PREFIX), side
    return None


def _headless(recipe: Recipe, model: "ModelInfo") -> Iterator[Check]:
    if recipe.stage != "reward" and model.architecture.endswith("ForSequenceClassification"):
        message = f"{model.name} is a reward model, which writes no text"
        yield error("model_name_or_path", message, "the model that it was made from")


def _adapter(key: str, name: str | None, model: "ModelInfo") -> Iterator[Check]:
    from tuiwb import models

    if not name:
        return
    if not (Path(name).expanduser() / "adapter_config.json").is_file():
        yield error(key, f"{name} is no folder of an adapter", "a folder with an adapter_config.json")
        return
    try:
        adapter = models.open_model(name)
    except TuiwbError as fault:
        yield error(key, fault.message)
        return
    if why := misfit(adapter, model):
        yield error(key, f"{Path(name).name} is an adapter for another base model: {why}", "the base it was made for")
        return
    base = adapter.adapter.base_model if adapter.adapter else None
    if base and Path(base).name not in (model.name, Path(model.ref).name, model.hub_id):
        message = f"{Path(name).name} was trained on {base}, and the base model here is {model.ref}"
        yield warning(key, message, "make sure that both have the same weights")


def _reference(recipe: Recipe, model: "ModelInfo | None") -> Iterator[Check]:
    from tuiwb import models

    key, named = "ref_model_name_or_path", recipe.ref_model_name_or_path
    if not named:
        return
    if (Path(named).expanduser() / "adapter_config.json").is_file():
        if model is not None and model.adapter is None:
            yield from _adapter(key, named, model)
    else:
        try:
            models.open_model(named)
        except TuiwbError as fault:
            yield error(key, fault.message)
            return
    start = recipe.adapter_name_or_path or recipe.model_name_or_path or ""
    if Path(named).expanduser().absolute() != Path(start).expanduser().absolute():
        message = f"the reference is not what training begins from ({start}), so the distance to it does not begin at 0"
        yield warning(key, message, "leave it out, unless that is what you mean")


def _reward_model(name: str) -> Iterator[Check]:
    from tuiwb import models

    key = "reward_model_name_or_path"
    try:
        info = models.open_model(name)
        if not any(tensor.name == _HEAD or tensor.name.endswith(f".{_HEAD}") for tensor in info.tensors):
            yield error(key, f"{info.name} has no reward head ({_HEAD})", "train one with stage: reward")
        elif info.adapter is not None:
            models.open_model(info.adapter.base_model or "", config_only=True)
    except TuiwbError as fault:
        yield error(key, fault.message)


def _rewards(recipe: Recipe, task: Task) -> Iterator[Check]:
    key = "reward_funcs"
    if not recipe.reward_funcs and not recipe.reward_model_name_or_path:
        yield error(key, NOTHING_SCORES, "reward_funcs: [exact:answer], or reward_model_name_or_path")
    count = len(recipe.reward_funcs or ()) + bool(recipe.reward_model_name_or_path)
    if recipe.reward_weights is not None and len(recipe.reward_weights) != count:
        yield error(
            "reward_weights", f"{len(recipe.reward_weights)} weights do not fit {count} rewards", "one for each"
        )
    for text in recipe.reward_funcs or ():
        try:
            one = parse_reward(text)
        except TuiwbError as fault:
            yield error(key, fault.message)
            continue
        if one.kind == "python":
            yield from _function(one)
        elif one.kind == "exact":
            yield from _column(recipe, one, task)
        elif one.kind == "judge":
            yield from _endpoint(one)


def _function(one: RewardFunc) -> Iterator[Check]:
    """Whether the file has the function; it is read, not run."""
    try:
        tree = ast.parse(Path(one.argument).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        yield error("reward_funcs", f"{one.argument} cannot be read", "the path of a Python file")
        return
    except SyntaxError as fault:
        yield error("reward_funcs", f"{one.argument}, line {fault.lineno}: {fault.msg}")
        return
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if one.function not in functions and not _brings_more(tree):
        has = f"; it has {', '.join(functions)}" if functions else ""
        yield error("reward_funcs", f"{Path(one.argument).name} has no function {one.function}{has}")


def _endpoint(one: RewardFunc) -> Iterator[Check]:
    from tuiwb import endpoints

    try:
        endpoints.find(one.argument)
    except TuiwbError as fault:
        yield error("reward_funcs", fault.message)


def _brings_more(tree: ast.Module) -> bool:
    """Whether names come from elsewhere too, so that the file's text does not tell all of them."""
    return any(isinstance(node, ast.ImportFrom | ast.Assign) for node in tree.body)


def _column(recipe: Recipe, one: RewardFunc, task: Task) -> Iterator[Check]:
    from tuiwb import data

    for entry in recipe.datasets or ():
        try:
            view = data.open(entry, task=task)
            columns = view.columns
        except TuiwbError:
            return  # the checks of the data say it
        if one.argument and one.argument not in columns:
            there = f"; there are {', '.join(columns)}" if columns else ""
            yield error("reward_funcs", f"{Path(entry.path).name} has no column {one.argument}{there}")


def _groups(recipe: Recipe) -> Iterator[Check]:
    answers = recipe.num_generations or 1
    if answers < 2:
        yield error("num_generations", "one answer has no others to be better than", "num_generations: 2 or more")
    processes = (recipe.launch.processes if recipe.launch else None) or 1
    batch = (recipe.per_device_train_batch_size or 1) * processes
    step = batch * (recipe.gradient_accumulation_steps or 1)
    if step % answers:
        message = f"the {step} answers of a step cannot be divided into groups of {answers}"
        yield error(
            "num_generations", message, "a divisor of per_device_train_batch_size x gradient_accumulation_steps"
        )
    measured = (recipe.per_device_eval_batch_size or 1) * processes
    if recipe.eval_strategy not in (None, "no") and measured % answers:
        message = f"{measured} answers at a time cannot be divided into groups of {answers}"
        yield error("per_device_eval_batch_size", message, f"per_device_eval_batch_size: {answers}")
