"""An answer from an endpoint, piece by piece: whole, half, or a sentence that says why there is none."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from tuiwb.base.text import gate_line
from tuiwb.endpoints.answer import Collected, End, Piece, Thought
from tuiwb.endpoints.faults import EndpointFault, EndpointRefusal, refusal, unreachable, what_it_sent
from tuiwb.endpoints.keys import key_of
from tuiwb.endpoints.profile import Endpoint
from tuiwb.endpoints.sse import Events, TooLongError

if TYPE_CHECKING:
    import ssl

    import httpx2

_CONNECT_S = 10.0
_LONGEST_ERROR = 64 << 10
_LONGEST_WAIT_S = 30.0
_GATHER_S = 0.02
"""Servers send each token by itself, and to read a hundred a second one by one costs more than to show them."""
_RENAMED = {"max_tokens": "max_completion_tokens", "stream_options": ""}
"""Fields that some services refuse, and what they want instead: newer models of one take the limit under another name,
and some that stream know no options of it. Their refusal names the field."""


async def stream(
    endpoint: Endpoint, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
) -> AsyncGenerator[Piece | Thought | End]:
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
            while True:
                try:
                    async with contextlib.aclosing(_answer(client, endpoint, key, body)) as events:
                        async for event in events:
                            yield event
                    return
                except EndpointRefusal as fault:
                    if not _with_other_names(body, fault):
                        raise
        except httpx2.HTTPError as error:
            raise unreachable(endpoint, error, key) from None


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
                raise unreachable(endpoint, error, key) from None

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
        raise EndpointRefusal(f"{endpoint.name} names no model that it serves: name one")
    shown = ", ".join(gate_line(name, 40) for name in names[:5])
    raise EndpointRefusal(f"{endpoint.name} serves {len(names)} models, such as {shown}: name one of them")


async def _models(client: "httpx2.AsyncClient", endpoint: Endpoint, key: str) -> list[str]:
    response = await client.get(f"{endpoint.base}/models")
    if response.status_code != 200:
        raise refusal(endpoint, response, response.content, key)
    try:
        return [str(each["id"]) for each in response.json()["data"] or ()]  # Ollama without a model says null
    except (ValueError, KeyError, TypeError):
        raise EndpointFault(f"{endpoint.name} {what_it_sent(response)} instead of a list of models") from None


async def _answer(
    client: "httpx2.AsyncClient", endpoint: Endpoint, key: str, body: dict[str, Any]
) -> AsyncGenerator[Piece | Thought | End]:
    started = time.monotonic()
    async with client.stream("POST", f"{endpoint.base}/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise refusal(endpoint, response, await _start_of(response), key)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        collected = Collected(endpoint, key, started)
        if kind == "application/json":
            # A server that does not stream: the answer comes as one piece.
            try:
                piece = collected.take(json.loads(await response.aread()))
            except ValueError:
                raise EndpointFault(f"{endpoint.name} sent a broken JSON document") from None
            if piece is not None:
                yield piece
            yield collected.end()
            return
        if kind != "text/event-stream":
            raise EndpointFault(
                f"{endpoint.name} {what_it_sent(response)} instead of an answer: is {endpoint.base} right?"
            )
        events = Events()
        try:
            async for block in response.aiter_bytes():
                for data in events.feed(block):
                    if data.strip() == "[DONE]":
                        yield collected.end()
                        return
                    if (piece := collected.read(data)) is not None:
                        yield piece
                if collected.begun:
                    await asyncio.sleep(_GATHER_S)
        except TooLongError:
            raise EndpointFault(f"{endpoint.name} sent a line that does not end") from None
        if collected.reason is None or events.unfinished:
            raise EndpointFault(f"{endpoint.name} broke off in the middle of the answer")
        yield collected.end()  # some servers leave [DONE] out


def _with_other_names(body: dict[str, Any], fault: EndpointRefusal) -> bool:
    """Whether the request can be asked in another way, in which it is then: a field that was refused has another name,
    or is left out."""
    for name, other in _RENAMED.items():
        if fault.status in (400, 422) and name in body and (other or name) in str(fault):
            value = body.pop(name)
            if other:
                body[other] = value
            return True
    return False


async def _start_of(response: "httpx2.Response") -> bytes:
    start = bytearray()
    async for block in response.aiter_bytes():
        start += block
        if len(start) > _LONGEST_ERROR:
            break
    return bytes(start[:_LONGEST_ERROR])
