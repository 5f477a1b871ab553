"""An answer from an endpoint, piece by piece, and every way in which one can go wrong, in one sentence each."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import EnvironmentFault
from tuiwb.base.text import gate_line
from tuiwb.endpoints.keys import key_of
from tuiwb.endpoints.profile import Endpoint, profiles
from tuiwb.endpoints.sse import Events, TooLongError

if TYPE_CHECKING:
    import ssl

    import httpx2

_CONNECT_S = 10.0
_LONGEST_ERROR = 64 << 10
_LONGEST_WAIT_S = 30.0
_GATHER_S = 0.02
"""Servers send each token by itself, and to read a hundred a second one by one costs more than to show them."""


class EndpointFault(EnvironmentFault):
    """An endpoint could not answer.

    Attributes:
        status: of its HTTP answer, if there was one.
        wait_s: after which it wants to be asked again, where it said so.
    """

    def __init__(self, message: str, *, status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait_s = status, wait_s


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The end of an answer: the last thing that a stream gives.

    Attributes:
        text: the whole answer.
        reason: `stop`, `length`, or what else the server says.
        prompt_tokens, cached_tokens, completion_tokens: as the server counted; None where it did not say.
        first_s, last_s: seconds from the request to the first and to the last piece.
    """

    text: str
    reason: str
    model: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    first_s: float
    last_s: float


async def stream(
    endpoint: Endpoint, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
) -> AsyncIterator[Piece | End]:
    """Ask for an answer. Cancelling the task that reads it ends the request.

    Args:
        parameters: further fields of the request: `temperature`, `max_tokens`, `stop`, `seed` …

    Raises:
        EndpointFault: it cannot be reached, refuses, or breaks off. What came before was yielded.
        InputFault: its key cannot be used.
    """
    import httpx2

    key = key_of(endpoint)
    async with _client(endpoint, key) as client:
        try:
            model = endpoint.model or await _only_model(client, endpoint, key)
            body = {
                "model": model,
                "messages": list(messages),
                "stream": True,
                "stream_options": {"include_usage": True},
                **parameters,
            }
            try:
                async for event in _answer(client, endpoint, key, body):
                    yield event
            except EndpointFault as fault:
                # Newer models of one service take the limit under another name, and say so.
                if fault.status != 400 or "max_completion_tokens" not in str(fault) or "max_tokens" not in body:
                    raise
                body["max_completion_tokens"] = body.pop("max_tokens")
                async for event in _answer(client, endpoint, key, body):
                    yield event
        except httpx2.HTTPError as error:
            raise _unreachable(endpoint, error, key) from None


def complete(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    *,
    tries: int = 3,
) -> End:
    """One whole answer. A busy server (429, 503) is asked again after the time that it names, at most half a minute.

    Raises:
        EndpointFault, InputFault: as `stream`.
    """

    async def whole() -> End:
        end: End | None = None
        async for event in stream(endpoint, messages, parameters):
            if isinstance(event, End):
                end = event
        assert end is not None  # a stream without an end raises
        return end

    for left in reversed(range(tries)):
        try:
            return asyncio.run(whole())
        except EndpointFault as fault:
            if fault.status not in (429, 503) or not left:
                raise
            time.sleep(min(fault.wait_s or 2.0 ** (tries - left), _LONGEST_WAIT_S))
    raise AssertionError("unreachable")


def models_of(endpoint: Endpoint) -> list[str]:
    """The models that it serves.

    Raises:
        EndpointFault, InputFault: as `stream`.
    """
    import httpx2

    async def ask() -> list[str]:
        key = key_of(endpoint)
        async with _client(endpoint, key) as client:
            try:
                return await _models(client, endpoint, key)
            except httpx2.HTTPError as error:
                raise _unreachable(endpoint, error, key) from None

    return asyncio.run(ask())


def _client(endpoint: Endpoint, key: str) -> "httpx2.AsyncClient":
    import httpx2

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Proxies and netrc of the environment would hand a local conversation, or a key, to somebody else.
    trusted = _trusted(endpoint.base.startswith("https:"), not endpoint.local)
    transport = httpx2.AsyncHTTPTransport(uds=endpoint.socket, verify=trusted) if endpoint.socket else None
    return httpx2.AsyncClient(
        headers=headers,
        transport=transport,
        verify=trusted,
        timeout=httpx2.Timeout(endpoint.timeout_s, connect=min(_CONNECT_S, endpoint.timeout_s)),
        follow_redirects=False,
        trust_env=not endpoint.local,
    )


@cache
def _trusted(encrypted: bool, trust_env: bool) -> "ssl.SSLContext":
    """Whose certificates are taken, read once: that takes a third of a second of each question, and nothing needs it
    where nothing is encrypted."""
    import ssl

    import httpx2

    return httpx2.create_ssl_context(trust_env=trust_env) if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _only_model(client: "httpx2.AsyncClient", endpoint: Endpoint, key: str) -> str:
    names = await _models(client, endpoint, key)
    if len(names) == 1:
        return names[0]
    if not names:
        raise EndpointFault(f"{endpoint.name} names no model that it serves: name one")
    shown = ", ".join(gate_line(name, 40) for name in names[:5])
    raise EndpointFault(f"{endpoint.name} serves {len(names)} models, such as {shown}: name one of them")


async def _models(client: "httpx2.AsyncClient", endpoint: Endpoint, key: str) -> list[str]:
    response = await client.get(f"{endpoint.base}/models")
    if response.status_code != 200:
        raise _refusal(endpoint, response, response.content, key)
    try:
        return [str(each["id"]) for each in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise EndpointFault(f"{endpoint.name} {_what_it_sent(response)} instead of a list of models") from None


async def _answer(
    client: "httpx2.AsyncClient", endpoint: Endpoint, key: str, body: dict[str, Any]
) -> AsyncIterator[Piece | End]:
    started = time.monotonic()
    async with client.stream("POST", f"{endpoint.base}/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise _refusal(endpoint, response, await _start_of(response), key)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        collected = _Collected(endpoint, key, started)
        if kind == "application/json":
            # A server that does not stream: the answer comes as one piece.
            try:
                piece = collected.take(json.loads(await response.aread()))
            except ValueError:
                raise EndpointFault(f"{endpoint.name} sent a broken JSON document") from None
            if piece:
                yield Piece(piece)
            yield collected.end()
            return
        if kind != "text/event-stream":
            raise EndpointFault(
                f"{endpoint.name} {_what_it_sent(response)} instead of an answer: is {endpoint.base} right?"
            )
        events = Events()
        try:
            async for block in response.aiter_bytes():
                for data in events.feed(block):
                    if data.strip() == "[DONE]":
                        yield collected.end()
                        return
                    if piece := collected.read(data):
                        yield Piece(piece)
                if collected.begun:
                    await asyncio.sleep(_GATHER_S)
        except TooLongError:
            raise EndpointFault(f"{endpoint.name} sent a line that does not end") from None
        if collected.reason is None or events.unfinished:
            raise EndpointFault(f"{endpoint.name} broke off in the middle of the answer")
        yield collected.end()  # some servers leave [DONE] out


class _Collected:
    """What has come of an answer."""

    def __init__(self, endpoint: Endpoint, key: str, started: float) -> None:
        self._endpoint, self._key, self._started = endpoint, key, started
        self._pieces: list[str] = []
        self._model = endpoint.model
        self._usage: dict[str, Any] = {}
        self._first_s = self._last_s = 0.0
        self.reason: str | None = None

    def read(self, data: str) -> str:
        try:
            document = json.loads(data)
        except ValueError:
            raise EndpointFault(f"{self._endpoint.name} sent an event that is no JSON") from None
        return self.take(document)

    def take(self, document: Any) -> str:
        """The text that a document adds to the answer."""
        if not isinstance(document, dict):
            raise EndpointFault(f"{self._endpoint.name} sent an event that is no answer")
        if error := document.get("error"):
            raise EndpointFault(f"{self._endpoint.name} says: {_words(error, self._key)}")
        if isinstance(usage := document.get("usage"), dict):
            self._usage = usage
        self._model = str(document.get("model") or self._model)
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        said = choice.get("delta") or choice.get("message") or {}
        text = said.get("content") if isinstance(said, dict) else None
        if choice.get("finish_reason"):
            self.reason = str(choice["finish_reason"])
        if not isinstance(text, str) or not text:
            return ""
        self._last_s = time.monotonic() - self._started
        if not self._pieces:
            self._first_s = self._last_s
        self._pieces.append(text)
        return text

    @property
    def begun(self) -> bool:
        """Whether there is any text."""
        return bool(self._pieces)

    def end(self) -> End:
        details = self._usage.get("prompt_tokens_details")
        return End(
            text="".join(self._pieces),
            reason=self.reason or "stop",
            model=self._model,
            prompt_tokens=_count(self._usage.get("prompt_tokens")),
            cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
            completion_tokens=_count(self._usage.get("completion_tokens")),
            first_s=self._first_s,
            last_s=self._last_s,
        )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


async def _start_of(response: "httpx2.Response") -> bytes:
    start = bytearray()
    async for block in response.aiter_bytes():
        start += block
        if len(start) > _LONGEST_ERROR:
            break
    return bytes(start[:_LONGEST_ERROR])


def _refusal(endpoint: Endpoint, response: "httpx2.Response", content: bytes, key: str) -> EndpointFault:
    """The fault behind an HTTP status other than 200."""
    status, name = response.status_code, endpoint.name
    try:
        document = json.loads(content)
        said = _words(document.get("error") or document.get("detail") or document, key)
    except (ValueError, AttributeError):
        said = ""
    behind = f": {said}" if said else ""
    match status:
        case 401 | 403:
            return EndpointFault(f"{name} refuses the key ({status}): {_where_to_set_it(endpoint)}", status=status)
        case 404:
            return EndpointFault(
                f"{name} knows no such model or address ({status}){behind or f': is {endpoint.base} right?'}",
                status=status,
            )
        case 429:
            wait = _seconds(response.headers.get("retry-after"))
            when = "" if wait is None else f": it wants {wait:.0f} s of rest"
            return EndpointFault(f"{name} is asked too often (429){when or behind}", status=status, wait_s=wait)
        case _ if 300 <= status < 400:
            return EndpointFault(f"{name} points elsewhere ({status}), which is not followed with a key", status=status)
        case _:
            wait = _seconds(response.headers.get("retry-after"))
            return EndpointFault(f"{name} could not answer ({status}){behind}", status=status, wait_s=wait)


def _where_to_set_it(endpoint: Endpoint) -> str:
    if endpoint.key_env:
        return f"set it with the variable {endpoint.key_env}"
    if endpoint.name in profiles():
        return f"set it with `tuiwb endpoints key {endpoint.name}`"
    return "keys belong to profiles: `tuiwb endpoints add NAME URL`, then `tuiwb endpoints key NAME`"


def _unreachable(endpoint: Endpoint, error: "httpx2.HTTPError", key: str) -> EndpointFault:
    import httpx2

    name = endpoint.name
    where = "" if name == endpoint.place else f" at {endpoint.place}"
    if isinstance(error, httpx2.ConnectTimeout):
        return EndpointFault(f"{name} cannot be reached{where}: nobody answers there")
    if isinstance(error, httpx2.TimeoutException):
        return EndpointFault(f"{name} has said nothing for {endpoint.timeout_s:g} s and was given up")
    if isinstance(error, httpx2.ConnectError):
        return EndpointFault(f"{name} cannot be reached{where}: {_words(str(error), key)}")
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return EndpointFault(f"{name} broke off in the middle of the answer")
    return EndpointFault(f"{name} cannot be asked: {_words(str(error) or type(error).__name__, key)}")


def _what_it_sent(response: "httpx2.Response") -> str:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "sent an HTML page" if "html" in kind else f"sent {gate_line(kind, 40) or 'something without a type'}"


def _words(said: object, key: str) -> str:
    """What a server said, in one line without the key."""
    text = said.get("message") or json.dumps(said) if isinstance(said, dict) else said
    text = " ".join(str(text).split())
    return gate_line(text.replace(key, "…") if key else text, 200)


def _seconds(text: str | None) -> float | None:
    try:
        return max(float(text), 0.0) if text else None
    except ValueError:
        return None  # a date: nobody who streams answers sends one
