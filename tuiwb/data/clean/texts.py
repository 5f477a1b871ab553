"""What cleaning looks at: the texts of an example, prompt and answer apart."""

import functools
import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from tuiwb.data.example import Example, Message, Turns

Side = Literal["example", "prompt", "answer"]
"""Which text of an example: what is learned (`answer`), what comes before (`prompt`), or both."""

_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(slots=True)
class Texts:
    """The texts of one example. `answers` are what is learned, one text a turn; of a pair it is the chosen one."""

    example: Example
    prompt: str
    answers: tuple[str, ...]
    other: str = ""
    """The rejected answer of a pair."""
    _whole: str | None = None

    def of(self, side: Side) -> str:
        if side == "prompt":
            return self.prompt
        answer = self.answers[0] if len(self.answers) == 1 else "\n".join(self.answers)
        if side == "answer":
            return answer
        if self._whole is None:
            self._whole = "\n".join([part for part in (self.prompt, answer, self.other) if part])
        return self._whole

    def prose(self, side: Side) -> str:
        """`of` without fenced code, which has other habits than prose."""
        text = self.of(side)
        return _FENCE.sub("", text) if "```" in text or "~~~" in text else text


def texts(example: Example) -> Texts:
    """The texts of an example of any kind."""
    match example.kind:
        case "messages":
            return _conversation(example)
        case "preference":
            return Texts(example, text_of(example.prompt), (text_of(example.chosen),), text_of(example.rejected))
        case "stepwise":
            return Texts(example, text_of(example.prompt), tuple(text for text, _ in example.steps or ()))
        case "text":
            return Texts(example, "", (example.text or "",))
        case "tokenized":
            return Texts(example, "", (" ".join(map(str, example.input_ids or ())),))
        case "prompt":
            return Texts(example, text_of(example.prompt), ())
    return Texts(example, text_of(example.prompt), (text_of(example.completion),))


def text_of(turns: Turns | None) -> str:
    """The text of a prompt or answer; calls of tools as they are written."""
    if turns is None:
        return ""
    return turns if isinstance(turns, str) else "\n".join(map(_turn, turns))


def _conversation(example: Example) -> Texts:
    prompt: list[str] = []
    answers: list[str] = []
    for turn in example.messages or ():
        (answers if turn["role"] == "assistant" else prompt).append(_turn(turn))
    return Texts(example, "\n".join(prompt), tuple(answers))


def _turn(turn: Message) -> str:
    text: str = turn["content"]
    calls = turn.get("tool_calls")
    return text if not calls else "\n".join(part for part in (text, _dump(calls)) if part)


def _dump(calls: list[dict[str, Any]]) -> str:
    functions = [call.get("function", call) for call in calls]
    return orjson.dumps(functions, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def excerpt(text: str, width: int = 120) -> str:
    """The beginning of a text on one line."""
    short = " ".join(text[: 4 * width].split())
    return short if len(short) <= width else short[: width - 1] + "…"


@functools.lru_cache(maxsize=256)
def pattern(source: str) -> re.Pattern[str]:
    """A regular expression that was checked before."""
    return re.compile(source)
