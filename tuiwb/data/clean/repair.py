"""The cleaning step that puts right what has one right answer: signs that hide, text in a wrong encoding, leftovers of
templates, code blocks that stay open, prompts in answers, turns that are empty or belong together."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from tuiwb.data.clean import patterns
from tuiwb.data.clean.steps import STAYS, Judge, RowStep
from tuiwb.data.formats import guess
from tuiwb.data.rows import Value
from tuiwb.data.turns import ROLES

Code = Literal[
    "mojibake", "control_characters", "bidi_characters", "hidden_characters", "template_artefact", "open_fence",
    "prompt_in_answer", "empty_turn", "role_order",
]  # fmt: skip
REPAIRABLE: tuple[Code, ...] = get_args(Code)

_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value")
_ANSWERS = ("output", "completion", "answer", "chosen", "rejected")
"""Parts of formats that hold an answer as text."""
_ASKS = ("instruction", "prompt", "question")
_LEAKED = 30

Change = Callable[[str], str]


class Repair(RowStep, frozen=True, kw_only=True):
    name = "repair"
    summary = "put right what `tuiwb data inspect` warns of, where there is one right way"
    codes: tuple[Code, ...] = REPAIRABLE
    """Codes of problems; those of turns are put right where turns are a list of objects."""

    def judge(self) -> Judge:
        return lambda text: STAYS

    def change(self) -> Callable[[Value], Value] | None:
        wanted = frozenset(self.codes)
        signs = [_TEXTS[code] for code in REPAIRABLE if code in wanted and code in _TEXTS]

        def change(value: Value) -> Value:
            found: Value = {name: _texts(part, signs) for name, part in value.items()} if signs else value
            found = _answers(found, wanted)
            found = {name: _turns(part, wanted) for name, part in found.items()}
            return value if found == value else found

        return change


def _texts(value: Any, changes: list[Change]) -> Any:
    """The value with every text in it changed; what names a role stays."""
    if isinstance(value, str):
        for change in changes:
            value = change(value)
        return value
    if isinstance(value, list):
        return [_texts(part, changes) for part in value]
    if isinstance(value, dict):
        return {key: part if key in _ROLE_KEYS else _texts(part, changes) for key, part in value.items()}
    return value


def _answers(value: Value, wanted: frozenset[str]) -> Value:
    """The row with its answers put right where columns hold them as text."""
    if not {"open_fence", "prompt_in_answer"} & wanted:
        return value
    seen = guess(value)
    columns: Mapping[str, str] = dict(seen.columns) if seen else {}
    asked = next((value[columns[part]] for part in _ASKS if part in columns), "")
    found = dict(value)
    for column in (columns[part] for part in _ANSWERS if part in columns):
        if isinstance(found[column], str):
            found[column] = _answer(found[column], asked if isinstance(asked, str) else "", wanted)
    return found


def _answer(text: str, asked: str, wanted: frozenset[str]) -> str:
    asked = asked.strip()
    if "prompt_in_answer" in wanted and len(asked) >= _LEAKED and text.lstrip().startswith(asked):
        text = text.lstrip()[len(asked) :].lstrip() or text
    if "open_fence" in wanted and patterns.open_fence(text):
        text = f"{text.rstrip()}\n```"
    return text


def _turns(value: Any, wanted: frozenset[str]) -> Any:
    """A list of turns put right; any other value as it is."""
    if not (isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)):
        return value
    role_key = next((key for key in _ROLE_KEYS if key in value[0]), None)
    content_key = next((key for key in _CONTENT_KEYS if key in value[0]), None)
    if role_key is None or content_key is None or not all({role_key, content_key} <= turn.keys() for turn in value):
        return value
    turns: list[dict[str, Any]] = []
    answers = any(_role(turn, role_key) == "assistant" for turn in value)
    for turn in value:
        content, role = turn[content_key], _role(turn, role_key)
        plain = turn.keys() == {role_key, content_key} and isinstance(content, str)
        before = turns[-1] if turns else None
        if "empty_turn" in wanted and plain and not content.strip() and role != "tool":
            continue
        if before is not None and role == "assistant" and plain:
            content = _answer(content, str(before[content_key]), wanted)
        same = before is not None and plain and _role(before, role_key) == role and role in ("user", "assistant")
        if same and "role_order" in wanted and before is not None and before.keys() == turn.keys():
            turns[-1] = {**before, content_key: f"{before[content_key]}\n\n{content}"}
        else:
            turns.append(turn if content == turn[content_key] else {**turn, content_key: content})
    if "role_order" in wanted and answers:
        while turns and _role(turns[-1], role_key) == "user":
            turns.pop()  # nothing answers it
    return turns or value


def _role(turn: Mapping[str, Any], key: str) -> str:
    return ROLES.get(str(turn[key]).lower(), str(turn[key]))


def _without(expression: "re.Pattern[str]") -> Change:
    return lambda text: text if text.isprintable() else expression.sub("", text)


def _decoded(text: str) -> str:
    """Text that was written as UTF-8 and read as Windows-1252, as it was meant; where that is not all of it, in
    stretches."""
    return text if not patterns.mojibake(text) else _FOREIGN.sub(_again, text)


def _again(found: "re.Match[str]") -> str:
    try:
        meant = b"".join(_byte(character) for character in found[0]).decode()
    except UnicodeError:
        return found[0]
    return meant


def _byte(character: str) -> bytes:
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")


def _bare(text: str) -> str:
    if not patterns.artefact(text):
        return text
    return patterns.ARTEFACT.sub("", _HEADER.sub("", text)).strip()


_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_HEADER = re.compile(r"<\|(?:im_start|start_header_id)\|>(?:system|user|assistant|tool)?(?:<\|end_header_id\|>)?\n*")

_TEXTS: dict[Code, Change] = {
    "control_characters": _without(patterns.CONTROL),
    "bidi_characters": _without(patterns.BIDI),
    "hidden_characters": _without(patterns.HIDDEN),
    "mojibake": _decoded,
    "template_artefact": _bare,
}
