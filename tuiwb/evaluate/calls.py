"""JSON and function calls in answers."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_FENCE = re.compile(r"^```[A-Za-z]*\n(.*?)\n?```$", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
MISSING = object()


def json_of(text: str) -> Any:
    """The one JSON document that a text is, perhaps in a code fence; `MISSING` where it is none."""
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return MISSING


def fields_right(answer: str, reference: str) -> float | None:
    """The share of the reference's leaves that the answer has at the same place with the same value.

    Returns:
        None where the reference is no JSON.
    """
    right = json_of(reference)
    if right is MISSING:
        return None
    wanted = dict(_leaves(right))
    found = json_of(answer)
    got = {} if found is MISSING else dict(_leaves(found))
    return sum(same(got.get(path, MISSING), value) for path, value in wanted.items()) / len(wanted)


def calls_in(text: str) -> list[dict[str, Any]]:
    """The calls that an answer makes: in `<tool_call>` tags, or as JSON alone."""
    documents = [json_of(inner) for inner in _CALL.findall(text)] or [json_of(text)]
    calls = []
    for document in documents:
        for each in document if isinstance(document, list) else [document]:
            call = each.get("function") if isinstance(each, dict) and isinstance(each.get("function"), dict) else each
            if isinstance(call, dict) and isinstance(call.get("name"), str):
                arguments = call.get("arguments", call.get("parameters", {}))
                calls.append({"name": call["name"], "arguments": _object(arguments)})
    return calls


def calls_right(answer: str, wanted: Sequence[Mapping[str, Any]], *, names_only: bool = False) -> bool:
    """Whether an answer makes exactly these calls, in any order."""
    left = [{"name": call["name"], "arguments": _object(call.get("arguments", {}))} for call in wanted]
    for call in calls_in(answer):
        for number, each in enumerate(left):
            if each["name"] == call["name"] and (names_only or same(each["arguments"], call["arguments"])):
                del left[number]
                break
        else:
            return False
    return not left


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, 1 is 1.0, text is compared without the space around it."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _object(arguments: Any) -> Any:
    if isinstance(arguments, str):
        parsed = json_of(arguments)
        return arguments if parsed is MISSING else parsed
    return arguments


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each value that holds no other, by its place. Empty objects and lists are values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    entries = list(inner)
    if not entries:
        yield path, value
    for key, each in entries:
        yield from _leaves(each, (*path, key))
