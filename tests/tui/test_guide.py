"""The demo on the screen, from the plan to a question in the chat's text field."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pilot import BenchPilot

from tuiwb.base import settings
from tuiwb.tui.guide import DemoBench
from tuiwb.tui.session import Session, load, save


@pytest.fixture
def demo_model(tiny_model: Path) -> Path:
    """The tiny model under the name of the demo's."""
    return Path(shutil.copytree(tiny_model, settings.models_root() / "smollm2-135m-instruct"))


@asynccontextmanager
async def demo(size: tuple[int, int] = (80, 24)) -> AsyncIterator[BenchPilot]:
    app = DemoBench()
    async with app.run_test(size=size) as pilot:
        driven = BenchPilot(app, pilot, [])
        await driven.until(lambda: app.ready)
        yield driven


async def test_the_key_leads_from_the_plan_to_the_data_and_back_to_where_the_demo_was(demo_model: Path) -> None:
    async with demo() as pilot:
        await pilot.until_text("Demo 2/5")
        await pilot.until_text("peak")
        assert "^n the data" in pilot.text()
        await pilot.press("ctrl+n")
        await pilot.until_text("Demo 3/5")
        await pilot.until_text("What is a processor?")
        await pilot.press("7")
        await pilot.until_text("back to data")
        await pilot.press("ctrl+n")
        await pilot.until(lambda: pilot.app.current_room == "data")


async def test_a_model_that_cannot_be_had_is_said_in_the_line_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuiwb import models
    from tuiwb.base.errors import EnvironmentFault

    def unreachable(*_: object, **__: object) -> Path:
        raise EnvironmentFault("the hub cannot be reached")

    monkeypatch.setattr(models, "get", unreachable)
    async with demo() as pilot:
        await pilot.until_text("the hub cannot be reached")
        assert "try again" in pilot.text()
        tries: list[object] = []
        monkeypatch.setattr(models, "get", lambda *_, **__: tries.append(1) or unreachable())
        await pilot.press("ctrl+n")
        await pilot.until(lambda: tries)
        await pilot.until_text("the hub cannot be reached")


async def test_the_demo_leaves_the_session_of_the_user_alone(demo_model: Path) -> None:
    before = Session(screen="settings", recipe="mine.yaml", recipe_text="seed: 1\n")
    save(before)
    async with demo() as pilot:
        await pilot.until_text("Demo 2/5")
        assert pilot.app.workspace.source == "demo"
        pilot.app.leave()
    assert load() == before


@pytest.mark.torch
async def test_the_training_is_watched_and_ends_in_a_chat_with_base_and_tuned_model(demo_model: Path) -> None:
    async with demo(size=(120, 40)) as pilot:
        await pilot.until_text("Demo 2/5")
        await pilot.press("ctrl+n")
        await pilot.until_text("Demo 3/5")
        await pilot.press("ctrl+n")
        await pilot.until(lambda: pilot.app.current_room == "runs")
        await pilot.until_text("Demo 4/5")
        await pilot.until_text("of 62", seconds=120)
        await pilot.until(lambda: pilot.app.current_room == "chat", seconds=240)
        await pilot.until(lambda: "What is a compiler?" in pilot.text(), seconds=60)
        chat = pilot.room.chat
        assert list(chat.lanes) == ["base", "tuned"]
        await pilot.press("enter")
        await pilot.until(lambda: all(len(lane.conversation.turns) == 2 for lane in chat.lanes.values()), seconds=120)
        await pilot.press("ctrl+n")
        await pilot.until_text("What is recursion?")
