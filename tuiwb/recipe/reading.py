"""From YAML text to a recipe, or to one sentence with file, line, key and nearest right name.

YAML 1.2: 2e-4 is a number, `no` is a word. The text is composed into nodes and turned into plain values here, so that
the line of each key is known, aliases cannot grow without bound, and no tag can construct an object.
"""

import math
import re
from pathlib import Path
from typing import Any, TypeVar, get_origin

import msgspec
from msgspec import Struct, field

from tuiwb.base.errors import InputFault, reason_of
from tuiwb.recipe import names, plain
from tuiwb.recipe.contradictions import contradictions
from tuiwb.recipe.keys import choices_of, describe, struct_in, types_at
from tuiwb.recipe.model import DatasetEntry, Recipe

Path_ = tuple[str | int, ...]
_MAX_BYTES = 4 << 20
_MAX_NODES = 100_000
T = TypeVar("T")


class Document(Struct):
    """A YAML document as plain values, with the line of each key and list item, counted from 1."""

    source: str
    values: Any = None
    lines: dict[Path_, int] = field(default_factory=dict)

    def fault(self, message: str, path: Path_ = ()) -> InputFault:
        """The error for what stands at `path`."""
        place = path
        while place and place not in self.lines:
            place = place[:-1]
        return InputFault(message, file=self.source, line=self.lines.get(place), key=dotted(path) or None)


def read_text(file: Path) -> str:
    """The text of a recipe file.

    Raises:
        InputFault: it is missing, a folder, closed to us, not UTF-8, or far too long for a recipe.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputFault("there is no such file", file=file) from None
    except IsADirectoryError:
        raise InputFault("this is a folder; name the recipe file in it", file=file) from None
    except OSError as error:
        raise InputFault(f"cannot be read ({reason_of(error)})", file=file) from error
    if len(content) > _MAX_BYTES:
        raise InputFault("is longer than 4 MiB, so it is no recipe", file=file)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputFault(f"not valid UTF-8 at byte {error.start}; save it as UTF-8", file=file, line=line) from error


def parse(text: str, source: str) -> Document:
    """YAML text as a document.

    Raises:
        InputFault: not YAML, a key twice, or aliases that refer to themselves or multiply.
    """
    if (read := plain.read(text)) is not None:
        return Document(source, *read)
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    document = Document(source)
    try:
        root = yaml.compose(text)
        if root is not None:
            document.values = _Builder(document, yaml.constructor).build(root, (), frozenset())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or error.context or "cannot be parsed").replace("\n", " ")
        what = re.sub(r"\('([^']*)',\)", r"\1", what)  # a token's id, as Python writes it
        raise InputFault(f"not valid YAML: {what}", file=source, line=mark.line + 1 if mark else None) from error
    except (YAMLError, ValueError) as error:
        raise InputFault(f"not valid YAML: {str(error).splitlines()[0]}", file=source) from error
    except RecursionError as error:
        raise InputFault("not a recipe: lists and maps are nested too deeply", file=source) from error
    return document


class _Builder:
    """Turns the nodes of one document into values."""

    def __init__(self, document: Document, constructor: Any) -> None:
        self.document = document
        self.constructor = constructor
        self.nodes = 0

    def build(self, node: Any, path: Path_, above: frozenset[int]) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self.nodes += 1
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in above or self.nodes > _MAX_NODES:
            raise self.document.fault("an alias refers to itself, or aliases multiply without bound", path)
        if isinstance(node, MappingNode):
            return self._map(node, path, above | {id(node)})
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, number), above | {id(node)}) for number, item in enumerate(node.value)]
        if str(node.tag).endswith(":timestamp"):
            return node.value  # a recipe has no dates: 2026-11-21 is a name
        value = self.constructor.construct_object(node, deep=True)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.document.fault(f"`{node.value}` is not a usable number", path)
        return value

    def _map(self, node: Any, path: Path_, above: frozenset[int]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str) or key == "<<":
                wrong = "merging with << is not supported" if key == "<<" else "a key must be a plain word"
                raise InputFault(f"{wrong}; write the keys out", file=self.document.source, line=line)
            place = (*path, key)
            if key in values:
                first = self.document.lines[place]
                raise InputFault(
                    f"stated twice; it already stands in line {first}",
                    file=self.document.source,
                    line=line,
                    key=dotted(place),
                )
            self.document.lines[place] = line
            values[key] = self.build(value_node, place, above)
        return values


def to_recipe(document: Document) -> Recipe:
    """The document as a recipe.

    Raises:
        InputFault: empty, not a map, an unknown key, a value of the wrong type, or keys that contradict each other.
    """
    values = document.values
    if values is None or values == {}:
        raise document.fault("is empty; a recipe needs at least model_name_or_path and datasets")
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else "a single value"
        raise InputFault(f"holds {kind}, not a map of keys and values", file=document.source, line=1)
    recipe = convert(document, Recipe)
    for path, one in with_stages(recipe):
        for key, message in contradictions(one):
            raise document.fault(message, (*path, key))
    return recipe


def with_stages(recipe: Recipe) -> list[tuple[Path_, Recipe]]:
    """The recipe and those below its `stages`, with their paths."""
    found: list[tuple[Path_, Recipe]] = [((), recipe)]
    for number, stage in enumerate(recipe.stages or ()):
        found += [(("stages", number, *path), one) for path, one in with_stages(stage)]
    return found


def convert(document: Document, wanted: type[T]) -> T:
    """The document's values as a typed object.

    Raises:
        InputFault: an unknown key or a value of the wrong type.
    """
    _check_names(document, document.values, ())
    try:
        return msgspec.convert(document.values, wanted)
    except msgspec.ValidationError as error:
        path = _path_in(str(error), document.values)
        raise document.fault(_wrong_value(document.values, path), path) from error


def dotted(path: Path_) -> str:
    """`datasets[0].path`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _check_names(document: Document, value: Any, path: Path_) -> None:
    struct = struct_in(types_at(path))
    if isinstance(value, dict):
        for key, inner in value.items():
            if struct is not None and key not in struct.__struct_fields__:
                advice = names.advice(key, struct.__struct_fields__, moved=struct is Recipe)
                raise document.fault(advice, (*path, key))
            _check_names(document, inner, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_names(document, item, (*path, number))


def _path_in(message: str, values: Any) -> Path_:
    """The place that a sentence of msgspec ends with: `… - at `$.datasets[0].path``."""
    found = re.search(r"`\$(.*)`$", message)
    path: Path_ = ()
    for name, number, anything in re.findall(r"\.(\w+)|\[(\d+)\]|(\[\.\.\.\])", found[1] if found else ""):
        if anything:  # some value of a map: msgspec does not say which, but only text is allowed in ours
            at: Any = values
            for step in path:
                at = at[step]
            return (*path, next(key for key, inner in at.items() if not isinstance(inner, str)))
        path = (*path, name) if name else (*path, int(number))
    missing = re.search(r"missing required field `(\w+)`", message)
    return (*path, missing[1]) if missing else path


def _wrong_value(values: Any, path: Path_) -> str:
    value: Any = values
    for step in path:
        if isinstance(value, dict) and step not in value:
            return f"is missing; it must be {describe(types_at(path))}"
        value = value[step]
    options = types_at(path)
    wanted = f"must be {describe(options)}"
    match value:
        case str():
            return wanted + _on_text(_short(value), path, options)
        case dict() | list():
            return f"{wanted}, not a {'map' if isinstance(value, dict) else 'list'}"
        case None | bool():
            return f"{wanted}, not {'null' if value is None else str(value).lower()}"
        case _:
            return f"{wanted}, not {value}" + ("; put it in quotes" if options == (str,) else "")


def _on_text(value: str, path: Path_, options: tuple[Any, ...]) -> str:
    near = names.nearest(value, choices_of(options))
    if near:
        return f", not `{value}`; did you mean `{near}`?"
    if path[-1] in ("datasets", "eval_datasets"):
        return f"; write `- path: {value}` below it"
    if struct_in(options) is DatasetEntry:
        return f"; write `path: {value}`"
    if bool in options and value.lower() in ("yes", "no", "on", "off"):
        return f"; in YAML 1.2 `{value}` is a word"
    if any(get_origin(option) is tuple for option in options) and not choices_of(options):
        return f"; write `[{value}]`"
    number = re.fullmatch(r"[-+.\deE]+", value)
    return f", not the text `{value}`" + ("; take the quotes away" if number else "")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
