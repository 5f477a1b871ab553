"""A recipe's text with what changed in it, and nothing else: comments, order and spelling of its author stay."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault
from tuiwb.recipe.files import dumps, loads, quoted, to_plain
from tuiwb.recipe.model import Recipe


def kept(text: str, recipe: Recipe, *, folder: Path | None = None) -> str:
    """`text`, changed so that it means `recipe`.

    Args:
        text: of a recipe, or anything: what cannot be kept is written anew.
        folder: what relative paths in the text start from, as in `loads`.
    """
    try:
        before = loads(text, folder=folder)
        if before == recipe:
            return text
        changed = _changed(text, to_plain(before), to_plain(recipe))
        if loads(changed, folder=folder) == recipe:
            return changed
    except (InputFault, ValueError, LookupError, AttributeError, TypeError):
        pass  # it is no recipe, or one of a shape that is not ours
    return dumps(recipe)


def _changed(text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(text)
    _update(tree, before, after)
    yaml.version = None
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue().removeprefix("%YAML 1.2\n---\n")


def _update(tree: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Change the keys that differ; inside maps, and lists of maps, only theirs."""
    for key in [key for key in before if key not in after]:
        del tree[key]
    order = [key for key in Recipe.__struct_fields__ if key in after]
    for key, value in after.items():
        old = before.get(key)
        if old == value:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            _update(tree[key], old, value)
        elif _maps(old) and _maps(value):
            _update_list(tree[key], old, value)
        elif key in tree or key not in order:
            tree[key] = quoted(value)
        else:
            # A new key goes where the model has it: before the first one that comes after it there.
            later = [other for other in order[order.index(key) + 1 :] if other in tree]
            place = list(tree).index(later[0]) if later else len(tree)
            tree.insert(place, key, quoted(value))


def _update_list(tree: Any, before: Any, after: Any) -> None:
    for item, was, now in zip(tree, before, after, strict=False):
        _update(item, was, now)
    del tree[len(after) :]
    for new in after[len(before) :]:
        tree.append(quoted(new))


def _maps(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
