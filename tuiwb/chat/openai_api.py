"""The OpenAI chat-completions API in documents: from a request to a question, from answers to chunks and usage."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from tuiwb.chat.protocol import Done, Sampling

_NOT_SERVED = ("tools", "functions", "logprobs", "audio", "modalities", "prediction")
_LONGEST = 1_000_000


class RequestError(Exception):
    """A request that cannot be answered: the HTTP status and what the error document says."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def document(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class Body(msgspec.Struct, kw_only=True):
    """What of a request is understood. Fields that change nothing here (`user`, `metadata` …) are let pass."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request, understood."""

    lane: str
    messages: list[dict[str, object]]
    sampling: Sampling
    stream: bool
    include_usage: bool


def question_of(content: bytes, lanes: tuple[str, ...]) -> Question:
    """The question in a request's body.

    Raises:
        RequestError: it is none.
    """
    try:
        raw = msgspec.json.decode(content)
        body = msgspec.convert(raw, Body)
    except msgspec.DecodeError as error:
        raise RequestError(400, f"the body is no such request: {error}") from None
    for name in _NOT_SERVED:
        if raw.get(name):
            raise RequestError(400, f"{name} is not served here", param=name)
    if body.n not in (None, 1):
        raise RequestError(400, "one answer a request is served here", param="n")
    if (body.response_format or {}).get("type", "text") != "text":
        raise RequestError(400, "answers are text here", param="response_format")
    if body.model not in lanes:
        raise RequestError(
            404,
            f"the model `{body.model}` does not exist here; there are {', '.join(lanes)}",
            param="model",
            code="model_not_found",
        )
    if not body.messages:
        raise RequestError(400, "there are no messages", param="messages")
    return Question(
        lane=body.model,
        messages=[_message(number, each) for number, each in enumerate(body.messages)],
        sampling=_sampling(body),
        stream=body.stream,
        include_usage=bool((body.stream_options or {}).get("include_usage")),
    )


def _sampling(body: Body) -> Sampling:
    plain = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=_LONGEST)  # the API's defaults, not ours
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
        "max_new_tokens": limit,
        "seed": body.seed,
        "stop": None if body.stop is None else (body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
    }
    sampling = msgspec.structs.replace(plain, **{name: value for name, value in given.items() if value is not None})
    if fault := sampling.problem():
        name = "max_tokens" if fault[0] == "max_new_tokens" else fault[0]
        raise RequestError(400, f"{name} {fault[1]}", param=name)
    return sampling


def _message(number: int, message: dict[str, Any]) -> dict[str, object]:
    where = f"messages[{number}]"
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise RequestError(400, f"{where} has no role", param="messages")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise RequestError(400, f"{where} holds something else than text", param="messages")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise RequestError(400, f"{where} has no text", param="messages")
    return {**message, "role": "system" if role == "developer" else role, "content": content}


@dataclass(frozen=True, slots=True)
class Reply:
    """The documents of one answer."""

    id: str
    model: str
    created: int

    @classmethod
    def to(cls, number: int, model: str) -> "Reply":
        return cls(f"chatcmpl-{number}-{time.time_ns():x}", model, int(time.time()))

    def whole(self, done: Done) -> dict[str, Any]:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": done.text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish_reason(done),
        }
        return self._document("chat.completion", [choice]) | {"usage": usage(done)}

    def chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._document("chat.completion.chunk", [choice])

    def counted(self, done: Done) -> dict[str, Any]:
        """The chunk that a client gets last when it asked for usage."""
        return self._document("chat.completion.chunk", []) | {"usage": usage(done)}

    def _document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def finish_reason(done: Done) -> str:
    return "length" if done.reason == "length" else "stop"


def usage(done: Done) -> dict[str, Any]:
    prompt, completion = done.prompt_tokens or 0, done.completion_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    }


def models(lanes: tuple[str, ...], created: int) -> dict[str, Any]:
    data = [{"id": name, "object": "model", "created": created, "owned_by": "tuiwb"} for name in lanes]
    return {"object": "list", "data": data}
