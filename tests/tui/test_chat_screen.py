"""The Chat screen with an engine process that needs no torch: streaming, side by side, stopping, dying."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench

from tuiwb.base import paths
from tuiwb.chat import session
from tuiwb.chat.engine import Engine
from tuiwb.tui.screens.chat import ChatScreen

SIZES = [(80, 24), (120, 40)]
HOSTILE = "[red]x[/red] \x1b[2J\u202e"


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Engine", functools.partial(Engine, module="echo_engine"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def adapter(tmp_path: Path, tiny_model: Path) -> Path:
    """What the screen takes for a base with something tuned: only files that no engine opens here."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": str(tiny_model)}
        )
    )
    (folder / "adapter_model.safetensors").write_bytes((tiny_model / "model.safetensors").read_bytes())
    return folder


def remember(**state: Any) -> None:
    paths.private_folder(paths.session_file().parent)
    paths.session_file().write_text(json.dumps({"screen": "chat", "layout": {"chat": state}}))


def chat_of(pilot: BenchPilot) -> session.Chat:
    assert isinstance(pilot.room, ChatScreen)
    assert pilot.room.chat is not None
    return pilot.room.chat


async def ready(pilot: BenchPilot) -> session.Chat:
    await pilot.until(lambda: pilot.room.chat is not None)
    return chat_of(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_the_empty_screen_says_what_to_press(size: tuple[int, int]) -> None:
    async with bench(screen="chat", size=size) as pilot:
        assert "o: choose a run or a model" in pilot.text()
        await pilot.press("escape", "x")
        assert any("choose a run or a model first" in toast for toast in pilot.toasts())


@pytest.mark.parametrize("size", SIZES)
async def test_base_and_tuned_answer_side_by_side(size: tuple[int, int], adapter: Path) -> None:
    remember(whom=str(adapter), start=True)
    async with bench(screen="chat", size=size) as pilot:
        chat = await ready(pilot)
        await pilot.enter("hello")
        await pilot.press("enter")
        await pilot.until(lambda: chat.state == "ready" and chat.lanes["tuned"].conversation.turns)
        await pilot.until_text("tuned says HELLO")
        assert "base says HELLO" in pilot.text()
        assert "42.0/s" in pilot.text()
        await pilot.press("escape", "b")
        await pilot.until(lambda: "base says HELLO" not in pilot.text())
        await pilot.until_text("tuned says HELLO")
        assert chat.asked == ("tuned",)


async def test_several_turns_keep_the_conversation(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        (lane,) = chat.lanes.values()
        for turn, text in enumerate(("one", "two"), 1):
            await pilot.enter(text)
            await pilot.press("enter")
            await pilot.until(lambda turn=turn: len(lane.conversation.turns) == 2 * turn)  # type: ignore[misc]
        await pilot.until_text("says TWO")
        assert "says ONE" in pilot.text()
        assert "20 of 30 prompt tokens kept" in pilot.text()
        await pilot.press("escape", "r")
        await pilot.until(lambda: chat.state == "ready" and len(lane.conversation.turns) == 4)
        await pilot.press("n", "y")
        await pilot.until(lambda: not lane.conversation.turns)
        await pilot.until(lambda: "says ONE" not in pilot.text())


async def test_escape_stops_the_answer_and_keeps_what_there_is(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat") as pilot:
        chat = await ready(pilot)
        (lane,) = chat.lanes.values()
        await pilot.enter("slow please wait")
        await pilot.press("enter")
        await pilot.until(lambda: lane.partial)
        await pilot.until_text("says")
        await pilot.press("enter")  # another question meanwhile is refused with the reason
        assert any("still coming" in toast for toast in pilot.toasts())
        await pilot.press("escape")
        await pilot.until(lambda: chat.state == "ready")
        assert lane.conversation.turns[-1].content == f"{lane.lane.name} says"
        await pilot.until_text("stopped")


async def test_a_dead_engine_is_told_and_restarted(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        (lane,) = chat.lanes.values()
        await pilot.enter("die")
        await pilot.press("enter")
        await pilot.until(lambda: chat.state == "dead")
        await pilot.until_text("e: start it again")
        await pilot.press("escape", "e")
        await pilot.until(lambda: chat.state == "ready")
        await pilot.press("i")
        await pilot.enter("back")
        await pilot.press("enter")
        await pilot.until_text("says BACK")
        assert lane.conversation.turns[0].content == "back"


async def test_hostile_answers_are_shown_as_they_are(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        chat.say(HOSTILE)
        await pilot.until(lambda: chat.state == "ready")
        await pilot.until_text("[RED]X[/RED]")
        assert "\x1b" not in pilot.text()
        assert "\u202e" not in pilot.text()
        assert "␛[2J" in pilot.text()


async def test_settings_of_the_chat_survive_the_session(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape", "t")
        await pilot.enter("temperature")
        await pilot.press("enter")
        await pilot.press(*["backspace"] * 5)
        await pilot.enter("0.1")
        await pilot.press("enter")
        await pilot.until(lambda: chat.sampling.temperature == 0.1)
        await pilot.press("t")
        await pilot.enter("top_p")
        await pilot.press("enter")
        await pilot.press(*["backspace"] * 5)
        await pilot.enter("9")
        await pilot.press("enter")
        await pilot.until_text("top_p must be between")
        await pilot.press("escape", "s")
        await pilot.enter("Be brief")
        await pilot.press("enter")
        assert chat.system == "Be brief"
        pilot.app.save_session()
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        assert chat.sampling.temperature == 0.1
        assert chat.system == "Be brief"
        assert chat.state == "off"  # nobody asked for an engine this time


async def test_whom_can_be_written(tiny_model: Path) -> None:
    async with bench(screen="chat", size=(80, 24)) as pilot:
        await pilot.press("escape", "o")
        await pilot.until_text("another…")
        await pilot.press("enter")
        await pilot.enter(str(tiny_model))
        await pilot.press("enter")
        chat = await ready(pilot)
        await pilot.until(lambda: chat.state == "ready")
        assert chat.target.best.name == "tiny"


async def test_a_draft_model_that_was_named_guesses_ahead(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), draft=str(tiny_model), start=True)
    async with bench(screen="chat") as pilot:
        chat = await ready(pilot)
        await pilot.until(lambda: chat.state == "ready")
        assert chat._engine is not None
        assert json.loads((chat._engine.folder / "engine.json").read_text())["draft"] == str(tiny_model)
        assert pilot.room.layout_state()["draft"] == str(tiny_model)


async def test_leaving_ends_the_engine(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat") as pilot:
        chat = await ready(pilot)
        await pilot.until(lambda: chat.state == "ready")
        assert chat._engine is not None
        pid, folder = chat._engine.pid, chat._engine.folder
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_before_the_first_question_each_lane_says_what_to_press(tiny_model: Path) -> None:
    remember(whom=str(tiny_model))
    async with bench("chat", size=(80, 24)) as pilot:
        await pilot.until_text("nothing asked yet   i: write")


async def test_whom_the_user_named_wins_over_the_run_that_was_selected_last(tiny_model: Path) -> None:
    session_file = paths.session_file()
    paths.private_folder(session_file.parent)
    layout = {"chat": {"whom": str(tiny_model)}}
    session_file.write_text(json.dumps({"screen": "chat", "run_id": "a-run-of-last-week", "layout": layout}))
    async with bench("chat", size=(80, 24)) as pilot:
        await pilot.until(lambda: pilot.room.chat is not None or pilot.room.query_one("#nobody").display)
        await pilot.until_text("nothing asked yet")
        assert chat_of(pilot).target.title == tiny_model.name


async def test_an_answer_keeps_its_lines(tiny_model: Path) -> None:
    remember(whom=str(tiny_model))
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        (lane,) = chat.lanes.values()
        lane.conversation = lane.conversation.asked("?").answered("NAME: cache\nSEE ALSO: memory\n\n- one\n- two", None)
        pilot.room._draw()
        await pilot.until_text("SEE ALSO: memory")
        lines = [line.strip("│ ") for line in pilot.text().splitlines()]
        assert "NAME: cache" in lines
        assert "SEE ALSO: memory" in lines


@pytest.mark.parametrize("size", SIZES)
async def test_a_template_that_is_not_the_models_is_told_as_long_as_it_is_used(
    size: tuple[int, int], tiny_model: Path
) -> None:
    remember(whom=str(tiny_model), template="llama-3", start=True)
    async with bench(screen="chat", size=size) as pilot:
        chat = await ready(pilot)
        await pilot.until(lambda: chat.state == "ready")
        await pilot.until_text("the template does not fit")
        assert any("writes <|start_header_id|>" in toast for toast in pilot.toasts())
    remember(whom=str(tiny_model))
    async with bench(screen="chat", size=size) as pilot:
        await ready(pilot)
        await pilot.until_text("nothing asked yet")
        assert "does not fit" not in pilot.text()
