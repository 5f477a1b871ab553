"""What to run: the typed recipe, its file, the presets.

`load` opens a file or a preset, `with_settings` replaces keys, `dumps` writes YAML; `fields` describes every key for
forms and help. Beyond the structs each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tuiwb.recipe.model import DatasetEntry, Launch, Recipe

if TYPE_CHECKING:
    from tuiwb.recipe.files import (
        Difference,
        Preset,
        differences,
        dumps,
        load,
        loads,
        locate,
        preset,
        presets,
        to_plain,
        with_settings,
    )
    from tuiwb.recipe.jsonschema import schema
    from tuiwb.recipe.keys import Field, field_docs, fields

_PLACES = {
    "Difference": "files",
    "Field": "keys",
    "Preset": "files",
    "differences": "files",
    "dumps": "files",
    "field_docs": "keys",
    "fields": "keys",
    "load": "files",
    "loads": "files",
    "locate": "files",
    "preset": "files",
    "presets": "files",
    "schema": "jsonschema",
    "to_plain": "files",
    "with_settings": "files",
}

__all__ = [
    "DatasetEntry",
    "Difference",
    "Field",
    "Launch",
    "Preset",
    "Recipe",
    "differences",
    "dumps",
    "field_docs",
    "fields",
    "load",
    "loads",
    "locate",
    "preset",
    "presets",
    "schema",
    "to_plain",
    "with_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
