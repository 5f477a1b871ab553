"""The engine for GGUF files: which specs it takes, its events with a stand-in for llama.cpp, and llama.cpp itself where
the extra `llama` is installed, against torch on the same file."""

import importlib.util
import json
import queue
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from gguf_files import write_from

from tuiwb import hardware
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import AddLane, Ask, Died, Done, Failed, Lane, LaneAsk, Ready, Sampling, Spec, Token
from tuiwb.chat.target import target_of
from tuiwb.workers import chat_llama

QUESTION = [{"role": "user", "content": "Who are you?"}]


class Server:
    """Answers with the number of prompt tokens; "endless" in the request's stop texts goes on until it is cancelled."""

    def __init__(self, parameters: Any) -> None:
        assert parameters.hostnames[0].endswith(".sock")
        assert parameters.api_keys
        self.asked: list[dict[str, Any]] = []

    def handle_completions(self, request: dict[str, Any], take: Any) -> None:
        self.asked.append(request)
        if "refuse" in request["stop"]:
            take(json.dumps({"error": {"message": "no such sampler"}}))
            return
        for word in [str(len(request["prompt"])), " tokens"]:
            take(json.dumps({"choices": [{"text": word, "finish_reason": None}]}))
        while "endless" in request["stop"]:
            if take({"choices": [{"text": ".", "finish_reason": None}]}):
                return
        take({"choices": [{"text": "", "finish_reason": "stop"}]})
        take({"choices": [], "usage": {"completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}})


@pytest.fixture
def lane(tiny_model: Path) -> Lane:
    found = target_of(str(tiny_model)).best
    assert isinstance(found, Lane)
    return found


@pytest.fixture
def engine(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The engine's requests and events."""
    new = lambda: SimpleNamespace(model=SimpleNamespace(path=""), cpuparams=SimpleNamespace(n_threads=0))  # noqa: E731
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(CommonParams=new, Server=Server))
    events: queue.Queue[Any] = queue.Queue()
    link: Any = SimpleNamespace(requests=queue.Queue(), cancelled=set(), send=events.put)
    made = chat_llama.LlamaEngine(Spec(socket="", lanes=(lane,)), link, tmp_path)
    threading.Thread(target=made.run, daemon=True).start()

    def until(*kinds: type) -> Any:
        while not isinstance(event := events.get(timeout=60), kinds):
            pass
        return event

    ready = until(Ready, Failed)
    assert ready.lanes == (lane.name,)
    return SimpleNamespace(link=link, until=until)


def ask(engine: Any, lane: Lane, number: int, *stop: str, limit: int = 50) -> None:
    sampling = Sampling(temperature=0.0, max_new_tokens=limit, stop=stop)
    engine.link.requests.put(Ask(id=number, lanes=(LaneAsk(lane=lane.name, messages=QUESTION),), sampling=sampling))


def test_gguf_files_alone_are_taken(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    file = msgspec.structs.replace(lane, model="/m/a.gguf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(hardware, "gpus", list, raising=False)
    assert chat_llama.suits(Spec(socket="", lanes=(file,)))
    assert not chat_llama.suits(Spec(socket="", lanes=(file, lane)))
    assert not chat_llama.suits(Spec(socket="", lanes=(file,), draft="/m/b.gguf"))
    assert not chat_llama.suits(Spec(socket="", lanes=(msgspec.structs.replace(file, adapter="/a"),)))
    assert not chat_llama.suits(Spec(socket="", lanes=(file,), dtype="float32"))
    monkeypatch.setattr(hardware, "gpus", lambda: [SimpleNamespace(visible=True)], raising=False)
    for kind, suits in (("GGML_BACKEND_DEVICE_TYPE_CPU", False), ("GGML_BACKEND_DEVICE_TYPE_GPU", True)):
        wheel = SimpleNamespace(get_device_info=lambda kind=kind: [{"type": kind}])
        monkeypatch.setitem(sys.modules, "xllamacpp", wheel)
        assert chat_llama.suits(Spec(socket="", lanes=(file,))) is suits
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not chat_llama.suits(Spec(socket="", lanes=(file,)))


def test_an_answer_streams_with_its_usage(engine: Any, lane: Lane) -> None:
    ask(engine, lane, 1)
    first, done = engine.until(Token), engine.until(Done, Failed)
    assert (done.reason, done.text, done.completion_tokens, done.cached_tokens) == (
        "stop",
        f"{first.text} tokens",
        2,
        3,
    )
    assert str(done.prompt_tokens) == first.text


def test_what_is_cancelled_ends_with_what_there_is(engine: Any, lane: Lane) -> None:
    ask(engine, lane, 2, "endless")
    engine.until(Token)
    engine.link.cancelled.add(2)
    done = engine.until(Done, Failed)
    assert done.reason == "cancel"
    assert " tokens" in done.text


def test_what_llama_cpp_refuses_is_one_sentence(engine: Any, lane: Lane) -> None:
    ask(engine, lane, 3, "refuse")
    assert engine.until(Done, Failed).message == "no such sampler"


def test_another_kind_of_model_cannot_be_added(engine: Any, lane: Lane) -> None:
    engine.link.requests.put(AddLane(id=4, lane=msgspec.structs.replace(lane, name="other")))
    assert engine.until(Failed, Ready).message.startswith("llama.cpp answers here: start the engine again")


# llama.cpp itself


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Lane:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install 'tuiwb[llama]'")
    found = target_of(str(write_from(tiny_model, tmp_path_factory.mktemp("gguf") / "tiny-F32.gguf"))).best
    assert isinstance(found, Lane)
    return found


def until(events: "queue.Queue[Any]", *kinds: type) -> Any:
    while not isinstance(event := events.get(timeout=600), kinds):
        assert not isinstance(event, Died), event.message
    return event


def test_llama_cpp_answers_as_torch_does(whole: Lane) -> None:
    """One file, weights in float32: greedy answers are the same, turn after turn, from kept keys and values."""
    asked = [f"What is the capital of France{'?' * number}" for number in range(4)]
    sampling = Sampling(temperature=0.0, max_new_tokens=12)
    told: dict[str, list[Done]] = {}
    for dtype, device in (("auto", "llama.cpp"), ("float32", "cpu")):
        events: queue.Queue[Any] = queue.Queue()
        messages: list[dict[str, object]] = []
        with Engine((whole,), on_event=events.put, dtype=dtype) as engine:
            assert until(events, Ready).device == device
            for question in asked:
                messages.append({"role": "user", "content": question})
                engine.ask({whole.name: messages}, sampling)
                done = until(events, Done, Failed)
                assert isinstance(done, Done), done
                told.setdefault(device, []).append(done)
                messages.append({"role": "assistant", "content": done.text})
    ours, theirs = told["cpu"], told["llama.cpp"]
    assert [done.text for done in theirs] == [done.text for done in ours]
    assert [done.prompt_tokens for done in theirs] == [done.prompt_tokens for done in ours]
    assert [done.reason for done in theirs] == [done.reason for done in ours]
    assert all(done.cached_tokens > 0.5 * (before.prompt_tokens or 0) for before, done in pairwise(theirs))


def test_llama_cpp_stops_streams_and_is_cancelled(whole: Lane) -> None:
    events: queue.Queue[Any] = queue.Queue()
    with Engine((whole,), on_event=events.put) as engine:
        until(events, Ready)
        engine.ask({whole.name: QUESTION}, Sampling(temperature=0.0, max_new_tokens=12))
        pieces = []
        while not isinstance(event := until(events, Token, Done), Done):
            pieces.append(event.text)
        assert "".join(pieces) == event.text
        assert len(pieces) > 2
        stop = event.text[4:7]
        engine.ask({whole.name: QUESTION}, Sampling(temperature=0.0, max_new_tokens=12, stop=(stop,)))
        stopped = until(events, Done)
        assert stopped.text == event.text[: event.text.index(stop)]
        assert stopped.reason == "stop"
        long = engine.ask({whole.name: QUESTION}, Sampling(temperature=2.0, top_p=1.0, max_new_tokens=400))
        until(events, Token)
        engine.cancel(long)
        assert until(events, Done).reason in ("cancel", "stop")
        engine.ask({whole.name: [{"role": "user", "content": "word " * 600}]}, Sampling())
        assert "start a new one" in until(events, Failed, Done).message
        several = [{"role": "user", "content": f"Number {number}?"} for number in range(5)]
        for message in several:  # more than are answered at once
            engine.ask({whole.name: [message]}, Sampling(temperature=0.0, max_new_tokens=6))
        assert {until(events, Done).id for _ in several} == {long + 2 + number for number in range(5)}
