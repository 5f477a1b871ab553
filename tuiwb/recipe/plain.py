"""Plain YAML: a key and a word or a number on each line, lists of them, one level of nesting. Most recipes are no more.

They are read here in a hundredth of the time that importing a YAML library takes. Whatever is not as plain as that,
mistakes included, is left to the library; where this reads a text, both give the same (a test holds them together).
"""

import re
from typing import Any

Lines = dict[tuple[str | int, ...], int]

_WORD = r"(?:[A-Za-z]|\.{0,2}/)[A-Za-z0-9_./+=-]*"
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
_SCALAR = re.compile(rf"{_WORD}|{_NUMBER}")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_LIST = re.compile(rf"\[((?:{_WORD}|{_NUMBER})(?:, ?(?:{_WORD}|{_NUMBER}))*)\]")
_PAIR = re.compile(r"([a-z_][a-z0-9_]*):(?: +(\S.*))?")
_COMMENT = re.compile(r"(?:^| +)#.*$")
# What YAML 1.1 and 1.2 do not agree on, and other spellings of what they do.
_DOUBTFUL = frozenset(("null", "yes", "no", "on", "off", "y", "n", "true", "false"))


class _NotPlain(Exception):
    """The text is for the library."""


def read(text: str) -> tuple[Any, Lines] | None:
    """The values and the line of each key and item, counted from 1; None where the text is not plain."""
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isprintable():  # a tab, or one of the many other ends of a line
            return None
        if kept := _COMMENT.sub("", line).rstrip():
            lines.append((number, kept))
    try:
        if len(lines) == 1 and not _PAIR.fullmatch(lines[0][1]):
            return _scalar(lines[0][1]), {(): lines[0][0]}
        return _document(lines) if lines else None
    except _NotPlain:
        return None


def _document(lines: list[tuple[int, str]]) -> tuple[dict[str, Any], Lines]:
    values: dict[str, Any] = {}
    places: Lines = {(): lines[0][0]}
    at = 0
    while at < len(lines):
        number, line = lines[at]
        key, text = _pair(line, values)
        places[(key,)] = number
        at += 1
        if text is not None:
            values[key] = _value(text, (key,), number, places)
            continue
        below = at
        while at < len(lines) and lines[at][1].startswith(" "):
            at += 1
        values[key] = _block(lines[below:at], (key,), places)
    return values, places


def _block(lines: list[tuple[int, str]], path: tuple[str | int, ...], places: Lines) -> Any:
    """What stands below a key, further in: pairs, or a list of words or of pairs."""
    if not lines:
        raise _NotPlain
    indent = len(lines[0][1]) - len(lines[0][1].lstrip())
    items: list[Any] = []
    if not lines[0][1][indent:].startswith("- "):
        return _pairs(lines, indent, path, places)
    at = 0
    while at < len(lines):
        number, line = lines[at]
        if not line.startswith(" " * indent + "- ") or line[indent + 2] == " ":
            raise _NotPlain
        until = at + 1
        while until < len(lines) and lines[until][1].startswith(" " * (indent + 2)):
            until += 1
        own = [(number, " " * (indent + 2) + line[indent + 2 :]), *lines[at + 1 : until]]
        item = (*path, len(items))
        places[item] = number
        if _PAIR.fullmatch(own[0][1].strip()):
            items.append(_pairs(own, indent + 2, item, places))
        elif len(own) == 1:
            items.append(_scalar(own[0][1].strip()))
        else:
            raise _NotPlain
        at = until
    return items


def _pairs(lines: list[tuple[int, str]], indent: int, path: tuple[str | int, ...], places: Lines) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for number, line in lines:
        if not line.startswith(" " * indent):
            raise _NotPlain
        key, text = _pair(line[indent:], values)
        if text is None:
            raise _NotPlain
        places[(*path, key)] = number
        values[key] = _value(text, (*path, key), number, places)
    return values


def _pair(line: str, before: dict[str, Any]) -> tuple[str, str | None]:
    found = _PAIR.fullmatch(line)
    if found is None or found[1] in before or found[1] in _DOUBTFUL:
        raise _NotPlain
    return found[1], found[2]


def _value(text: str, path: tuple[str | int, ...], number: int, places: Lines) -> Any:
    listed = _LIST.fullmatch(text)
    if listed is None:
        return _scalar(text)
    items = [_scalar(word.strip()) for word in listed[1].split(",")]
    places.update({(*path, position): number for position in range(len(items))})
    return items


def _scalar(text: str) -> str | int | float | bool:
    if _INTEGER.fullmatch(text):
        return int(text)
    if text in ("true", "false"):
        return text == "true"
    if not _SCALAR.fullmatch(text) or text.lower() in _DOUBTFUL:
        raise _NotPlain
    if text[0] in "-0123456789":
        if "." not in text and "e" not in text:
            raise _NotPlain  # 007
        value = float(text)
        if value - value != 0:  # beyond all floats
            raise _NotPlain
        return value
    return text
