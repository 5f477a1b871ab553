"""How other tools say what a dataset is: LLaMA-Factory's `dataset_info.json` and Axolotl's `type:`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault
from tuiwb.data.formats import FORMATS, FormatName
from tuiwb.data.problems import nearest

INFO = "dataset_info.json"

Columns = dict[str, str]

# Axolotl's types: our format, and the columns that the type fixes.
_AXOLOTL: dict[str, tuple[FormatName, Columns]] = {
    "alpaca": ("alpaca", {}),
    "alpaca:chat": ("alpaca", {}),
    "alpaca_chat.load_qa": ("qa", {"question": "question", "answer": "answer"}),
    "alpaca_chat.load_concise": ("alpaca", {}),
    "alpaca_chat.load_camel_ai": ("qa", {"question": "message_1", "answer": "message_2"}),
    "alpaca_w_system.load_open_orca": ("qa", {"question": "question", "answer": "response", "system": "system_prompt"}),
    "gpteacher": ("alpaca", {"output": "response"}),
    "gpteacher:chat": ("alpaca", {"output": "response"}),
    "oasst": ("qa", {"question": "INSTRUCTION", "answer": "RESPONSE"}),
    "sharegpt": ("sharegpt", {}),
    "sharegpt:chat": ("sharegpt", {}),
    "sharegpt.load_role": ("messages", {}),
    "chat_template": ("messages", {}),
    "chat_template.default": ("messages", {}),
    "chatml": ("messages", {}),
    "completion": ("text", {}),
    "input_output": ("text", {"text": "segments"}),
    "pretrain": ("text", {}),
    "summarizetldr": ("qa", {"question": "article", "answer": "summary"}),
    "chat_template.argilla": ("preference", {}),
    "chatml.argilla": ("preference", {"prompt": "instruction", "chosen": "chosen_response"}),
    "chatml.intel": ("preference", {"prompt": "question", "system": "system"}),
    "chatml.ultra": ("preference", {}),
    "llama3.ultra": ("preference", {}),
    "bradley_terry.chat_template": ("preference", {}),
    "stepwise_supervised": ("stepwise", {}),
}  # fmt: skip
_REFUSED = {
    "user_defined": "a user defined type has columns of its own: name the format and its columns",
    "context_qa": "context_qa changes the text: name the format qa and the column context",
}


def of_axolotl(name: str) -> tuple[str, Columns]:
    """A format as it was named, by our name or by a type of Axolotl, and the columns that come with it.

    Raises:
        InputFault: it is known and has no counterpart here. An unknown name comes back as it is.
    """
    if name in FORMATS or name == "auto":
        return name, {}
    if name in _AXOLOTL:
        found, columns = _AXOLOTL[name]
        return found, dict(columns)
    head = name.split(".", maxsplit=1)[0]
    if head in _REFUSED:
        raise InputFault(_REFUSED[head], key="format")
    return name, {}


def named(text: str) -> tuple[str, FormatName, Columns] | None:
    """`FOLDER/dataset_info.json:NAME` as a path or an id of the hub, the format and the columns; None for other texts.

    Raises:
        InputFault: there is no such name, or what it names cannot be read here.
    """
    before, found, name = text.rpartition(f"{INFO}:")
    if not found:
        if Path(text).name == INFO and Path(text).is_file() and not Path(text).with_name("state.json").exists():
            names = ", ".join(datasets_of(Path(text)))
            raise InputFault(f"names several datasets, open one as {INFO}:NAME: {names}", file=text)
        return None
    info = Path(before + INFO).expanduser()
    known = datasets_of(info)
    if name not in known:
        raise InputFault(f"there is no dataset {name!r}{nearest(name, known)}", file=info)
    entry = known[name]
    where = str(info.with_name(str(entry["file_name"]))) if "file_name" in entry else str(entry.get("hf_hub_url", ""))
    if not where:
        raise InputFault(f"{name} comes neither from a file nor from the hub", file=info)
    return where, *of_llama_factory(entry, place=f"{INFO}: {name}")


def beside(path: Path) -> tuple[str, FormatName, Columns] | None:
    """What a `dataset_info.json` in the file's folder says of it: name of the dataset, format, columns.

    Raises:
        InputFault: it says something that cannot be read here.
    """
    info = path.with_name(INFO)
    try:
        said = json.loads(info.read_bytes())
    except (OSError, ValueError):
        return None
    for name, entry in said.items() if isinstance(said, dict) else ():
        if isinstance(entry, dict) and entry.get("file_name") == path.name:
            found, columns = of_llama_factory(entry, place=f"{INFO}: {name}")
            return str(name), found, columns
    return None


def datasets_of(info: Path) -> dict[str, dict[str, Any]]:
    """The datasets that a `dataset_info.json` names.

    Raises:
        InputFault: this is no such file.
    """
    try:
        said = json.loads(info.read_bytes())
    except (OSError, ValueError) as error:
        raise InputFault("this is no dataset_info.json that can be read", file=info) from error
    found = {str(name): one for name, one in said.items() if isinstance(one, dict)} if isinstance(said, dict) else {}
    keys = ("file_name", "hf_hub_url", "ms_hub_url", "script_url")
    if not found or not all(any(key in one for key in keys) for one in found.values()):
        raise InputFault("this names no datasets as LLaMA-Factory's dataset_info.json does", file=info)
    return found


def of_llama_factory(entry: Mapping[str, Any], *, place: str = INFO) -> tuple[FormatName, Columns]:
    """An entry of `dataset_info.json` as our format and columns.

    Raises:
        InputFault: it uses tags that have no counterpart here.
    """
    formatting = entry.get("formatting", "alpaca")
    given = entry.get("columns") or {}
    tags = entry.get("tags") or {}
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise InputFault(
            f"{place}: formatting {formatting!r} is unknown{nearest(str(formatting), ('alpaca', 'sharegpt', 'openai'))}"
        )
    keys = {"role_tag": ("from", "role"), "content_tag": ("value", "content")}
    for tag, known in keys.items():
        if tag in tags and tags[tag] not in known:
            raise InputFault(f"{place}: turns with {tag} {tags[tag]!r} cannot be read; rename it to {known[0]}")
    ranking, kto = bool(entry.get("ranking")), given.get("kto_tag")
    turns = formatting != "alpaca"
    names = {
        "system": "system",
        "tools": "tools",
        "chosen": "chosen" if ranking else "",
        "rejected": "rejected" if ranking else "",
        "kto_tag": "label",
    }
    if turns:
        names["messages"] = "prompt" if ranking else "messages"
    elif ranking or kto:
        names |= {"prompt": "prompt", "query": "input", "response": "completion" if kto else ""}
    else:
        names |= {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}
    columns = {names[part]: str(column) for part, column in given.items() if names.get(part) and column}
    if ranking:
        return "preference", columns
    if kto:
        return "kto", columns
    if not turns:
        return ("prompt_completion", {}) if "response" in given and not given.get("response") else ("alpaca", columns)
    is_role = tags.get("role_tag") == "role" or formatting == "openai"
    return ("messages" if is_role else "sharegpt"), columns
