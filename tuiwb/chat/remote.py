"""Lanes that endpoints answer: the same events as the engine gives, from requests over the network.

One thread runs all of them. A request that is cancelled is closed, which ends the generation on the servers that
notice.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tuiwb import endpoints
from tuiwb.base.errors import TuiwbError
from tuiwb.base.log import log_bug
from tuiwb.chat.protocol import Done, EndpointLane, Event, Failed, Sampling, Thinking, Token
from tuiwb.endpoints import End, Endpoint, Thought

_REASONS = {"stop": "stop", "length": "length"}


class Remote:
    """See the top of this file.

    Args:
        lanes: those that can be asked.
        on_event: called with every event on a thread of ours.
    """

    def __init__(self, lanes: Sequence[EndpointLane], *, on_event: Callable[[Event], None]) -> None:
        self._endpoints = {lane.name: lane.endpoint for lane in lanes}
        self._on_event = on_event
        self._tasks: dict[int, list[asyncio.Task[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat-endpoints", daemon=True)
        self._thread.start()

    def add_lane(self, lane: EndpointLane) -> None:
        self._endpoints[lane.name] = lane.endpoint

    def ask(self, question: int, conversations: dict[str, list[dict[str, object]]], sampling: Sampling) -> None:
        """Ask each lane with its own messages; the answers carry `question`."""

        async def begin() -> None:
            tasks = self._tasks.setdefault(question, [])
            for name, messages in conversations.items():
                tasks.append(asyncio.create_task(self._answer(question, name, messages, sampling)))

        self._run(begin())

    def cancel(self, question: int) -> None:
        """End the answers to a question with what there is."""

        async def end() -> None:
            for task in self._tasks.get(question, ()):
                task.cancel()

        self._run(end())

    def close(self) -> None:
        """End every request. Nothing is said any more."""

        async def end() -> None:
            running = [task for tasks in self._tasks.values() for task in tasks]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._loop.stop()

        if self._thread.is_alive():
            self._on_event = _nobody
            self._run(end())
            self._thread.join(5)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _answer(self, question: int, lane: str, messages: list[dict[str, object]], sampling: Sampling) -> None:
        started, pieces = time.monotonic(), list[str]()
        first, thought, ended = 0.0, 0, False
        try:
            async for event in endpoints.stream(self._endpoints[lane], messages, parameters(sampling)):
                if isinstance(event, End):
                    self._on_event(done(question, lane, self._endpoints[lane], event))
                    ended = True
                    continue  # it closes its connection, which nobody would wait for
                first = first or time.monotonic() - started
                if isinstance(event, Thought):
                    thought += len(event.text)
                    self._on_event(Thinking(id=question, lane=lane, characters=thought))
                    continue
                pieces.append(event.text)
                self._on_event(Token(id=question, lane=lane, text=event.text))
        except asyncio.CancelledError:
            if not ended:
                self._on_event(_cut(question, lane, "".join(pieces), first))
        except TuiwbError as error:
            self._on_event(Failed(id=question, lane=lane, message=str(error), exit_code=error.exit_code))
        except Exception as error:
            place = log_bug(error)
            self._on_event(Failed(id=question, lane=lane, message=f"a bug in tuiwb; details are in {place}"))


def parameters(sampling: Sampling) -> dict[str, Any]:
    """The settings as a request has them. Those beyond the official ones are sent only when they were changed: vLLM,
    llama.cpp and Ollama know them, others refuse what they do not know."""
    wanted: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
    }
    if sampling.seed is not None:
        wanted["seed"] = sampling.seed
    if sampling.stop:
        wanted["stop"] = list(sampling.stop)
    plain = Sampling()
    for name in ("top_k", "min_p", "repetition_penalty"):
        if (value := getattr(sampling, name)) != getattr(plain, name):
            wanted[name] = value
    return wanted


def done(question: int, lane: str, endpoint: Endpoint, end: End) -> Done:
    """The end of an answer as the engine would say it."""
    spent, count = end.last_s - end.first_s, end.completion_tokens
    used = None if end.prompt_tokens is None or count is None else end.prompt_tokens + count
    return Done(
        id=question,
        lane=lane,
        reason=_REASONS.get(end.reason, end.reason[:40]),
        text=end.text,
        prompt_tokens=end.prompt_tokens,
        cached_tokens=end.cached_tokens or 0,
        completion_tokens=count,
        first_token_s=end.first_s,
        tokens_per_s=(count - 1) / spent if count is not None and count > 1 and spent > 0 else None,
        context_left=None if endpoint.context is None or used is None else endpoint.context - used,
        thoughts=end.thoughts,
    )


def _cut(question: int, lane: str, text: str, first_s: float) -> Done:
    return Done(
        id=question,
        lane=lane,
        reason="cancel",
        text=text,
        prompt_tokens=None,
        cached_tokens=0,
        completion_tokens=None,
        first_token_s=first_s,
        tokens_per_s=None,
        context_left=None,
    )


def _nobody(event: Event) -> None:
    """Takes the events of a chat that is closed."""
