"""What to run: the typed recipe, its file, the presets.

`load` opens a file or a preset, `with_settings` replaces keys, `dumps` writes YAML; `fields` describes every key for
forms and help.
"""

from tuiwb.recipe.fields import Field, field_docs, fields
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
from tuiwb.recipe.model import DatasetEntry, Launch, Recipe

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
