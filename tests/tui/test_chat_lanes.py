"""The Chat screen's lanes: checkpoints of a run that goes on, what an answer cost in a narrow one, one that fails."""

import functools
import json
import shutil
import sys
from pathlib import Path

import pytest
from pilot import bench

sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
from fake_server import DONE, Request, event, serving
from test_chat_judging import say
from test_chat_screen import ready, remember

from tuiwb import rundir
from tuiwb.base import settings
from tuiwb.base.text import width_of
from tuiwb.chat import fits, session
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Done, Failed
from tuiwb.rundir import RunDir
from tuiwb.tui.widgets.chat_lane import usage


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Engine", functools.partial(Engine, module="echo_engine"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def run(tiny_model: Path) -> RunDir:
    """What trained two checkpoints of it so far."""
    run = RunDir(settings.runs_root() / "20261122-000001-trains-abcde1")
    run.path.mkdir(parents=True)
    rundir.write_job(run, {"kind": "train", "name": "trains", "input": {"model_name_or_path": str(tiny_model)}})
    rundir.write_state(run, "stopped")
    for step in (40, 80):
        checkpoint(run, step, tiny_model)
    return run


def checkpoint(run: RunDir, step: int, model: Path) -> None:
    folder = run.part(1, "sft").path / f"checkpoint-{step}"
    shutil.copytree(model, folder)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": str(model)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_newer_checkpoint_is_told_and_can_be_added(
    size: tuple[int, int], run: RunDir, tiny_model: Path
) -> None:
    remember(whom=run.run_id, start=True)
    async with bench(screen="chat", size=size) as pilot:
        chat = await ready(pilot)
        await pilot.until(lambda: chat.state == "ready")
        assert "step 80" in pilot.text()
        pilot.room.look_for_newer()
        checkpoint(run, 120, tiny_model)
        await pilot.until(lambda: pilot.room.look_for_newer() or "step 120 is newer: a" in pilot.text())
        await pilot.press("escape", "a")
        await pilot.until_text("checkpoint, the newest")
        await pilot.press("enter")
        await pilot.until(lambda: chat.asked == ("base", "tuned", "step-120"))
        await pilot.until_text("step-120")
        assert "step-120 ·" not in pilot.text()  # its own step is its name
        await pilot.until(lambda: pilot.room.look_for_newer() or "is newer" not in pilot.text())


async def test_a_lane_that_cannot_be_loaded_says_so_before_it_is_asked(run: RunDir) -> None:
    remember(whom=run.run_id, start=True)
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        await pilot.until(lambda: chat.state == "ready")
        chat._events.append((None, Failed(lane="tuned", message="checkpoint-80: is not there any more")))
        await pilot.until_text("is not there any")
        assert chat.state == "ready"


async def test_what_is_thought_is_told_until_there_is_an_answer(tiny_model: Path) -> None:
    import threading

    goes_on = threading.Event()

    def script(request: Request) -> None:
        thought = json.dumps({"choices": [{"delta": {"reasoning_content": "x" * 1234}}]})
        request.stream(f"data: {thought}\n\n".encode())
        goes_on.wait(60)
        request.connection.sendall(event("Paris.") + event(finish="stop") + DONE)

    with serving(script) as server:
        remember(whom=f"{server.url}#m", start=True)
        async with bench(screen="chat", size=(80, 24)) as pilot:
            chat = await ready(pilot)
            await pilot.enter("hello")
            await pilot.press("enter")
            await pilot.until_text("thinking … 1,234 characters")
            goes_on.set()
            await pilot.until(lambda: not chat.answering)
            await pilot.until_text("Paris.")
            (lane,) = chat.lanes.values()
            usage = lane.conversation.turns[-1].usage
            assert usage is not None
            assert len(usage.thoughts) == 1234


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_lanes_beside_each_other_have_room_for_what_an_answer_cost(size: tuple[int, int], run: RunDir) -> None:
    remember(whom=run.run_id, start=True)
    async with bench(screen="chat", size=size) as pilot:
        chat = await ready(pilot)
        await say(pilot, chat, "hello")
        await pilot.until(lambda: pilot.text().count("400 left") == 2)
        assert pilot.text().count("first after 0.25 s") == 2
        assert pilot.text().count("42.0/s") == 2
        assert "tuned · step 80" in pilot.text()
        await pilot.press("b")  # one alone has room for more, and beside each other again they have not
        await pilot.until(lambda: pilot.text().count("400 left") == 1)
        await pilot.press("b")
        await pilot.until(lambda: pilot.text().count("400 left") == 2)


COST = Done(
    id=1, lane="x", reason="stop", text="yes", prompt_tokens=1200, cached_tokens=1100, completion_tokens=512,
    first_token_s=12.3456, tokens_per_s=104.25, context_left=130_000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (110, ["512 tokens · 104.2/s · first after 12.35 s · 130,000 left · 1,100 of 1,200 prompt tokens kept"]),
        (60, ["512 tokens · 104.2/s · first after 12.35 s · 130,000 left"]),
        (36, ["512 tokens · 104.2/s", "first after 12.35 s · 130,000 left"]),
        (20, ["512 tokens · 104.2/s", "first after 12.35 s", "130,000 left"]),
        (16, ["512 tok · 104/s", "first 12.35 s", "130,000 left"]),
    ],
)
def test_a_cost_takes_the_lines_that_it_needs(width: int, lines: list[str]) -> None:
    assert usage(COST, width).splitlines() == lines
    assert all(width_of(line) <= width for line in lines)


async def test_one_more_model_that_does_not_fit_is_asked_about(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    remember(whom=str(tiny_model))
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        short = fits.Fit(needed=9 << 30, free=1 << 30, training=5 << 30, place="this machine")
        monkeypatch.setattr(fits, "fit_of", lambda target: short)
        for key, lanes in (("n", 1), ("y", 2)):
            await pilot.press("escape", "a")
            await pilot.until_text("another…")
            await pilot.press("enter")
            await pilot.enter(str(other))
            await pilot.press("enter")
            await pilot.until_text("they do not fit")
            await pilot.press(key)
            await pilot.until(lambda lanes=lanes: len(chat.asked) == lanes)  # type: ignore[misc]
            await pilot.until(lambda: "they do not fit" not in pilot.text())
