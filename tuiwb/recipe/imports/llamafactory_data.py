"""LLaMA-Factory's datasets: names that are looked up in dataset_info.json."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.recipe.imports.account import Draft, Fate, refused

_INFO = "dataset_info.json"
_PARTS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
_USUAL = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
          "observation_tag": "observation", "function_tag": "function_call", "system_tag": "system"}  # fmt: skip
_OPENAI = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
           "observation_tag": "tool", "function_tag": "function", "system_tag": "system"}  # fmt: skip
_MEDIA = ("images", "videos", "audios")


def train_entries(value: Any, draft: Draft) -> Fate:
    """`dataset`: names, comma-separated."""
    return _entries("datasets", value, draft)


def eval_entries(value: Any, draft: Draft) -> Fate:
    """`eval_dataset`."""
    return _entries("eval_datasets", value, draft)


def beside(value: Any, draft: Draft) -> Fate:
    """What is read together with `dataset`."""
    if draft.values.get("dataset") or draft.values.get("eval_dataset"):
        return Fate(why="read together with `dataset`")
    return Fate(why="no dataset is named that it could be about", refused=True)


def mixing(value: Any, draft: Draft) -> Fate:
    """`mix_strategy`."""
    if value == "concat":
        return Fate(why="each row counts once here too, unless a dataset has a weight")
    if draft.values.get("interleave_probs"):
        return Fate(why="read together with `interleave_probs`, as weights")
    return refused("sources take turns only by weight; write a weight at each dataset")


def _entries(key: str, value: Any, draft: Draft) -> Fate:
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [str(name) for name in value]
    folder, info = _info(draft)
    if info is None and str(draft.values.get("dataset_dir", "data")) != "ONLINE":
        return refused(
            f"{_INFO} is not there, neither beside {draft.source} nor in {folder}; name its folder with "
            "--dataset-dir, or write `- path:` under datasets"
        )
    entries, notes = [], []
    for name in names:
        known = (info or {}).get(name)
        if info is not None and not isinstance(known, Mapping):
            return refused(f"{folder / _INFO} knows no dataset {name}")
        entry, problem = _entry(name, known or {"hf_hub_url": name}, folder, draft)
        if entry is None:
            return refused(f"{name}: {problem}")
        entries.append(entry)
        notes += [problem] if problem else []
    for entry, weight in zip(entries, _weights(draft, len(entries)), strict=False):
        entry["weight"] = weight
    where = f"looked up in {folder / _INFO}" if info is not None else "ids on the hub"
    return Fate({key: entries}, "; ".join([where, *notes]))


def _weights(draft: Draft, count: int) -> list[float]:
    given = draft.values.get("interleave_probs")
    if not given or draft.values.get("mix_strategy", "concat") == "concat":
        return []
    weights = [float(part) for part in given.split(",")] if isinstance(given, str) else [float(one) for one in given]
    return weights if len(weights) == count else []


def _info(draft: Draft) -> tuple[Path, Mapping[str, Any] | None]:
    """The folder of dataset_info.json and what it says. LLaMA-Factory looks from where it was started, which is seldom
    the folder of the YAML: each folder above that is tried too."""
    name = Path(str(draft.values.get("dataset_dir", "data"))).expanduser()
    above = list(Path(os.path.abspath(draft.source)).parents)  # noqa: PTH100
    tried = [Path.cwd() / name, *(folder / name for folder in above), *above[:1], Path.cwd()]
    for folder in tried:
        try:
            found = json.loads((folder / _INFO).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, Mapping):
            return folder, found
    return Path.cwd() / name, None


def _entry(name: str, known: Mapping[str, Any], folder: Path, draft: Draft) -> tuple[dict[str, Any] | None, str]:
    """An entry of a recipe, and a remark or, without an entry, why there is none."""
    entry: dict[str, Any] = {}
    if "file_name" in known:
        entry["path"] = str(folder / str(known["file_name"]))
    elif "hf_hub_url" in known:
        entry["path"] = str(known["hf_hub_url"])
    else:
        return None, "it is neither a file nor on the Hugging Face hub"
    for theirs, ours in (("subset", "subset"), ("split", "split"), ("revision", "revision")):
        if known.get(theirs):
            entry[ours] = str(known[theirs])
    if known.get("folder"):
        return None, "a folder inside a hub dataset cannot be named; give the file itself"
    limits = [int(one) for one in (known.get("num_samples"), draft.values.get("max_samples")) if one]
    if limits:
        entry["max_examples"] = min(limits)
    columns = {key: str(column) for key, column in (known.get("columns") or {}).items() if column}
    dropped = [columns.pop(part) for part in _MEDIA if part in columns]
    problem = _format(entry, known, columns, draft)
    if problem:
        return None, problem
    return entry, f"{name}: the columns {', '.join(dropped)} are left out" if dropped else ""


def _format(entry: dict[str, Any], known: Mapping[str, Any], columns: dict[str, str], draft: Draft) -> str:
    """Put format and columns into the entry; why that cannot be, or nothing."""
    turns = known.get("formatting", "alpaca") in ("sharegpt", "openai")
    role_names = ""
    if turns:
        tags = {key: str(tag) for key, tag in (known.get("tags") or {}).items()}
        default = _OPENAI if known.get("formatting") == "openai" else _USUAL
        role_names = _turn_format({**default, **tags})
        if not role_names:
            return "its turns have tags of their own; convert it first with `tuiwb data convert`"
    if known.get("ranking"):
        entry["format"] = "preference"
        ours = {"chosen": columns.get("chosen", "chosen"), "rejected": columns.get("rejected", "rejected")}
        ours["prompt"] = columns.get("messages", "conversations") if turns else columns.get("prompt", "instruction")
        if not turns and "query" in columns:
            ours["input"] = columns["query"]
    elif "kto_tag" in columns:
        entry["format"] = "kto"
        ours = {"label": columns["kto_tag"]}
        if turns:
            ours["messages"] = columns.get("messages", "conversations")
        else:
            ours |= {"prompt": columns.get("prompt", "instruction"), "completion": columns.get("response", "output")}
    elif draft.values.get("stage") == "pt" and not turns:
        entry["format"] = "text"
        ours = {} if entry["path"].endswith(".txt") else {"text": columns.get("prompt", "instruction")}
    elif turns:
        entry["format"] = role_names
        ours = {"messages": columns["messages"]} if "messages" in columns else {}
    else:
        entry["format"] = "alpaca"
        ours = {_PARTS[part]: column for part, column in columns.items() if part in _PARTS}
    for part in ("system", "tools"):
        if part in columns:
            ours[part] = columns[part]
    if ours:
        entry["columns"] = ours
    return ""


def _turn_format(tags: Mapping[str, str]) -> str:
    """Which of our two formats of turns has these tags; empty when neither."""
    keys = (tags["role_tag"], tags["content_tag"])
    people = {tags["user_tag"], tags["assistant_tag"], tags["system_tag"]}
    if not people <= {"human", "user", "gpt", "assistant", "system"}:
        return ""
    return {("from", "value"): "sharegpt", ("role", "content"): "messages"}.get(keys, "")
