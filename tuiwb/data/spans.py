"""Which characters of a rendered conversation belong to which turn, for any chat template.

A template is a program: it may trim what it is given, put the system prompt into the last question, add one of its
own, drop the reasoning of earlier answers or close the last turn in another way than the others. So nothing about it
is assumed. A turn's content is where the text changes when that content is exchanged; its header is what the template
writes when it asks for an answer; its end is what it writes between that content and whatever comes next.

That takes several renderings for each turn. The result for a sequence of roles is therefore kept, and a conversation
whose rendering is exactly the known pieces around its own contents is read off with one rendering.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuiwb.base.errors import TuiwbError

Message = dict[str, Any]

# Two contents that share neither their first nor their last character, so that at either end at least one of them
# differs from whatever it replaces.
_PROBES = ("Qzvx7jkwP", "Wkyb3mhrD")
# What may not be cut in two when texts are compared: <|tags|>, [TAGS] and words.
_LEXEME = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|\w+|\s|.", re.DOTALL)
# Templates of reasoning models open the reasoning in the prompt; it is part of the answer all the same.
_REASONING = re.compile(r"<think>\s*(</think>\s*)?\Z")
_TRIMS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: text.strip(),
    lambda text: text.lstrip(),
    lambda text: text.rstrip(),
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where one message is in the rendered text, in characters: what its author writes is `[start, close)`.

    `start` comes after the header (for the assistant after the generation prompt; for others it is where their content
    begins), `[content, end)` is the content, and `[end, close)` is what closes the turn. A message that the template
    leaves out is empty.
    """

    role: str
    start: int
    content: int
    end: int
    close: int


class TurnFinder:
    """Finds the turns of conversations under one template.

    Args:
        render: `(messages, generation_prompt) -> text`, the template with everything else given.
    """

    def __init__(self, render: Callable[[list[Message], bool], str]) -> None:
        self._render = render
        self._shapes: dict[tuple[Any, ...], _Shape | None] = {}

    def find(self, messages: Sequence[Message]) -> tuple[str, list[Turn]]:
        """The rendered text and a turn for each message.

        Raises:
            TuiwbError: the template refuses the conversation.
        """
        text = self._render(list(messages), False)
        if (key := _shape_key(messages)) is not None:
            if key not in self._shapes:
                self._shapes[key] = self._learn(messages)
            shape = self._shapes[key]
            if shape is not None and (turns := shape.read(text, messages)) is not None:
                return text, turns
        return text, _Located(self._render, list(messages), text).turns()

    def _learn(self, messages: Sequence[Message]) -> "_Shape | None":
        marked = [
            {**message, "content": f"Qz{number}vx{number}kwP" if message["content"] else ""}
            for number, message in enumerate(messages)
        ]
        try:
            text = self._render(marked, False)
            turns = _Located(self._render, marked, text).turns()
        except TuiwbError:
            return None
        return _Shape.of(text, marked, turns)


def _shape_key(messages: Sequence[Message]) -> tuple[Any, ...] | None:
    """Conversations of one key are rendered alike but for their contents; None where more than contents varies."""
    key = []
    for message in messages:
        if message.keys() - {"role", "content"} or not isinstance(message.get("content"), str):
            return None
        key.append((message["role"], bool(message["content"])))
    return tuple(key)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The pieces that a template writes around the contents of a sequence of roles, in their order in the text."""

    order: tuple[int, ...]
    pieces: tuple[str, ...]
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, text: str, messages: Sequence[Message], turns: Sequence[Turn]) -> "_Shape | None":
        order = sorted(range(len(turns)), key=lambda number: turns[number].content)
        pieces, at = [], 0
        for number in order:
            turn = turns[number]
            if turn.content < at or text[turn.content : turn.end] != messages[number]["content"]:
                return None  # left out, altered or shown twice: such conversations are looked at one by one
            pieces.append(text[at : turn.content])
            at = turn.end
        return cls(tuple(order), (*pieces, text[at:]), tuple(turns))

    def read(self, text: str, messages: Sequence[Message]) -> list[Turn] | None:
        """The turns of a text that consists of exactly these pieces and the contents, else None."""
        turns: list[Turn | None] = [None] * len(messages)
        if not text.startswith(self.pieces[0]):
            return None
        at = len(self.pieces[0])
        for number, after in zip(self.order, self.pieces[1:], strict=True):
            content = messages[number]["content"]
            for trim in _TRIMS:
                trimmed = trim(content)
                end = at + len(trimmed)
                if text.startswith(trimmed, at) and text.startswith(after, end):
                    break
            else:
                return None
            known = self.turns[number]
            turns[number] = Turn(
                known.role, at - (known.content - known.start), at, end, end + (known.close - known.end)
            )
            at = end + len(after)
        return [turn for turn in turns if turn is not None] if at == len(text) else None


class _Located:
    """One conversation, looked at by exchanging contents."""

    def __init__(self, render: Callable[[list[Message], bool], str], messages: list[Message], text: str) -> None:
        self._raw_render = render
        self._messages = messages
        self._text = text
        self._rendered: dict[tuple[int, bool], str | None] = {(len(messages), False): text}
        self._contents = [self._content(number) for number in range(len(messages))]

    def turns(self) -> list[Turn]:
        return [self._turn(number) for number in range(len(self._messages))]

    def _turn(self, number: int) -> Turn:
        role = self._messages[number]["role"]
        span = self._contents[number]
        if span is None:
            return Turn(role, 0, 0, 0, 0)
        begin, end = span
        start = self._start(number, begin) if role == "assistant" else begin
        return Turn(role, start, begin, end, self._close(number, end))

    def _content(self, number: int) -> tuple[int, int] | None:
        """Where the content of a message is. Some templates name the function that was called again when its result
        comes, so it ends where it does when nothing follows."""
        span = self._changed(self._messages, number, False, self._text)
        alone = self._prefix(number + 1, False)
        if span is None or alone is None:
            return span
        if (there := self._changed(self._messages[: number + 1], number, False, alone)) is None:
            return span
        content = alone[there[0] : there[1]]
        return (span[0], span[0] + len(content)) if self._text.startswith(content, span[0]) else span

    def _start(self, number: int, begin: int) -> int:
        """Where the header of an assistant's turn ends."""
        prompt = _REASONING.sub("", self._generation_prompt())
        before = max((end for _, end in self._others(number) if end <= begin), default=0)
        gap = self._text[before:begin]
        if number > 0 and (tail := self._tail(number, generation_prompt=True)) is not None:
            tail = _REASONING.sub("", tail)
            if self._text.startswith(tail, before):
                after = before + len(tail)
                if not tail.endswith(prompt) and self._text.startswith(prompt, after):
                    after += len(prompt)
                return min(after, begin)
        if prompt and (at := gap.rfind(prompt)) >= 0:
            return before + at + len(prompt)
        if prompt and (at := gap.rfind(prompt.rstrip())) >= 0:
            return before + at + len(prompt.rstrip())
        return begin

    def _close(self, number: int, end: int) -> int:
        """Where what closes a turn ends."""
        following = [begin for begin, _ in self._others(number) if begin >= end]
        if not following:
            return len(self._text)
        gap = self._text[end : min(following)]
        endings = []
        if (asked := self._tail(number + 1, generation_prompt=True)) is not None:
            prompt = self._generation_prompt()
            if asked.endswith(prompt):
                endings.append(asked[: len(asked) - len(prompt)])
        if (last := self._tail(number + 1, generation_prompt=False)) is not None:
            endings.append(last)
        whole = [len(ending) for ending in endings if gap.startswith(ending)]
        shared = [_shared(gap, ending) for ending in endings]
        return end + max(whole or shared or [0])

    def _others(self, number: int) -> list[tuple[int, int]]:
        return [span for other, span in enumerate(self._contents) if span and other != number]

    def _tail(self, count: int, *, generation_prompt: bool) -> str | None:
        """What the template writes after the content of the last of the first `count` messages, were they all."""
        text = self._prefix(count, generation_prompt)
        if text is None:
            return None
        span = self._changed(self._messages[:count], count - 1, generation_prompt, text)
        return None if span is None else text[span[1] :]

    def _generation_prompt(self) -> str:
        """What asks for an answer, found where the template only appends it."""
        asking = [n for n, message in enumerate(self._messages) if message["role"] == "user"]
        for number in asking:
            plain, asked = self._prefix(number + 1, False), self._prefix(number + 1, True)
            if plain is not None and asked is not None:
                return asked[_shared(asked, plain) :]
        return ""

    def _prefix(self, count: int, generation_prompt: bool) -> str | None:
        key = (count, generation_prompt)
        if key not in self._rendered:
            self._rendered[key] = self._try(self._messages[:count], generation_prompt)
        return self._rendered[key]

    def _changed(
        self, messages: list[Message], number: int, generation_prompt: bool, text: str
    ) -> tuple[int, int] | None:
        """The part of `text` that depends on what message `number` says, None if no part does."""
        begin = rest = len(text)
        touched = False
        for probe in _PROBES:
            varied = [*messages[:number], _saying(messages[number], probe), *messages[number + 1 :]]
            other = self._try(varied, generation_prompt)
            if other is None or other == text:
                continue
            touched = True
            begin = min(begin, _common_start(text, other))
            rest = min(rest, _common_start(text[::-1], other[::-1]))
        return (begin, max(begin, len(text) - rest)) if touched else None

    def _try(self, messages: list[Message], generation_prompt: bool) -> str | None:
        try:
            return self._raw_render(messages, generation_prompt)
        except TuiwbError:
            return None  # many templates refuse what is not a whole conversation


def _saying(message: Message, words: str) -> Message:
    """The message with everything that its author says exchanged."""
    varied = dict(message)
    content = message.get("content")
    if isinstance(content, str) and (content or not message.get("tool_calls")):
        varied["content"] = words
    elif isinstance(content, list):
        varied["content"] = [{**part, "text": words} if "text" in part else part for part in content]
    for name in ("reasoning_content", "thinking"):
        if message.get(name):
            varied[name] = words
    if message.get("tool_calls"):
        varied["tool_calls"] = [_calling(call, words) for call in message["tool_calls"]]
    return varied


def _calling(call: Message, words: str) -> Message:
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    function["name"] = words
    if isinstance(arguments, dict):
        function["arguments"] = dict.fromkeys(arguments, words)
    elif isinstance(arguments, str):
        function["arguments"] = json.dumps({words: words})
    return {**call, "function": function}


def _shared(one: str, other: str) -> int:
    """Length of the common beginning of two texts, cutting no tag and no word in two."""
    length = 0
    for left, right in zip(_LEXEME.finditer(one), _LEXEME.finditer(other), strict=False):
        if left[0] != right[0]:
            break
        length = left.end()
    return length


def _common_start(one: str, other: str) -> int:
    """Length of the common beginning, by halving: comparing slices is far faster than characters in a loop."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
