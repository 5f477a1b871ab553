"""The engine as a process: base and adapter on one loaded base, streaming, stopping, remembering, dying."""

import os
import queue
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from adapter import make_adapter

from tuiwb.chat.conversation import Conversation
from tuiwb.chat.engine import Engine
from tuiwb.chat.once import Broken, answer_once
from tuiwb.chat.protocol import Died, Done, Event, Failed, Lane, Ready, Sampling, Token
from tuiwb.chat.session import Chat
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
    with Engine(target.lanes, on_event=events.put, dtype="float32", kept=2) as engine:
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
    # Another conversation in between takes nothing from it; as many as are kept push it out.
    for other in range(3):
        asked = [{"role": "user", "content": f"{other} is another number."}]
        answers(events, engine.ask({"base": asked, "tuned": asked}, GREEDY), 2)
        if not other:
            here = talk["base"].asked("Still there?")
            still = answers(events, engine.ask({"base": here.messages()}, GREEDY), 1)["base"]
            assert still.cached_tokens > before["base"]
    again = {name: each.without_last_answer().messages() for name, each in talk.items()}
    fresh = answers(events, engine.ask(again, GREEDY), 2)
    for name, answer in fresh.items():
        assert answer.cached_tokens < before[name]
        assert answer.text == talk[name].turns[-1].content


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    whole = answers(events, engine.ask({"base": QUESTION}, GREEDY), 1)["base"]
    stop = whole.text[4:7]
    sampling = Sampling(temperature=0.0, max_new_tokens=12, stop=("never", stop))
    engine.ask({"base": QUESTION}, sampling)
    pieces: list[str] = []
    while not isinstance(event := next_event(events, Token, Done), Done):
        pieces.append(event.text)
    assert event.text == whole.text[: whole.text.index(stop)]
    assert "".join(pieces) == event.text
    assert event.reason == "stop"


def test_questions_that_wait_together_are_answered_as_alone(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    system = {"role": "system", "content": "You are a fox. " * 10}
    asked = [
        [system, {"role": "user", "content": text}] for text in ("What is the dog?", "Who jumps over it, and why?")
    ]
    limits = [GREEDY, Sampling(temperature=0.0, max_new_tokens=5)]
    alone = [
        answers(events, engine.ask({"tuned": messages}, sampling), 1)["tuned"].text
        for messages, sampling in zip(asked, limits, strict=True)
    ]
    # The first keeps the engine at work while the others come.
    numbers = [engine.ask({"base": QUESTION}, Sampling(temperature=0.0, max_new_tokens=60))]
    numbers += [engine.ask({"tuned": messages}, each) for messages, each in zip(asked, limits, strict=True)]
    found: dict[int, Done] = {}
    while len(found) < 3:
        event = next_event(events, Done, Failed)
        assert isinstance(event, Done), event
        found[event.id] = event
    assert [found[number].text for number in numbers[1:]] == alone
    assert found[numbers[2]].completion_tokens == 5


def test_a_long_system_prompt_is_read_once(running: tuple[Engine, "queue.Queue[Event]"]) -> None:
    engine, events = running
    system = {"role": "system", "content": "The quick brown fox jumps over the lazy dog. " * 20}
    for number in range(3):
        asked = [system, {"role": "user", "content": f"{number}?"}]
        done = answers(events, engine.ask({"base": asked}, GREEDY), 1)["base"]
        assert done.prompt_tokens is not None
        if number:
            assert done.cached_tokens > 0.8 * done.prompt_tokens


def test_a_draft_model_changes_nothing_but_the_speed(
    running: tuple[Engine, "queue.Queue[Event]"], target: Target, tiny_model: Path
) -> None:
    engine, events = running
    plain = answers(events, engine.ask({"base": QUESTION}, GREEDY), 1)["base"]
    question = str(QUESTION[0]["content"])
    drafted = answer_once(target, question, names=("base",), sampling=GREEDY, draft=str(tiny_model))["base"]
    assert drafted.text == plain.text
    assert drafted.completion_tokens == plain.completion_tokens


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "nf4-double", "int8"])
def test_a_quantized_base_answers_as_in_training(target: Target, quantization: Any) -> None:
    lanes = tuple(
        msgspec.structs.replace(lane, quantization=quantization) for lane in target.lanes if isinstance(lane, Lane)
    )
    found = answer_once(Target("q", lanes), "Who jumps?", names=("base", "tuned"), sampling=GREEDY)
    assert found["base"].completion_tokens
    assert found["base"].text != found["tuned"].text


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


def test_a_checkpoint_that_went_meanwhile_is_said_to_be_gone(target: Target, tmp_path: Path) -> None:
    """A training removes old checkpoints while somebody chooses one."""
    gone = tmp_path / "checkpoint-40"
    lane = msgspec.structs.replace(target.best, adapter=str(gone))
    fault = answer_once(Target("gone", (lane,)), "Hello?", names=(lane.name,))[lane.name]
    assert isinstance(fault, Broken)
    assert "checkpoint-40: is not there any more" in fault.message
    assert fault.exit_code == 3
    # It takes nothing from the others.
    lanes = (target.lanes[0], lane, msgspec.structs.replace(target.best, name="whole"))
    found = answer_once(Target("gone", lanes), "Hello?", names=tuple(each.name for each in lanes), sampling=GREEDY)
    assert [isinstance(each, Broken) for each in found.values()] == [False, True, False]


def test_a_model_that_cannot_be_loaded_is_one_sentence(target: Target, tmp_path: Path, tiny_model: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    lane = Lane(name="x", model=str(broken), template=target.best.template, stop_ids=(2,))
    fault = answer_once(Target("broken", (lane,)), "Hello?", names=("x",))["x"]
    assert isinstance(fault, Broken)
    assert "\n" not in fault.message
