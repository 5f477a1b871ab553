"""The JSON schema of a recipe, for editors that complete and check YAML."""

from typing import Any

import msgspec

from tuiwb.recipe.keys import field_docs
from tuiwb.recipe.model import Recipe


def schema() -> dict[str, Any]:
    """JSON schema 2020-12 of the recipe file, with the help of each key as its description."""
    document = msgspec.json.schema(Recipe)
    docs = field_docs()
    prefixes = {"Recipe": "", "DatasetEntry": "datasets.", "Launch": "launch."}
    for name, prefix in prefixes.items():
        for key, described in document["$defs"][name]["properties"].items():
            described["description"] = docs[prefix + key]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tuiwb recipe", **document}
