"""Chat, twenty judgements, a DPO run on them, chat again: what a person said changes the model."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from adapter import make_adapter

from tuiwb import recipe, resolve, runs
from tuiwb.base.errors import UsageFault
from tuiwb.chat import feedback
from tuiwb.chat.once import answer_once
from tuiwb.chat.protocol import Sampling
from tuiwb.chat.session import Chat
from tuiwb.chat.target import target_of
from tuiwb.runs.training import train

pytestmark = [pytest.mark.torch, pytest.mark.slow]
BRIEF = Sampling(temperature=0.0, max_new_tokens=6)


def until(chat: Chat, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, (chat.state, chat.doing)
        chat.drain()
        time.sleep(0.01)


def test_judgements_train_the_next_model(tmp_path: Path, tiny_model: Path) -> None:
    adapter = make_adapter(tmp_path / "other", tiny_model)
    chat = Chat(target_of(str(adapter)))
    chat.sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=6)
    kept, number = 0, 0
    while kept < 20:
        number += 1
        chat.clear()
        chat.say(f"What is {number}?")
        until(chat, lambda: not chat.answering and chat.lanes["base"].conversation.turns[-1].role == "assistant")
        tuned, base = (chat.lanes[name].conversation for name in ("tuned", "base"))
        with contextlib.suppress(UsageFault):  # this model often says nothing
            kept += feedback.prefer(tuned, [base], whom="tuned", instead_of=["base"]) is not None
    chat.stop_engine()
    settings = {
        "stage": "dpo",
        "method": "lora",
        "model_name_or_path": str(tiny_model),
        "datasets": f'[{{"path": "{feedback.file_of("preference")}"}}]',
        "learning_rate": "0.01",
        "max_steps": "10",
        "per_device_train_batch_size": "4",
        "eval_fraction": "0",
    }
    wanted = recipe.with_settings(recipe.Recipe(), settings)
    run = train(resolve.assess(wanted))
    for _ in runs.tail(run):
        pass
    view = runs.view(run)
    assert view.state == "finished", view.reason
    target = target_of(run.run_id)
    question = "What is 3?"
    found = answer_once(target, question, names=("base", "tuned"), sampling=BRIEF)
    assert found["base"].text != found["tuned"].text
