"""Conversations as datasets write them, brought into the one form that templates take.

ShareGPT's from and value, role names of a dozen tools, JSON inside text, content as a list of parts, tool calls as a
role or as a field, switches for the loss on a turn: all become `Message`s. Nothing is repaired in silence: whatever is
left out or cannot be read is noted.
"""

import re
from typing import Any

import orjson

from tuiwb.base.errors import InputFault
from tuiwb.data.example import Message
from tuiwb.data.formats import exchange_of, is_chatml
from tuiwb.data.problems import RULES

ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "claude": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
    "observations": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
_CALLS = {"function_call", "tool_call"}
_PAIR = ("user", "assistant")
_CHATML = re.compile(r"<\|im_start\|>[ ]?(\w+)\n(.*?)(?:<\|im_end\|>\s*|\Z)", re.DOTALL)
KNOWN_ROLES = frozenset(ROLES.values())
_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value", "text")
_TRAIN_KEYS = ("train", "loss", "weight", "loss_scale", "trainable")

Notes = list[tuple[str, str]]


class BadRow(InputFault):
    """A row that cannot be made an example. `code` is one of `problems.RULES`, `message` the whole sentence."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(RULES[code].message.format(detail=detail))
        self.code = code
        self.detail = detail


def messages(value: object, notes: Notes, column: str) -> list[Message]:
    """The turns in a cell.

    Args:
        value: a list of turns, one turn, or either as JSON text.
        notes: what is left out is added here.
        column: its name, for the error.

    Raises:
        BadRow: these are no turns.
    """
    if isinstance(value, str):
        value = _of_chatml(value, column) if is_chatml(value) else from_json(value, column, "turns")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise BadRow("wrong_type", f"{column} is {type_name(value)} where a list of turns is needed")
    result: list[Message] = []
    for turn in value:
        if not isinstance(turn, dict):
            raise BadRow("wrong_type", f"{column} holds {type_name(turn)} where turns are needed")
        if not any(turn.get(key) is not None for key in _ROLE_KEYS):
            result += _of_other_kinds(turn, notes, column)
        else:
            result.append(_message(turn, notes, column))
    return result


def _of_other_kinds(turn: dict[str, Any], notes: Notes, column: str) -> list[Message]:
    """The turns of an object that names no role: a question with its answer, or turns that a template has rendered."""
    if names := exchange_of(turn):
        return [
            _message({"role": role, "content": turn[name]}, notes, column)
            for role, name in zip(_PAIR, names, strict=True)
        ]
    if is_chatml(turn.get("text")):
        return [_message(one, notes, column) for one in _of_chatml(turn["text"], column)]
    raise BadRow("wrong_type", f"{column} holds a turn without a role")


def _of_chatml(text: str, column: str) -> list[dict[str, Any]]:
    """The turns of a text as ChatML templates write it."""
    if _CHATML.sub("", text).strip():
        raise BadRow("wrong_type", f"{column} holds text between its ChatML turns")
    return [{"role": role, "content": said} for role, said in _CHATML.findall(text)]


def with_system(turns: list[Message], system: object) -> list[Message]:
    """The turns with a system turn in front, unless they have one or there is nothing to say."""
    if not isinstance(system, str) or not system or (turns and turns[0]["role"] == "system"):
        return turns
    return [{"role": "system", "content": system}, *turns]


def tools(value: object, notes: Notes) -> list[dict[str, Any]] | None:
    """Function schemas in the shape templates take, `{"type": "function", "function": {…}}`, from a list or JSON text.

    Raises:
        BadRow: they cannot be read.
    """
    if isinstance(value, str):
        value = from_json(value, "tools", "functions") if value.strip() else None
    if not value:
        return None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise BadRow("wrong_type", "tools is no list of functions")
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in value]


def from_json(text: str, column: str, what: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRow("wrong_type", f"{column} is a text and no JSON of {what} (character {error.pos + 1})") from error


def type_name(value: object) -> str:
    """A type as people say it."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def _message(turn: dict[str, Any], notes: Notes, column: str) -> Message:
    role_key = next((key for key in _ROLE_KEYS if turn.get(key) is not None), None)
    content_key = next((key for key in _CONTENT_KEYS if key in turn), None)
    if role_key is None or not isinstance(turn[role_key], str):
        raise BadRow("wrong_type", f"{column} holds a turn without a role")
    if content_key is None and not turn.get("tool_calls"):
        raise BadRow("wrong_type", f"{column} holds a turn without content")
    named = turn[role_key]
    content = _content(turn.get(content_key) if content_key else None, notes, column)
    message: Message = {"role": ROLES.get(named.lower(), named), "content": content}
    if named.lower() in _CALLS:
        message = {"role": "assistant", "content": "", "tool_calls": _calls_of_text(content, notes)}
    elif message["role"] not in KNOWN_ROLES:
        notes.append(("unknown_role", named))
    for key, value in turn.items():
        if value is None or key in (role_key, content_key):
            continue
        if key in _TRAIN_KEYS:
            _note_train(message, key, value, notes)
        elif key == "tool_calls":
            if value:
                message[key] = [_call(call, notes) for call in value] if isinstance(value, list) else value
        else:
            message[key] = value
    return message


def _content(value: object, notes: Notes, column: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        texts = [part if isinstance(part, str) else part.get("text") for part in value if isinstance(part, (str, dict))]
        kept = [text for text in texts if isinstance(text, str)]
        if len(kept) < len(value):
            left = len(value) - len(kept)
            notes.append(("parts_ignored", f"content has {left} part{'s' if left > 1 else ''} that are not text:"))
        return "".join(kept)
    raise BadRow("wrong_type", f"{column} holds a turn whose content is {type_name(value)}")


def _call(call: object, notes: Notes) -> object:
    """A tool call with its arguments as an object, which is what templates expect."""
    if not isinstance(call, dict):
        return call
    bare = "function" not in call and "name" in call
    function = call if bare else call["function"] if isinstance(call.get("function"), dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments) if arguments.strip() else {}
        except orjson.JSONDecodeError:
            notes.append(("broken_arguments", f"the arguments of {function.get('name', 'a call')}"))
    function = {**function, "arguments": {} if arguments is None else arguments}
    return {"type": "function", "function": function} if bare else {"type": "function", **call, "function": function}


def _calls_of_text(text: str, notes: Notes) -> list[object]:
    """ShareGPT's function_call turns hold their calls as JSON text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        notes.append(("broken_arguments", "the tool calls of a turn"))
        return [{"type": "function", "function": {"name": "", "arguments": text}}]
    return [_call(call, notes) for call in (value if isinstance(value, list) else [value])]


def _note_train(message: Message, key: str, value: object, notes: Notes) -> None:
    if isinstance(value, (bool, int, float)):
        message["train"] = bool(value)
        if value not in (0, 1):
            notes.append(("partial_weight", f"{key} {value}"))
    else:
        notes.append(("partial_weight", f"{key} {value!r:.30}"))
