"""What a form, a help page and an error message need to know of each key, derived from the model itself."""

import functools
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from tuiwb.base.fielddocs import field_docs as docstrings
from tuiwb.recipe.model import DatasetEntry, Launch, Recipe

Kind = Literal["text", "integer", "number", "switch", "choice", "list", "map", "entries"]

# A group goes from the field that it names to the next group.
GROUPS = (
    ("About", "name"),
    ("Task", "stage"),
    ("Model", "model_name_or_path"),
    ("Data", "datasets"),
    ("Batch", "per_device_train_batch_size"),
    ("Schedule", "learning_rate"),
    ("Optimizer", "optim"),
    ("Adapter", "lora_r"),
    ("Precision and memory", "dtype"),
    ("Preference and reward", "beta"),
    ("Proximal policy optimization", "num_ppo_epochs"),
    ("Measuring and saving", "logging_steps"),
    ("Devices", "launch"),
)
UNITS = {
    "max_length": "tokens",
    "max_completion_length": "tokens",
    "per_device_train_batch_size": "examples",
    "per_device_eval_batch_size": "examples",
    "gradient_accumulation_steps": "batches",
    "warmup_steps": "steps",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "logging_steps": "steps",
    "eval_steps": "steps",
    "save_steps": "steps",
    "freeze_layers": "layers",
    "num_virtual_tokens": "tokens",
    "num_ppo_epochs": "epochs",
    "num_mini_batches": "batches",
    "local_rollout_forward_batch_size": "answers",
    "kl_horizon": "answers",
    "early_stopping_patience": "evaluations",
    "save_total_limit": "checkpoints",
    "dataloader_num_workers": "processes",
}
_NESTED: dict[str, type] = {"datasets": DatasetEntry, "eval_datasets": DatasetEntry, "launch": Launch}


class Field(Struct, frozen=True):
    """One key of a recipe.

    `accepts` says in words which values are valid; `choices` are the valid words where only some are.
    """

    key: str
    group: str
    help: str
    unit: str
    kind: Kind
    choices: tuple[str, ...]
    accepts: str


@functools.cache
def fields() -> tuple[Field, ...]:
    """Every key of the recipe, in the order of the file, and those of `launch` with their dotted names."""
    starts = {first: group for group, first in GROUPS}
    group = ""
    found = []
    for top, hint in _hints(Recipe).items():
        group = starts.get(top, group)
        below = {f"{top}.{name}": inner for name, inner in _hints(Launch).items()} if top == "launch" else {top: hint}
        for key, one in below.items():
            options = _options(one)
            found.append(
                Field(
                    key=key,
                    group=group,
                    help=field_docs()[key],
                    unit=UNITS.get(key, ""),
                    kind=_kind(options),
                    choices=choices_of(options),
                    accepts=describe(options),
                )
            )
    return tuple(found)


@functools.cache
def field_docs() -> dict[str, str]:
    """The help of each key; keys of a nested map are `datasets.path`, `eval_datasets.path`, `launch.gpus`."""
    docs = docstrings(Recipe)
    for key, struct in _NESTED.items():
        docs |= {f"{key}.{name}": text for name, text in docstrings(struct).items()}
    return docs


def types_at(path: Sequence[str | int]) -> tuple[Any, ...]:
    """What may stand at a path of a recipe, such as `("datasets", 0, "weight")`; empty where there is no such key."""
    options: tuple[Any, ...] = (Recipe,)
    for step in path:
        below: list[Any] = []
        for one in options:
            if _is_struct(one) and isinstance(step, str):
                below += [hint for name, hint in _hints(one).items() if name == step]
            elif get_origin(one) is tuple and isinstance(step, int):
                below.append(get_args(one)[0])
            elif get_origin(one) is dict:
                below.append(get_args(one)[1])
        options = tuple(option for hint in below for option in _options(hint))
    return options


def struct_in(options: Sequence[Any]) -> type[msgspec.Struct] | None:
    """The kind of map that may stand here."""
    return next((one for one in options if _is_struct(one)), None)


def choices_of(options: Sequence[Any]) -> tuple[str, ...]:
    """The valid words among `options`, in the order in which the model writes them."""
    return tuple(str(word) for one in options if get_origin(one) is Literal for word in get_args(one))


def describe(options: Sequence[Any]) -> str:
    """What is valid, in words: `a whole number of at least 1`, `one of sft, dpo`."""
    return " or ".join(_describe(one) for one in options)


def _describe(one: Any) -> str:
    if get_origin(one) is Annotated:
        plain, meta = get_args(one)
        return _NAMES[plain] + _bounds(meta)
    if get_origin(one) is Literal:
        words = get_args(one)
        return ("one of " if len(words) > 1 else "") + ", ".join(words)
    if get_origin(one) is tuple:
        item = _options(get_args(one)[0])
        struct = struct_in(item)
        return (
            f"a list of maps, each with the keys of {_STRUCTS[struct]}" if struct else f"a list, each {describe(item)}"
        )
    if get_origin(one) is dict:
        inner = get_args(one)[1]
        return "a map" if inner is Any else f"a map of names to {describe(_options(inner))}"
    return f"a map with the keys of {_STRUCTS[one]}" if _is_struct(one) else _NAMES.get(one, "any value")


_NAMES: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_STRUCTS: dict[Any, str] = {DatasetEntry: "a dataset", Launch: "launch", Recipe: "a recipe"}
_KINDS: dict[Any, Kind] = {bool: "switch", int: "integer", float: "number", str: "text"}


def _kind(options: Sequence[Any]) -> Kind:
    for one in options:
        if get_origin(one) is tuple:
            return "entries" if struct_in(_options(get_args(one)[0])) else "list"
    first = options[0]
    if get_origin(first) is Literal:
        return "choice"
    if get_origin(first) is dict:
        return "map"
    return _KINDS[get_args(first)[0] if get_origin(first) is Annotated else first]


def _bounds(meta: msgspec.Meta) -> str:
    bounds = [("above", meta.gt), ("of at least", meta.ge), ("below", meta.lt), ("of at most", meta.le)]
    words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
    return " " + " and ".join(words) if words else ""


def _options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without None."""
    union = get_origin(hint) in (Union, types.UnionType)
    return tuple(one for one in (get_args(hint) if union else (hint,)) if one is not types.NoneType)


def _is_struct(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, msgspec.Struct)


@functools.cache
def _hints(struct: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: hints[name] for name in struct.__struct_fields__}
