"""The engine as a process: base and adapter on one loaded base, streaming, stopping, remembering, dying."""

import os
import queue
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapter import make_adapter

from tuiwb.chat.conversation import Conversation
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Died, Done, Event, Failed, Lane, Ready, Sampling, Token
from tuiwb.chat.session import Chat, ChatFault, answer_once
from tuiwb.chat.target import Target, target_of

pytestmark = pytest.mark.torch

GREEDY = Sampling(temperature=0.0, max_new_tokens=12)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def next_event(events: "queue.Queue[Event]", *kinds: type, timeout_s: float = 120) -> Event:
    """The next event of one of these kinds."""
    deadline = time.monotonic() + timeout_s
    while True:
        event = events.get(timeout=max(deadline - time.monotonic(), 0.01))
        if isinstance(event, kinds):
            return event
        assert not isinstance(event, Died), event.message


def answers(events: "queue.Queue[Event]", question: int, lanes: int) -> dict[str, Done]:
    found: dict[str, Done] = {}
    while len(found) < lanes:
        event = next_event(events, Done, Failed, Died)
        assert isinstance(event, Done), event
        if event.id == question:
            found[event.lane] = event
    return found


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Target:
    adapter = make_adapter(tmp_path_factory.mktemp("adapters") / "tuned", tiny_model)
    return target_of(str(adapter))


@pytest.fixture(scope="module")
def running(target: Target) -> Iterator[tuple[Engine, "queue.Queue[Event]"]]:
    events: queue.Queue[Event] = queue.Queue()
    with Engine(target.lanes, on_event=events.put, dtype="float32") as engine:
        next_event(events, Ready)
        yield engine, events


def test_an_adapter_gives_its_base_and_itself(target: Target) -> None:
    base, tuned = target.lanes
    assert (base.name, base.adapter) == ("base", None)
    assert tuned.name == "tuned"
    assert tuned.adapter is not None
    assert base.model == tuned.model
    assert 2 in base.stop_ids  # <|im_end|>


def test_the_socket_is_private(running: tuple[Engine, object]) -> None:
    folder = running[0].folder
    assert stat.S_IMODE((folder / "socket").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_side_by_side_says_what_each_says_alone(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    together = answers(events, engine.ask({"base": QUESTION, "tuned": QUESTION}, GREEDY), 2)
    base = answers(events, engine.ask({"base": QUESTION}, GREEDY), 1)
    tuned = answers(events, engine.ask({"tuned": QUESTION}, GREEDY), 1)
    assert together["base"].text == base["base"].text
    assert together["tuned"].text == tuned["tuned"].text
    assert base["base"].text != tuned["tuned"].text


def test_the_answer_is_that_of_transformers(running: tuple[Engine, "queue.Queue[Event]"], target: Target) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lane = target.best
    tokenizer = AutoTokenizer.from_pretrained(lane.model)
    assert lane.adapter is not None
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lane.model), lane.adapter).eval()
    inputs = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt")
    with torch.inference_mode():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    expected = tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    engine, events = running
    assert answers(events, engine.ask({"tuned": QUESTION}, GREEDY), 1)["tuned"].text == expected


def test_tokens_stream_and_join_to_the_answer(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    question = engine.ask({"base": QUESTION}, GREEDY)
    pieces: list[str] = []
    while not isinstance(event := next_event(events, Token, Done), Done):
        pieces.append(event.text)
    assert event.id == question
    assert "".join(pieces) == event.text
    assert event.completion_tokens == 12 or event.reason == "stop"


def test_turns_keep_what_was_computed_and_answer_the_same(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    talk = {"base": Conversation(), "tuned": Conversation()}
    for turn in range(4):
        talk = {name: each.asked(f"Question number {turn}?") for name, each in talk.items()}
        done = answers(events, engine.ask({name: each.messages() for name, each in talk.items()}, GREEDY), 2)
        for name, answer in done.items():
            if turn:
                assert answer.cached_tokens > before[name]  # noqa: F821
            talk[name] = talk[name].answered(answer.text, answer)
        before = {name: answer.cached_tokens for name, answer in done.items()}
    # The same last question without anything kept: another conversation in between pushed it out.
    answers(events, engine.ask({"base": QUESTION, "tuned": QUESTION}, GREEDY), 2)
    again = {name: each.without_last_answer().messages() for name, each in talk.items()}
    fresh = answers(events, engine.ask(again, GREEDY), 2)
    for name, answer in fresh.items():
        assert answer.cached_tokens < before[name]
        assert answer.text == talk[name].turns[-1].content


def test_a_seed_makes_sampling_repeatable(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running

    def ask(seed: int) -> str:
        sampling = Sampling(temperature=1.5, top_p=1.0, max_new_tokens=12, seed=seed)
        return answers(events, engine.ask({"base": QUESTION}, sampling), 1)["base"].text

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_stopping_ends_the_answer_with_what_there_is(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    question = engine.ask({"base": QUESTION}, Sampling(temperature=0.0, max_new_tokens=400, repetition_penalty=1.3))
    next_event(events, Token)
    engine.cancel(question)
    done = answers(events, question, 1)["base"]
    assert done.reason in ("cancel", "stop")
    assert done.completion_tokens < 400


def test_a_conversation_beyond_the_context_is_one_sentence(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    long = [{"role": "user", "content": "word " * 600}]
    engine.ask({"base": long}, GREEDY)
    failed = next_event(events, Failed)
    assert isinstance(failed, Failed)
    assert "the model's context" in failed.message
    assert answers(events, engine.ask({"base": QUESTION}, GREEDY), 1)["base"].completion_tokens > 0


def test_a_killed_engine_is_told_and_can_be_started_again(target: Target) -> None:
    chat = Chat(target)
    chat.sampling = GREEDY
    try:
        chat.say("What is the capital of France?")
        until(chat, lambda: chat.state == "ready")
        first = chat.lanes["tuned"].conversation
        assert first.turns[-1].role == "assistant"
        assert chat._engine is not None
        os.kill(chat._engine.pid, signal.SIGKILL)
        until(chat, lambda: chat.state == "dead")
        assert "signal 9" in chat.doing
        chat.say("And now?")
        until(chat, lambda: chat.state == "ready")
        assert len(chat.lanes["tuned"].conversation.turns) == 4
        assert chat.lanes["tuned"].conversation.turns[:2] == first.turns
    finally:
        chat.stop_engine()


def until(chat: Chat, condition: "object", timeout_s: float = 120) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, (chat.state, chat.doing)
        chat.drain()
        time.sleep(0.01)


def test_an_engine_ends_with_its_client(target: Target) -> None:
    events: queue.Queue[Event] = queue.Queue()
    engine = Engine(target.lanes, on_event=events.put)
    next_event(events, Ready)
    folder, pid = engine.folder, engine.pid
    assert engine._connection is not None
    engine._connection.shutdown(2)  # as the kernel does when the client is killed
    deadline = time.monotonic() + 30
    while engine.alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    engine.close()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_model_that_cannot_be_loaded_is_one_sentence(target: Target, tmp_path: Path, tiny_model: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    lane = Lane(name="x", model=str(broken), template=target.best.template, stop_ids=(2,))
    with pytest.raises(ChatFault) as caught:
        answer_once(Target("broken", (lane,)), "Hello?", names=("x",))
    assert "\n" not in str(caught.value)
