"""Relative paths of a recipe, read from the folder of its file and not from where the command happens to run."""

import os
from pathlib import Path
from typing import Any

import msgspec

from tuiwb.recipe.model import DatasetEntry, Recipe

_MODEL_KEYS = (
    "model_name_or_path", "adapter_name_or_path", "ref_model_name_or_path", "reward_model_name_or_path",
    "chat_template",
)  # fmt: skip
_FILE_SUFFIXES = frozenset(
    {
        ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".text", ".md", ".yaml", ".gz",
        ".zst", ".bz2", ".xz", ".gguf", ".jinja", ".jinja2", ".j2",
    }
)  # fmt: skip


def anchor(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its relative paths made absolute from `folder`.

    A value is a path when it starts with `./`, `../` or `~`, ends as files of data do, or exists in `folder`; anything
    else may be the name of a model, a template or a dataset on the hub and stays as it is.
    """
    changes: dict[str, object] = {}
    for key in _MODEL_KEYS:
        value = getattr(recipe, key)
        if value is not None:
            changes[key] = _absolute(value, folder)
    if recipe.reward_funcs is not None:
        changes["reward_funcs"] = tuple(_absolute_reward(text, folder) for text in recipe.reward_funcs)
    for key in ("datasets", "eval_datasets"):
        entries = getattr(recipe, key)
        if entries is not None:
            changes[key] = tuple(_anchor_entry(entry, folder) for entry in entries)
    if recipe.stages is not None:
        changes["stages"] = tuple(anchor(stage, folder) for stage in recipe.stages)
    return msgspec.structs.replace(recipe, **changes)


def _anchor_entry(entry: DatasetEntry, folder: Path) -> DatasetEntry:
    journal = None if entry.journal is None else os.path.abspath(folder / Path(entry.journal).expanduser())  # noqa: PTH100
    steps = None if entry.steps is None else tuple(_anchor_step(step, folder) for step in entry.steps)
    return msgspec.structs.replace(entry, path=_absolute(entry.path, folder), journal=journal, steps=steps)


def _anchor_step(step: str | dict[str, Any], folder: Path) -> str | dict[str, Any]:
    """A cleaning step whose own file, or the files that its settings name, are absolute."""
    if isinstance(step, str):
        return _absolute(step, folder)
    return {name: _anchor_settings(settings, folder) for name, settings in step.items()}


def _anchor_settings(settings: Any, folder: Path) -> Any:
    if not isinstance(settings, dict):
        return settings
    found = dict(settings)
    if isinstance(found.get("file"), str):
        found["file"] = _absolute(found["file"], folder)
    if isinstance(found.get("against"), list):
        found["against"] = [_absolute(str(file), folder) for file in found["against"]]
    return found


def _absolute_reward(text: str, folder: Path) -> str:
    """`rewards.py:function` with the file's whole path; other rewards name no file."""
    file, _, function = text.rpartition(":")
    if not file.endswith(".py") or text.startswith(("regex:", "exact:")):
        return text
    return f"{os.path.abspath(folder / Path(file).expanduser())}:{function}"  # noqa: PTH100


def _absolute(value: str, folder: Path) -> str:
    path = Path(value)
    try:
        if value.startswith("~"):
            return str(path.expanduser())
        is_path = (
            value.startswith(("./", "../"))
            or value in (".", "..")
            or path.suffix.lower() in _FILE_SUFFIXES
            or (folder / path).exists()
        )
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such user: not a path of this machine
        return value
    # abspath, unlike resolve, keeps the links that the user chose to name.
    return os.path.abspath(folder / path) if is_path and not path.is_absolute() else value  # noqa: PTH100
