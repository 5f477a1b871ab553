"""An answer as the documents of a stream bring it: OpenAI's, and what vLLM, llama.cpp's server, Ollama and hosted
services make of it."""

import json
import time
from dataclasses import dataclass
from typing import Any

from tuiwb.endpoints.faults import EndpointFault, words
from tuiwb.endpoints.profile import Endpoint

_SAID = ("content", "refusal")
_THOUGHT = ("reasoning", "reasoning_content")
"""Ollama and newer vLLMs say the first, older ones, llama.cpp and DeepSeek the second; some say both."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The next piece of what a model thinks before it answers, where the server tells the two apart."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The end of an answer: the last thing that a stream gives.

    Attributes:
        text: the whole answer.
        thoughts: what was thought before it.
        reason: `stop`, `length`, or what else the server says.
        prompt_tokens, cached_tokens, completion_tokens: as the server counted; None where it did not say. Thoughts are
            counted with the answer.
        first_s, last_s: seconds from the request to the first and to the last piece, thoughts among them.
    """

    text: str
    thoughts: str
    reason: str
    model: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    first_s: float
    last_s: float


class Collected:
    """What has come of an answer.

    Args:
        key: never to be repeated, even where the server does.
        started: by `time.monotonic`, when it was asked.
    """

    def __init__(self, endpoint: Endpoint, key: str, started: float) -> None:
        self._endpoint, self._key, self._started = endpoint, key, started
        self._pieces: list[str] = []
        self._thoughts: list[str] = []
        self._model = endpoint.model
        self._usage: dict[str, Any] = {}
        self._first_s = self._last_s = 0.0
        self.reason: str | None = None

    def read(self, data: str) -> Piece | Thought | None:
        """As `take`, of an event's data.

        Raises:
            EndpointFault: it is no answer, or says that there will be none.
        """
        try:
            document = json.loads(data)
        except ValueError:
            raise EndpointFault(f"{self._endpoint.name} sent an event that is no JSON") from None
        return self.take(document)

    def take(self, document: Any) -> Piece | Thought | None:
        """What a document adds to the answer.

        Raises:
            EndpointFault: as `read`.
        """
        if not isinstance(document, dict):
            raise EndpointFault(f"{self._endpoint.name} sent an event that is no answer")
        # Older vLLMs put what is wrong beside `"object": "error"` rather than into `error`.
        if error := document.get("error") or (document if document.get("object") == "error" else None):
            raise EndpointFault(f"{self._endpoint.name} says: {words(error, self._key)}")
        if isinstance(usage := document.get("usage"), dict):
            self._usage = usage
        self._model = str(document.get("model") or self._model)
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if choice.get("finish_reason"):
            self.reason = str(choice["finish_reason"])
        said = choice.get("delta") or choice.get("message") or {}
        thought, text = _first(said, _THOUGHT), _first(said, _SAID)
        if thought or text:
            self._last_s = time.monotonic() - self._started
            if not self.begun:
                self._first_s = self._last_s
        if thought:
            self._thoughts.append(thought)
        if text:
            self._pieces.append(text)
            return Piece(text)
        return Thought(thought) if thought else None

    @property
    def begun(self) -> bool:
        """Whether there is any text."""
        return bool(self._pieces or self._thoughts)

    def end(self) -> End:
        details = self._usage.get("prompt_tokens_details")
        return End(
            text="".join(self._pieces),
            thoughts="".join(self._thoughts),
            reason=self.reason or "stop",
            model=self._model,
            prompt_tokens=_count(self._usage.get("prompt_tokens")),
            cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
            completion_tokens=_count(self._usage.get("completion_tokens")),
            first_s=self._first_s,
            last_s=self._last_s,
        )


def _first(said: object, names: tuple[str, ...]) -> str:
    """The first of these fields that is a text with something in it."""
    if not isinstance(said, dict):
        return ""
    return next((text for name in names if isinstance(text := said.get(name), str) and text), "")


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
