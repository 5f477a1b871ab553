"""The account of an import: what became of every key of the other tool, and the recipe that came of them.

A rule says what becomes of one key. It is given the value and the draft, so that it can look at the keys beside it,
and returns a `Fate`. A fate that names a key which the recipe does not have is a refusal: rules may name keys that are
still to come.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from tuiwb.base.errors import InputFault
from tuiwb.recipe import names
from tuiwb.recipe.contradictions import contradictions
from tuiwb.recipe.keys import types_at
from tuiwb.recipe.model import Recipe
from tuiwb.recipe.reading import Document, convert

Outcome = Literal["taken", "translated", "refused"]
_FIELDS = Recipe.__struct_fields__
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one key.

    Attributes:
        key, value: as the source has them.
        outcome: taken (same name, same value), translated (another name or value), refused.
        into: what it became, as lines of a recipe; empty where nothing came of it.
        why: of a translation that is not obvious, and of every refusal.
        matters: a refusal that changes what is learned, or how far; the others are bookkeeping of the other tool.
        stated: False for a default of the other tool that is not the one here.
    """

    key: str
    value: Any
    outcome: Outcome
    into: str = ""
    why: str = ""
    matters: bool = False
    stated: bool = True

    def to_json(self) -> dict[str, Any]:
        names_of_json = ("key", "value", "outcome", "into", "why", "matters", "stated")
        return {name: getattr(self, name) for name in names_of_json}


@dataclass(frozen=True, slots=True)
class Imported:
    """A recipe from another tool, with the account.

    Attributes:
        tool: whose spelling the source was in.
        recipe: relative paths are as in the source.
        entries: every key of the source in its order, then the defaults that were made explicit.
    """

    tool: str
    recipe: Recipe
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a key: the recipe keys that it sets, or why it is refused."""

    into: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    refused: bool = False
    matters: bool = False


Rule = Callable[[Any, "Draft"], Fate]


def keep(new: str, why: str = "") -> Rule:
    """The value under another name."""
    return lambda value, draft: Fate({new: value}, why)


def words(new: str, table: Mapping[Any, Any], why: str = "") -> Rule:
    """The value as another word; None in the table leaves the key out."""

    def rule(value: Any, draft: "Draft") -> Fate:
        plain = value.lower() if isinstance(value, str) else value
        if plain not in table:
            return refused(f"{value} has no counterpart here")
        return Fate({} if table[plain] is None else {new: table[plain]}, why)

    return rule


def drop(why: str) -> Rule:
    """Bookkeeping of the other tool."""
    return lambda value, draft: Fate(why=why, refused=True)


def refuse(why: str) -> Rule:
    """Something that would change what is learned, and that a recipe cannot say."""
    return lambda value, draft: refused(why)


def refused(why: str) -> Fate:
    """As `refuse`, inside a rule."""
    return Fate(why=why, refused=True, matters=True)


class Draft:
    """A recipe on its way from another tool.

    Args:
        values: the source's keys.
        source: its name in errors.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source
        self.recipe: dict[str, Any] = {}
        self._entries: list[Entry] = []
        self._from: dict[str, int] = {}  # recipe key to the number of its entry

    def apply(self, rules: Mapping[str, Rule]) -> None:
        """Account for every key of the source that has no entry yet."""
        known = {entry.key for entry in self._entries}
        self.apply_to({key: value for key, value in self.values.items() if key not in known}, rules)

    def apply_to(self, values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
        """Account for some of the keys."""
        for key, value in values.items():
            rule = rules.get(key)
            if _is_empty(value):
                self._entries.append(Entry(key, value, "taken", why="it is empty, so there is nothing to take"))
            elif rule is not None:
                self._settle(key, value, rule(value, self))
            elif key in _FIELDS:
                self._settle(key, value, Fate({key: value}))
            else:
                self._settle(key, value, refused(_unknown(key)))

    def default(self, key: str, value: Any, into: Mapping[str, Any], why: str) -> None:
        """What the other tool does unless told otherwise, where it is not what happens here."""
        fresh = {name: it for name, it in into.items() if name not in self.recipe and name in _FIELDS}
        if fresh:
            self._put(Entry(key, value, "translated", _lines(fresh), why, stated=False), fresh)

    def done(self, tool: str) -> Imported:
        """The recipe; of keys that contradict each other the one at fault is refused.

        Raises:
            InputFault: nothing came of it.
        """
        if not any(entry.into and entry.stated for entry in self._entries):
            raise InputFault(f"holds no key of {tool} that a recipe could take", file=self.source)
        while True:
            recipe = convert(Document(self.source, self.recipe), Recipe)
            fault = next(contradictions(recipe), None)
            if fault is None:
                return Imported(tool, recipe, tuple(self._entries))
            key, message = fault
            del self.recipe[key]
            at = self._from[key]
            entry = self._entries[at]
            self._entries[at] = Entry(entry.key, entry.value, "refused", "", message, True, entry.stated)

    def _settle(self, key: str, value: Any, fate: Fate) -> None:
        if fate.refused:
            matters = fate.matters and value not in (False, 0, "none", "no", "disabled")
            self._entries.append(Entry(key, value, "refused", why=fate.why, matters=matters))
            return
        into: dict[str, Any] = {}
        for name, wanted in fate.into.items():
            if name not in _FIELDS:
                self._entries.append(Entry(key, value, "refused", why="a recipe has no such setting", matters=True))
                return
            into[name] = coerce(wanted, (name,))
            if isinstance(wanted, Mapping) and isinstance(before := self.recipe.get(name), dict):
                into[name] = before | into[name]  # several flags fill `launch`
            elif name in self.recipe and self.recipe[name] != into[name]:
                said = self._entries[self._from[name]].key
                why = f"{said} said {_lines({name: self.recipe[name]})} before"
                self._entries.append(Entry(key, value, "refused", why=why, matters=True))
                return
            if problem := _problem(name, into[name]):
                self._entries.append(Entry(key, value, "refused", why=problem, matters=True))
                return
        same = not fate.why and list(into) == [key] and into[key] == coerce(value, (key,))
        outcome: Outcome = "taken" if same else "translated"
        self._put(Entry(key, value, outcome, _lines(into), fate.why), into)

    def _put(self, entry: Entry, into: Mapping[str, Any]) -> None:
        self._entries.append(entry)
        self.recipe.update(into)
        self._from.update(dict.fromkeys(into, len(self._entries) - 1))


def coerce(value: Any, path: tuple[str | int, ...]) -> Any:
    """The value in the type that stands at this place of a recipe, where that is only a matter of spelling: a command
    line has texts alone, YAML 1.1 has more words for true, and `q_proj,v_proj` is a list."""
    options = types_at(path)
    kinds = {get_args(one)[0] if get_origin(one) is not None else one for one in options}
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        if bool in options and value.lower() in _WORDS:
            return _WORDS[value.lower()]
        if any(get_origin(one) is tuple for one in options) and ("," in value or str not in options):
            return [item.strip() for item in value.split(",") if item.strip()]
        if kinds & {int, float} and str not in options:
            value = _number(value)
    elif isinstance(value, (int, float)) and options == (str,):
        return str(value)
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        return int(value)
    return value


def _number(text: str) -> Any:
    try:
        return float(text) if any(mark in text.lower() for mark in ".e") else int(text)
    except ValueError:
        return text


def _problem(key: str, value: Any) -> str:
    """Why a recipe cannot have this value; empty when it can."""
    try:
        convert(Document("", {key: value}), Recipe)
    except InputFault as fault:
        return f"{key} {fault.message}"
    return ""


def _unknown(key: str) -> str:
    said = names.MOVED.get(key)
    if said:
        return said
    near = names.nearest(key, _FIELDS)
    return "a recipe has no such setting" + (f"; the nearest is {near}" if near else "")


def _lines(values: Mapping[str, Any]) -> str:
    """As it stands in a recipe, on one line."""
    import json

    parts = []
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        parts.append(f"{key}: {text}")
    return ", ".join(parts)


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}
