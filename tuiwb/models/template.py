"""Chat templates: Jinja from strangers, rendered in a sandbox exactly as transformers renders it.

The environment repeats `transformers.utils.chat_template_utils` (sandbox, block trimming, loop controls, `tojson`
without HTML escapes, `raise_exception`, `strftime_now`, `{% generation %}`), and the inputs are prepared as
`apply_chat_template` prepares them; a test compares both on every template that TRL ships.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuiwb.base.errors import InputFault

Messages = Sequence[Mapping[str, Any]]

# Where an open end is cut off: rendered as part of the last message, then found again.
_OPEN_END = "CONTINUE_FINAL_MESSAGE_TAG "
# The names under which a message's reasoning is passed; templates read the first, gpt-oss the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template with the special tokens of its tokenizer.

    Attributes:
        source: the Jinja source.
        special_tokens: `{"bos_token": "<s>", …}`: variables that the template may name; a token that the tokenizer
            lacks is left out and renders as nothing.
        tool_source: another source, used when tools are given (models that ship a template named `tool_use`).
    """

    source: str
    special_tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tool_source: str | None = None

    @property
    def fingerprint(self) -> str:
        """Names the template: same fingerprint, same text for the same messages."""
        parts = [self.source, self.tool_source or "", *(f"{k}={v}" for k, v in sorted(self.special_tokens.items()))]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()

    def render(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """The conversation as the model sees it.

        Args:
            messages: `{"role", "content", …}` each.
            tools: JSON schemas of the functions that the model may call.
            add_generation_prompt: end with the header of an assistant turn.
            continue_final_message: leave the last message open, so that the model goes on with it.
            variables: whatever else the template reads, such as `enable_thinking`.

        Raises:
            InputFault: the template has a fault, or refuses these messages.
        """
        if continue_final_message:
            return self._render_open(messages, tools, add_generation_prompt, variables)
        return "".join(_run(self._source(tools), self._context(messages, tools, add_generation_prompt, variables)))

    def render_with_spans(
        self, messages: Messages, *, tools: Sequence[Mapping[str, Any]] | None = None, **variables: Any
    ) -> tuple[str, tuple[tuple[int, int], ...]]:
        """As `render`, with the character ranges inside `{% generation %}` blocks: what the assistant wrote.

        Returns:
            the text, and (start, end) pairs in characters; none when the template has no such blocks.

        Raises:
            InputFault: as `render`.
        """
        blocks: list[str] = []
        spans: list[tuple[int, int]] = []
        context = self._context(messages, tools, False, variables)
        context[_TRACKER] = _Tracker(blocks, spans)
        for block in _run(self._source(tools), context):
            blocks.append(block)
        return "".join(blocks), tuple(spans)

    def _source(self, tools: object) -> str:
        return self.tool_source if tools is not None and self.tool_source is not None else self.source

    def _context(
        self, messages: Messages, tools: Any, add_generation_prompt: bool, variables: Mapping[str, Any]
    ) -> dict[str, Any]:
        if not messages:
            raise InputFault("a chat template needs at least one message")
        if not all(isinstance(message, Mapping) for message in messages):
            raise InputFault('each message is an object with "role" and "content"')
        return {
            **self.special_tokens,
            **{name: _plain(value) for name, value in variables.items()},
            "messages": [_with_reasoning(_plain(_without_none(message))) for message in messages],
            "tools": _plain(tools),
            "documents": _plain(variables.get("documents")),
            "add_generation_prompt": add_generation_prompt,
        }

    def _render_open(self, messages: Messages, tools: Any, prompt: bool, variables: Mapping[str, Any]) -> str:
        if prompt:
            raise InputFault("a conversation is either continued or given a new assistant turn, not both")
        source = self._source(tools)
        context = self._context(messages, tools, False, variables)
        final = context["messages"][-1]
        if "content" not in source or final.get("content") is None:
            raise InputFault("the last message has no content that could be continued")
        text = _open_end(final)
        rendered = "".join(_run(source, context))
        if text.strip() not in rendered or _OPEN_END.strip() not in rendered:
            raise InputFault("this chat template changes the last message, so it cannot be continued")
        at = rendered.rindex(_OPEN_END.strip())
        exact = rendered[at : at + len(_OPEN_END)] == _OPEN_END
        return rendered[:at] if exact else rendered[:at].rstrip()


def check_template(source: str) -> None:
    """Compile a template.

    Raises:
        InputFault: it has a syntax error; the sentence names the line.
    """
    _compile(source)


def _open_end(message: dict[str, Any]) -> str:
    """Mark the end of a message's text; returns the text before."""
    content = message["content"]
    if isinstance(content, str):
        message["content"] = content + _OPEN_END
        return content
    for block in reversed(content):
        if isinstance(block, dict) and "text" in block:
            text = str(block["text"])
            block["text"] = text + _OPEN_END
            return text
    raise InputFault("the last message has no text that could be continued")


def _without_none(message: Mapping[str, Any]) -> dict[str, Any]:
    # `content: null` beside tool calls is common, and templates would write "None".
    return {key: value for key, value in message.items() if value is not None}


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    reasoning = next((message[key] for key in _REASONING if message.get(key) is not None), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """A copy made of plain JSON types only: an object's methods are a way out of the sandbox."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return f"<{type(value).__name__}>"


# --- the Jinja environment ------------------------------------------------------------------------------------------

# The context variable that carries the tracker; a template cannot name it.
_TRACKER = " generation tracker"


@dataclass(slots=True)
class _Tracker:
    """Where `{% generation %}` blocks lie, while a template is rendered piece by piece."""

    blocks: list[str]
    spans: list[tuple[int, int]]

    def add(self, text: str) -> None:
        start = sum(map(len, self.blocks))
        self.spans.append((start, start + len(text)))


def _run(source: str, context: dict[str, Any]) -> Any:
    """Yield the pieces of the rendered text, with the template's own errors as ours."""
    import jinja2

    template = _compile(source)
    try:
        yield from template.generate(context)
    except jinja2.TemplateError as error:
        raise InputFault(f"the chat template refuses this conversation: {error}") from error
    except Exception as error:
        # Whatever a template can do wrong with these values (None + "text", 1 / 0 …) is its fault, not ours.
        raise InputFault(f"the chat template failed on this conversation ({type(error).__name__}: {error})") from error


@functools.lru_cache(maxsize=64)
def _compile(source: str) -> Any:
    import jinja2

    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise InputFault(f"the chat template has a fault in line {error.lineno}: {error.message}") from error
    except jinja2.TemplateError as error:
        raise InputFault(f"the chat template has a fault: {error}") from error


@functools.cache
def _environment() -> Any:
    from tuiwb.models.sandbox import make_environment

    return make_environment(_TRACKER)
