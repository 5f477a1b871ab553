"""A recipe from a file, a preset or a text, with single keys replaced, and back to YAML."""

import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

import msgspec
from msgspec import Struct

from tuiwb.base import paths
from tuiwb.base.errors import InputFault
from tuiwb.recipe import names, pairs
from tuiwb.recipe.keys import choices_of, types_at
from tuiwb.recipe.model import Recipe
from tuiwb.recipe.places import anchor
from tuiwb.recipe.reading import Document, dotted, parse, read_text, to_recipe


class Preset(Struct, frozen=True):
    """A recipe to start from. `summary` says when to use it: the first comment line of its file. `path` is None where
    it is put together from the presets of its stage and its method (see `pairs`)."""

    name: str
    summary: str
    path: Path | None


class Difference(Struct, frozen=True):
    """A key whose value differs; None where the key is left out."""

    key: str
    before: object
    after: object


def load(source: str | Path) -> Recipe:
    """A recipe by the path of its file or the name of a preset.

    Relative paths in it (datasets, journals, a model folder, a template file) are made absolute from the folder of the
    file; those of a preset from the presets folder. See `places.anchor` for what counts as a path.

    Raises:
        InputFault: neither, or the file is at fault; names file, line and key.
    """
    file = locate(source)
    if file is None:
        return pairs.compose(str(source))
    return loads(read_text(file), source=str(file), folder=file.parent)


def loads(text: str, source: str = "recipe", folder: Path | None = None) -> Recipe:
    """A recipe from YAML (or JSON) text.

    Args:
        source: the name of the text in errors.
        folder: what relative paths start from; None leaves them as they are.

    Raises:
        InputFault: names `source`, line and key.
    """
    recipe = to_recipe(parse(text, source))
    return recipe if folder is None else anchor(recipe, folder.absolute())


def locate(source: str | Path) -> Path | None:
    """The file of a recipe argument: a path, or the name of a preset; None for a preset without a file of its own.

    Raises:
        InputFault: there is neither; names the nearest preset.
    """
    file = Path(source).expanduser()
    if isinstance(source, Path) or file.exists() or file.is_symlink():
        return file
    known = {preset.name: preset.path for preset in presets()}
    if source in known:
        return known[source]
    for (stage, method), why in pairs.UNFIT.items():
        if source == f"{stage}-{method}":
            raise InputFault(f"stage {stage} does not go with method {method}: {why}", key="method")
    near = names.nearest(source, tuple(known))
    hint = f"did you mean `{near}`?" if near else "`tuiwb recipe list` names the presets"
    raise InputFault(f"there is no such file, and no preset of this name; {hint}", file=source)


def presets() -> list[Preset]:
    """The presets that ship with tuiwb and the user's own in the config folder, which come first, by name; then the
    other pairs of stage and method."""
    found = {name: Preset(name, pairs.summary(name), None) for name in pairs.names()}
    for folder in (paths.presets_folder(), paths.config_home() / "presets"):
        for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            found[file.stem] = Preset(file.stem, _summary(file), file)
    return sorted(found.values(), key=lambda preset: (preset.path is None, preset.name))


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        InputFault: there is none; names the nearest.
    """
    known = {one.name: one for one in presets()}
    if name not in known:
        near = names.nearest(name, tuple(known))
        hint = f"did you mean `{near}`?" if near else "`tuiwb recipe list` names them"
        raise InputFault(f"no such preset; {hint}", key=name)
    return known[name]


def dumps(recipe: Recipe) -> str:
    """The recipe as YAML, its keys in the order of the model; what it leaves out is not written."""
    from ruamel.yaml import YAML

    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096  # a long path or prompt stays on its line
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(quoted(to_plain(recipe)), stream)
    return stream.getvalue()


def to_plain(recipe: msgspec.Struct) -> dict[str, Any]:
    """The recipe as dicts, lists and scalars, without what it leaves out."""
    plain = msgspec.to_builtins(recipe)
    assert isinstance(plain, dict)
    listed = _lists(plain)
    assert isinstance(listed, dict)
    return listed


def with_settings(recipe: Recipe, settings: Mapping[str, str], *, folder: Path | None = None) -> Recipe:
    """The recipe with keys replaced, as `--set key=value` gives them.

    A key may be dotted: `launch.gpus`, `datasets.0.path`. A value is YAML (`8`, `2e-4`, `[q_proj, v_proj]`); for lists
    of words `q_proj,v_proj` will do; nothing, or `null`, takes the key out.

    Args:
        folder: what relative paths among the values start from; None is the working directory.

    Raises:
        InputFault: an unknown key, a wrong value, or a contradiction; the file is then named `--set`.
    """
    document = Document("--set", to_plain(recipe))
    for key, text in settings.items():
        path = tuple(int(step) if step.isdigit() else step for step in key.split("."))
        _place(document, path, _value(text, path))
    if not document.values:
        return Recipe()
    changed = to_recipe(document)
    anchored = anchor(changed, Path.cwd() if folder is None else folder)
    stated = {key.partition(".")[0] for key in settings}
    return msgspec.structs.replace(changed, **{key: getattr(anchored, key) for key in stated})


def differences(before: Recipe, after: Recipe) -> list[Difference]:
    """The keys in which two recipes differ, in the order of the model; those of `launch` one by one."""
    found = []
    old, new = _flat(before), _flat(after)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            found.append(Difference(key, old.get(key), new.get(key)))
    order = {name: number for number, name in enumerate(Recipe.__struct_fields__)}
    return sorted(found, key=lambda difference: order[difference.key.partition(".")[0]])


def _flat(recipe: Recipe) -> dict[str, object]:
    values = to_plain(recipe)
    launch = values.pop("launch", {})
    return values | {f"launch.{key}": value for key, value in launch.items()}


def _place(document: Document, path: tuple[str | int, ...], value: Any) -> None:
    at = document.values
    for number, (step, following) in enumerate(itertools.pairwise(path)):
        if isinstance(at, dict) and isinstance(step, str):
            at = at.setdefault(step, [] if isinstance(following, int) else {})
        elif isinstance(at, list) and isinstance(step, int) and step <= len(at):
            if step == len(at):
                at.append({})
            at = at[step]
        else:
            raise document.fault("there is no such place in the recipe", path[: number + 1])
    last = path[-1]
    if isinstance(at, list) and isinstance(last, int) and last < len(at):
        at[last] = value
    elif isinstance(at, list) and last == len(at):
        at.append(value)
    elif isinstance(at, dict) and isinstance(last, str):
        at.pop(last, None)
        if value is not None:
            at[last] = value
    else:
        raise document.fault("there is no such place in the recipe", path)


def _value(text: str, path: tuple[str | int, ...]) -> Any:
    """The text after `key=`, as what that key wants."""
    if text.strip() in ("", "null", "~"):
        return None
    options = types_at(path)
    listed = any(get_origin(option) is tuple for option in options)
    if str in options and not listed:
        return text
    if text in choices_of(options):
        return text
    value = parse(text, f"--set {dotted(path)}").values
    if not listed or isinstance(value, list):
        return value
    words = [word.strip() for word in text.split(",")] if " " not in text else [text]
    if len(words) == 1 and (str in options or (isinstance(value, str) and choices_of(options))):
        return text
    items = types_at((*path, 0))
    return words if str in items or choices_of(items) else [parse(word, "--set").values for word in words]


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (tuple, list)) else value


def quoted(value: Any) -> Any:
    """Strings that need other quotes than the emitter's own: words that YAML 1.1, which many tools still read, takes
    for true and false, and line breaks of Unicode, which come back only when they are escaped."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString

    match value:
        case dict():
            return {quoted(key): quoted(inner) for key, inner in value.items()}
        case list():
            return [quoted(item) for item in value]
        case str() if any(mark in value for mark in "\x85\u2028\u2029"):
            return DoubleQuotedScalarString(value)
        case "no" | "yes" | "on" | "off" | "y" | "n":
            return SingleQuotedScalarString(value)
    return value


def _summary(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            first = lines.readline(400)
    except OSError:
        return "cannot be read"
    return first.lstrip("# ").strip() if first.startswith("#") else ""
