"""Endpoints in a chat: beside our engine, stopped, broken off."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
from fake_server import DONE, USAGE, Request, event, serving

from tuiwb.chat.once import answer_once
from tuiwb.chat.protocol import EndpointLane, Sampling
from tuiwb.chat.session import Chat
from tuiwb.chat.target import Target, target_of
from tuiwb.endpoints import Endpoint


def target(*urls: str) -> Target:
    lanes = [
        EndpointLane(name=f"e{number}", endpoint=Endpoint(name=f"e{number}", url=url, model="m", context=100))
        for number, url in enumerate(urls)
    ]
    return Target("them", tuple(lanes))


def until(chat: Chat, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, chat.state
        chat.drain()
        time.sleep(0.005)


def echo(request: Request) -> None:
    said = request.body["messages"][-1]["content"]
    request.stream(event("You said "), event(said), event(finish="stop"), USAGE, DONE)


def test_an_endpoint_answers_in_a_lane() -> None:
    with serving(echo) as server:
        chat = Chat(target(server.url))
        chat.sampling = Sampling(temperature=0.0, max_new_tokens=9, top_k=3, stop=("x",))
        chat.say("one")
        until(chat, lambda: chat.state == "ready")
        chat.say("two")
        until(chat, lambda: chat.state == "ready" and not chat.answering)
        chat.stop_engine()
    turns = chat.lanes["e0"].conversation.turns
    assert [turn.content for turn in turns] == ["one", "You said one", "two", "You said two"]
    usage = turns[-1].usage
    assert usage is not None
    assert (usage.reason, usage.prompt_tokens, usage.completion_tokens, usage.context_left) == ("stop", 7, 2, 91)
    body = server.requests[-1].body
    assert (body["max_tokens"], body["top_k"], body["stop"]) == (9, 3, ["x"])
    assert "min_p" not in body
    assert len(body["messages"]) == 3


def test_two_endpoints_side_by_side_and_one_breaks_off() -> None:
    with serving(echo) as good, serving(lambda request: request.stream(event("Half an ans"))) as bad:
        chat = Chat(target(good.url, bad.url))
        chat.say("hello")
        until(chat, lambda: chat.state == "ready" and not chat.answering)
        chat.stop_engine()
    assert chat.lanes["e0"].conversation.turns[-1].content == "You said hello"
    broken = chat.lanes["e1"]
    assert broken.conversation.turns[-1].content == "Half an ans"
    assert broken.conversation.turns[-1].usage is None
    assert "broke off in the middle" in broken.problem


def test_stopping_closes_the_request_and_keeps_what_came() -> None:
    closed = threading.Event()

    def script(request: Request) -> None:
        request.stream(event("So far"))
        while request.connection.recv(1000):
            pass
        closed.set()

    with serving(script) as server:
        chat = Chat(target(server.url))
        chat.say("hello")
        until(chat, lambda: chat.lanes["e0"].partial == "So far")
        chat.cancel()
        until(chat, lambda: chat.state == "ready")
        assert closed.wait(30)
        chat.stop_engine()
    last = chat.lanes["e0"].conversation.turns[-1]
    assert last.content == "So far"
    assert last.usage is not None
    assert last.usage.reason == "cancel"


def test_an_address_is_somebody_to_talk_to(tiny_model: Path) -> None:
    with serving(echo) as server:
        found = target_of(f"{server.url}#m")
        name = found.best.name
        assert answer_once(found, "hi", names=(name,))[name].text == "You said hi"
    assert target_of(str(tiny_model)).best.name == "tiny"


@pytest.mark.parametrize("turn", [0, 2])
def test_an_edited_question_is_asked_again_and_the_past_is_a_branch(turn: int) -> None:
    with serving(echo) as server:
        chat = Chat(target(server.url))
        for text in ("one", "two"):
            chat.say(text)
            until(chat, lambda: chat.state == "ready" and not chat.answering)
        before = chat.lanes["e0"].conversation
        chat.edit(turn, "new")
        until(chat, lambda: chat.state == "ready" and not chat.answering)
        chat.stop_engine()
    texts = [turn.content for turn in chat.lanes["e0"].conversation.turns]
    assert texts == [each.content for each in before.turns[:turn]] + ["new", "You said new"]
    after = chat.lanes["e0"].conversation
    chat.branch(0)
    assert chat.lanes["e0"].conversation == before
    assert chat.branches == [{"e0": after}]


def test_a_template_that_does_not_fit_is_told(tiny_model: Path) -> None:
    assert target_of(str(tiny_model)).warnings == ()
    (warning,) = target_of(str(tiny_model), template="llama-3").warnings
    assert "the template does not fit tiny: it writes <|start_header_id|>" in warning


def test_a_connection_is_closed_before_the_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is told at its end; what comes after it is the server's end of the connection."""
    import asyncio
    import queue
    from collections.abc import AsyncIterator

    from tuiwb import endpoints
    from tuiwb.chat.protocol import Done, Event
    from tuiwb.chat.remote import Remote

    closed: list[bool] = []

    async def stream(*_: object) -> AsyncIterator[endpoints.End]:
        yield endpoints.End("yes", "", "stop", "m", 1, None, 1, 0.1, 0.2)
        try:
            await asyncio.sleep(600)
        finally:
            closed.append(True)

    monkeypatch.setattr(endpoints, "stream", stream, raising=False)
    events: queue.Queue[Event] = queue.Queue()
    lane = EndpointLane(name="far", endpoint=Endpoint(name="far", url="http://127.0.0.1:1/v1"))
    remote = Remote([lane], on_event=events.put)
    remote.ask(1, {"far": []}, Sampling())
    assert isinstance(events.get(timeout=60), Done)
    remote.cancel(1)  # another lane may still be answering
    remote.close()
    assert closed == [True]
    assert events.empty()
