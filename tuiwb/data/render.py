"""An example as the model sees it: token ids, and which of them carry loss.

The screen and the trainer both call this, so what is seen is what is trained. The ids are those of one encoding of the
whole text; a token is trained when any of its characters belongs to what its author is to learn. Lengths are kept, so
padding never has to be recognised by its id.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example, Turns
from tuiwb.data.layout import Encoded, Layout, Rendered, Segment, Truncation, cut, encode, reassemble, runs
from tuiwb.data.spans import Message, Turn, TurnFinder

if TYPE_CHECKING:
    from tuiwb.models import ChatTemplate, Tokenizer

_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")

TrainOnEos = Literal["turn", "last", "all", "none"]


def render(
    example: Example,
    tokenizer: "Tokenizer",
    template: "ChatTemplate | None",
    *,
    train_roles: Sequence[str] | None = ("assistant",),
    train_on_eos: TrainOnEos = "turn",
    max_length: int | None = None,
    truncation: Truncation = "keep_start",
    response_marker: str | None = None,
) -> Rendered:
    """Render one example.

    Args:
        template: the chat template; None is enough for plain text.
        train_roles: whose turns are trained, unless a message has `train` of its own; None trains every token.
        train_on_eos: whether what closes a turn is trained: of trained turns (`turn`), of the last trained turn
            (`last`), of every turn (`all`), of none.
        max_length: the most tokens; `truncation` says which end is kept.
        response_marker: of plain text, only what follows the last of these is trained.

    Raises:
        InputFault: the template refuses the conversation, or the example is of a kind that is not trained this way.
    """
    renderer = Renderer(
        tokenizer,
        template,
        train_roles=train_roles,
        train_on_eos=train_on_eos,
        max_length=max_length,
        truncation=truncation,
        response_marker=response_marker,
    )
    return renderer(example)


class Renderer:
    """`render` for many examples: what it learns about the template is kept."""

    def __init__(
        self,
        tokenizer: "Tokenizer",
        template: "ChatTemplate | None",
        *,
        train_roles: Sequence[str] | None = ("assistant",),
        train_on_eos: TrainOnEos = "turn",
        max_length: int | None = None,
        truncation: Truncation = "keep_start",
        response_marker: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.train_roles = None if train_roles is None else frozenset(train_roles)
        self.train_on_eos = train_on_eos
        self.max_length = max_length
        self.truncation = truncation
        self.response_marker = response_marker
        self._finders: dict[str, TurnFinder] = {}
        self._special = frozenset(tokenizer.token(number) for number in tokenizer.special_ids)
        self._bos = _own_bos(tokenizer)
        self._has_marks = template is not None and _MARK.search(template.source) is not None

    def __call__(self, example: Example) -> Rendered:
        """As `render`."""
        if example.kind == "tokenized":
            return self._tokenized(example)
        layout = self.layout(example)
        (encoded,) = self.encode([layout])
        return reassemble(layout, encoded)

    def layout(self, example: Example) -> Layout:
        """The text of an example and what of it is trained.

        Raises:
            InputFault: as `render`.
        """
        if example.messages is not None:
            return self._conversation(example.messages, 0, example.tools)
        if example.completion is not None:
            return self.answer(example.prompt or "", example.completion, example.tools)
        if example.segments is not None:
            return _of_segments(example.segments)
        if example.text is not None:
            return self._text(*self._split(example.text))
        raise InputFault(f"rows of the kind {example.kind} have no single text to train on", key="datasets")

    def answer(self, prompt: Turns, completion: Turns, tools: list[dict[str, Any]] | None = None) -> Layout:
        """The layout of a prompt and its answer, of which the answer alone is trained."""
        if isinstance(prompt, str) and isinstance(completion, str):
            return self._text(prompt, completion)
        before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        after = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
        return self._conversation([*before, *after], len(before), tools)

    def prompt(self, example: Example) -> Layout:
        """The layout of what asks for an answer, nothing of it trained.

        Raises:
            InputFault: as `render`.
        """
        prompt = example.messages if example.prompt is None else example.prompt
        if isinstance(prompt, str):
            text = prompt if prompt.startswith(self._bos) else self._bos + prompt
            return Layout(text, ((len(text), "user"),), ())
        if not prompt:
            raise InputFault(f"rows of the kind {example.kind} hold no prompt", key="datasets")
        if self.template is None:
            raise _no_template()
        if prompt[-1]["role"] == "assistant":
            prompt = prompt[:-1]
        text = self.template.render(_bare(prompt), tools=example.tools, add_generation_prompt=True)
        return Layout(text, ((len(text), ""),), ())

    def encode(self, layouts: Sequence[Layout]) -> list[Encoded]:
        """Token ids and masks, all in one call of the tokenizer, cut to `max_length`."""
        encodings = self.tokenizer.backend.encode_batch([layout.text for layout in layouts], add_special_tokens=False)
        return [
            cut(encode(encoding.ids, encoding.offsets, layout), self.max_length, self.truncation)
            for encoding, layout in zip(encodings, layouts, strict=True)
        ]

    def from_tokens(self, example: Example) -> Encoded:
        """The ids and mask of an example that came as tokens."""
        import numpy as np

        ids = np.asarray(example.input_ids, dtype=np.int32)
        mask = np.ones(len(ids), dtype=bool) if example.labels is None else np.asarray(example.labels) != -100
        mask[:1] = False
        return cut(Encoded(ids, mask, np.arange(1, len(ids) + 1)), self.max_length, self.truncation)

    def _conversation(self, messages: Sequence[Message], prompt: int, tools: list[dict[str, Any]] | None) -> Layout:
        if self.template is None:
            raise _no_template()
        bare = _bare(messages)
        text, turns = self._finder(tools).find(bare)
        wanted = [number >= prompt and self._wants(message) for number, message in enumerate(messages)]
        if self.train_roles is None and not prompt:
            text, turns = self._stopped(text, turns, bool(turns))
            return Layout(text, _authors(turns), ((0, len(text)),))
        written = self._marked(bare, tools, turns) if self._has_marks else None
        text, turns = self._stopped(text, turns, bool(wanted and wanted[-1]))
        unseen = tuple(turn.role for turn in turns if not turn.close)
        return Layout(text, _authors(turns), tuple(self._trained(text, turns, wanted, written)), unseen)

    def _wants(self, message: Message) -> bool:
        if (own := message.get("train")) is not None:
            return bool(own)
        return self.train_roles is None or message["role"] in self.train_roles

    def _trained(
        self,
        text: str,
        turns: Sequence[Turn],
        wanted: Sequence[bool],
        written: Mapping[int, Sequence[tuple[int, int]]] | None,
    ) -> Iterator[tuple[int, int]]:
        last = max((number for number, want in enumerate(wanted) if want), default=-1)
        for number, (turn, want) in enumerate(zip(turns, wanted, strict=True)):
            closed = {"turn": want, "last": number == last, "all": True, "none": False}[self.train_on_eos]
            spans: Sequence[tuple[int, int]] = [(turn.start, turn.end)] if want else ()
            if want and written is not None and turn.role == "assistant":
                spans = written.get(number, ())
                if not closed:
                    spans = [(start, min(end, turn.end)) for start, end in spans]
                elif spans and not self._stops(text[spans[-1][1] : turn.close]):
                    closed = False  # the template's author said where the answer ends; its end mark is in it
            yield from ((start, end) for start, end in spans if start < end)
            if closed and turn.end < turn.close:
                yield turn.end, turn.close

    def _marked(
        self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, turns: Sequence[Turn]
    ) -> dict[int, list[tuple[int, int]]]:
        """Where the template's own `{% generation %}` marks say that the assistant wrote, by turn."""
        assert self.template is not None
        _, spans = self.template.render_with_spans(messages, tools=tools)
        found: dict[int, list[tuple[int, int]]] = {}
        for span in spans:
            for number, turn in enumerate(turns):
                if turn.role == "assistant" and span[0] < turn.close and span[1] > turn.start:
                    found.setdefault(number, []).append(span)
        return found

    def _stops(self, text: str) -> bool:
        return any(token in text for token in self._special)

    def _stopped(self, text: str, turns: list[Turn], trained: bool) -> tuple[str, list[Turn]]:
        """With a stop token at the end where the template writes none after an answer that is to be learned: a model
        that never sees one never stops."""
        eos = self.tokenizer.eos_token
        if not (trained and eos and turns) or turns[-1].close != len(text):
            return text, turns
        closing = text[turns[-1].end :]
        if self._stops(closing):
            return text, turns
        last = turns[-1]
        longer = Turn(last.role, last.start, last.content, last.end, len(text) + len(eos))
        return text + eos, [*turns[:-1], longer]

    def _split(self, text: str) -> tuple[str, str]:
        """Plain text as what asks and what answers; without a marker all of it is the answer."""
        if self.response_marker is None:
            return "", text
        before, marker, answer = text.rpartition(self.response_marker)
        if not marker:
            raise InputFault(f"holds no “{self.response_marker}” that its answer could follow", key="datasets")
        return before + marker, answer

    def _text(self, prompt: str, answer: str) -> Layout:
        eos = self.tokenizer.eos_token or ""
        before = prompt if (prompt + answer).startswith(self._bos) else self._bos + prompt
        text = before + answer
        if eos and self.train_on_eos != "none" and not text.endswith(eos):
            text += eos
        authors = ((len(before), "user" if prompt else ""), (len(text), "assistant" if prompt else "text"))
        return Layout(text, authors, ((len(before), len(text)),))

    def _finder(self, tools: list[dict[str, Any]] | None) -> TurnFinder:
        key = json.dumps(tools, sort_keys=True, default=str) if tools else ""
        if key not in self._finders:
            if len(self._finders) > 64:
                self._finders.clear()  # rows that each bring tools of their own
            self._finders[key] = TurnFinder(self._template_with(tools))
        return self._finders[key]

    def _template_with(self, tools: list[dict[str, Any]] | None) -> Callable[[list[Message], bool], str]:
        template = self.template
        assert template is not None
        return lambda messages, asking: template.render(messages, tools=tools, add_generation_prompt=asking)

    def _tokenized(self, example: Example) -> Rendered:
        encoded = self.from_tokens(example)
        ids, mask = encoded.ids.tolist(), encoded.mask.tolist()
        text, segments = "", []
        for start, end in runs(mask):
            piece = self.tokenizer.decode(ids[start:end])
            if piece:
                segments.append(Segment(len(text), len(text) + len(piece), "", mask[start]))
            text += piece
        return Rendered(
            ids,
            mask,
            text,
            tuple(segments),
            (0, len(text)),
            encoded.truncated,
            encoded.truncated_trained,
        )


def _of_segments(segments: Sequence[tuple[str, bool]]) -> Layout:
    """Text in pieces, as it stands: who writes it so puts every token there, the stop token too."""
    ends = list(itertools.accumulate(len(text) for text, _ in segments))
    spans = zip(itertools.pairwise([0, *ends]), segments, strict=True)
    trained = tuple(span for span, (_, wanted) in spans if wanted)
    return Layout("".join(text for text, _ in segments), tuple((end, "text") for end in ends), trained)


def _bare(messages: Sequence[Message]) -> list[Message]:
    """Messages without our own key, which a template might print."""
    return [{key: value for key, value in message.items() if key != "train"} for message in messages]


def _no_template() -> InputFault:
    return InputFault(
        "the rows are conversations, but the model has no chat template; name one (chatml, llama-3, alpaca …)",
        key="chat_template",
    )


def _own_bos(tokenizer: "Tokenizer") -> str:
    """The token that this tokenizer puts before plain text by itself (Llama does, SmolLM2 does not)."""
    if tokenizer.bos_token is None or tokenizer.bos_token_id is None:
        return ""
    ids = tokenizer.backend.encode("a").ids
    return tokenizer.bos_token if ids and ids[0] == tokenizer.bos_token_id else ""


def _authors(turns: Iterable[Turn]) -> tuple[tuple[int, str], ...]:
    shown = sorted((turn for turn in turns if turn.close), key=lambda turn: turn.start)
    return tuple(piece for turn in shown for piece in ((turn.start, ""), (turn.close, turn.role)))


__all__ = ["Encoded", "Layout", "Rendered", "Renderer", "Segment", "render"]
