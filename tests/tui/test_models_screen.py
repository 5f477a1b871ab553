"""The Models screen: what is listed, told, brought, used and deleted, with the room below replaced where it would ask
the network."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench

from tuiwb import models
from tuiwb.base import settings
from tuiwb.base.errors import EnvironmentFault
from tuiwb.base.tasks import Progress, Task
from tuiwb.models import SearchHit
from tuiwb.tui.dialogs import Confirm, Reader
from tuiwb.tui.screens import models_rows
from tuiwb.tui.screens.models import ModelsScreen
from tuiwb.tui.widgets.table import Table

SIZES = [(80, 24), (160, 50)]
HIT = SearchHit("org/Some-Model-7B", 7_000_000_000, "LlamaForCausalLM", "mit", 1234, 5, gated=True, chat=True)


@pytest.fixture
def mine(tiny_model: Path) -> Path:
    root = settings.models_root()
    root.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(tiny_model, root / "mine"))


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub with one model, of which the configuration can be asked."""

    def search(query: str, *, limit: int = 20, task: Task | None = None) -> list[SearchHit]:
        return [HIT] if "some" in query else []

    real = models.open_model

    def open_model(ref: str, **options: Any) -> Any:
        if ref != HIT.hub_id:
            return real(ref, **options)
        known = {"max_position_embeddings": 4096, "vocab_size": 32000, "dtype": "bfloat16"}
        return models.ModelInfo(
            ref=ref, name="Some", kind="hub", path=None, config=known, architecture="LlamaForCausalLM",
            dtype="bfloat16", context_length=4096, vocab_size=32000, hub_id=HIT.hub_id,
        )  # fmt: skip

    monkeypatch.setattr(models, "search", search)
    monkeypatch.setattr(models, "open_model", open_model)


@pytest.fixture
def slow_get(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[threading.Event]:
    """`get` that stands at 46 % until the event is set, and then puts the tiny model in place."""
    gate = threading.Event()

    def get(name: str, *, task: Task) -> Path:
        while not gate.wait(0.01):
            task.step("downloading model.safetensors", 46 << 20, 100 << 20, "bytes")
        root = settings.models_root()
        root.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copytree(tiny_model, root / name))

    monkeypatch.setattr(models, "get", get)
    yield gate
    gate.set()


def screen(pilot: BenchPilot) -> ModelsScreen:
    room = pilot.room
    assert isinstance(room, ModelsScreen)
    return room


async def looked(pilot: BenchPilot) -> None:
    await pilot.until(lambda: screen(pilot)._looked)


async def go_to(pilot: BenchPilot, ref: str) -> None:
    await pilot.press("home")
    at = [row.ref for row in screen(pilot).rows].index(ref)
    await pilot.press(*["j"] * at)
    current = screen(pilot).current
    assert current is not None
    assert current.ref == ref


@pytest.mark.parametrize("size", SIZES)
async def test_an_empty_machine_begins_on_the_small_model(size: tuple[int, int]) -> None:
    async with bench("models", size=size) as pilot:
        await looked(pilot)
        await pilot.until_text("none is here yet: b brings smollm2-135m-instruct")
        current = screen(pilot).current
        assert current is not None
        assert current.ref == "smollm2-135m-instruct"
        text = pilot.text()
        assert "134,515,008" in text
        assert "apache-2.0" in text
        assert "8,192 tokens" in text
        assert len(screen(pilot).rows) == len(models.catalogue())


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_here_comes_first_and_tells_everything(size: tuple[int, int], mine: Path) -> None:
    async with bench("models", size=size) as pilot:
        await looked(pilot)
        await pilot.until_text("1 here")
        await go_to(pilot, "mine")
        assert screen(pilot).rows[0].ref == "mine"
        text = pilot.text()
        assert "on this machine" in text
        assert f"{models.open_model('mine').parameters:,}" in text
        assert "yes: t shows it" in text
        assert screen(pilot).copyable() == "mine"


async def test_the_template_is_shown_as_the_model_sees_it(mine: Path) -> None:
    async with bench("models", size=(120, 40)) as pilot:
        await looked(pilot)
        await go_to(pilot, "mine")
        await pilot.press("t")
        await pilot.until(lambda: isinstance(pilot.app.screen, Reader))
        text = pilot.text()
        assert "<|im_start|>user" in text
        assert "And of Italy?<|im_end|>" in text
        assert 'eos_token  "<|im_end|>"' in text


async def test_a_hostile_template_is_shown_harmlessly(mine: Path) -> None:
    file = mine / "tokenizer_config.json"
    evil = "\x1b[2J[red]{{ messages[0].content }}[/red]"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": evil}))
    async with bench("models", size=(120, 40)) as pilot:
        await looked(pilot)
        await go_to(pilot, "mine")
        await pilot.press("t")
        await pilot.until(lambda: isinstance(pilot.app.screen, Reader))
        assert "␛[2J[red]What is" in pilot.text()
        assert "\x1b" not in pilot.text()


async def test_search_filters_while_typing_and_asks_the_hub_on_enter(mine: Path) -> None:
    async with bench("models", size=(120, 40)) as pilot:
        await looked(pilot)
        await pilot.press("slash")
        await pilot.enter("some")
        await pilot.until_text("named “some”")
        await pilot.press("enter")
        await pilot.until(lambda: [row.ref for row in screen(pilot).rows] == [HIT.hub_id])
        await pilot.until_text("7B")
        assert "mit, gated" in pilot.text()
        await pilot.until_text("4,096 tokens")  # asked for once the cursor rests
        assert "accept its licence" in pilot.text()
        await pilot.press("backspace")
        assert len(screen(pilot).rows) == 1 + len(models.catalogue())


async def test_a_hub_that_cannot_be_reached_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: Any, **__: Any) -> list[SearchHit]:
        raise EnvironmentFault("the hub cannot be reached (no route)")

    monkeypatch.setattr(models, "search", search)
    async with bench("models", size=(120, 40)) as pilot:
        await looked(pilot)
        await pilot.press("slash")
        await pilot.enter("some")
        await pilot.press("enter")
        await pilot.until_text("the hub cannot be reached (no route)")
        assert pilot.text().count("no route") == 1
        await pilot.press("backspace", "slash")
        await pilot.enter("smollm2")
        await pilot.press("enter")
        await pilot.until_text("the hub cannot be reached (no route)")
        assert "smollm2-135m-instruct" in pilot.text()
        assert screen(pilot).query_one("#models", Table).cursor == 0


async def test_escape_in_the_search_goes_back_to_the_list() -> None:
    async with bench("models") as pilot:
        await looked(pilot)
        await pilot.press("slash")
        await pilot.enter("smol")
        await pilot.press("escape")
        assert screen(pilot).focused is screen(pilot).query_one("#models")
        await pilot.press("slash")
        await pilot.enter("xyz")
        await pilot.press("escape")
        await pilot.until(lambda: len(screen(pilot).rows) == len(models.catalogue()))


@pytest.mark.parametrize("size", SIZES)
async def test_bringing_shows_how_far_it_is(size: tuple[int, int], slow_get: threading.Event) -> None:
    async with bench("models", size=size) as pilot:
        await looked(pilot)
        await pilot.press("b")
        await pilot.until_text("46.0 MiB of 100 MiB")
        assert "━" in pilot.text()
        await pilot.press("b")
        assert "It is on its way." in pilot.toasts()
        # It goes on while another screen is shown.
        await pilot.press("7", "5")
        await pilot.until_text("46 %")
        slow_get.set()
        await pilot.until(lambda: "smollm2-135m-instruct is here." in pilot.toasts())
        await pilot.until_text("1 here")
        assert "━" not in pilot.text()


async def test_stopping_what_is_on_its_way(slow_get: threading.Event) -> None:
    async with bench("models") as pilot:
        await looked(pilot)
        await pilot.press("x")
        assert "It is not being brought." in pilot.toasts()
        await pilot.press("b")
        await pilot.until_text("46 %")
        task = screen(pilot).task_of("get smollm2-135m-instruct")
        await pilot.press("x")
        assert task is not None
        assert task.cancelled
        await pilot.until(lambda: "46 %" not in pilot.text())


async def test_a_get_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(name: str, *, task: Task) -> Path:
        raise EnvironmentFault("cannot be brought: no source answers", file=name)

    monkeypatch.setattr(models, "get", get)
    async with bench("models") as pilot:
        await looked(pilot)
        await pilot.press("b")
        await pilot.until(lambda: any("no source answers" in toast for toast in pilot.toasts()))
        assert not screen(pilot)._coming


async def test_deleting_asks_first(mine: Path) -> None:
    async with bench("models") as pilot:
        await looked(pilot)
        await go_to(pilot, "mine")
        await pilot.press("D")
        await pilot.until(lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("n")
        assert mine.exists()
        await pilot.press("D", "y")
        await pilot.until(lambda: not mine.exists())
        await pilot.until(lambda: "mine" not in [row.ref for row in screen(pilot).rows])


async def test_using_a_model_changes_the_open_recipe(mine: Path) -> None:
    async with bench("models", recipe="sft-lora") as pilot:
        await looked(pilot)
        await pilot.until(lambda: pilot.app.workspace.recipe is not None)
        await go_to(pilot, "mine")
        await pilot.press("enter")
        assert pilot.app.workspace.recipe.model_name_or_path == "mine"
        await pilot.until(lambda: pilot.app.workspace.model is not None)
        assert pilot.app.workspace.model.path == mine


async def test_what_cannot_be_done_says_why() -> None:
    async with bench("models") as pilot:
        await looked(pilot)
        await pilot.press("u", "t", "D", "backspace")
        assert pilot.toasts() == [
            "No recipe is open: ^o opens one.",
            "Its template is known once it is here: b brings it.",
            "It is not on this machine.",
            "There is no search to forget.",
        ]


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (200, 60)])
async def test_no_line_is_wider_than_the_screen(size: tuple[int, int], mine: Path) -> None:
    async with bench("models", size=size) as pilot:
        await looked(pilot)
        await go_to(pilot, "mine")
        lines = pilot.text().splitlines()
        assert all(len(line) <= size[0] for line in lines)
        assert any("licence" in line for line in lines)


def test_progress_is_one_line_at_any_width() -> None:
    for width in (20, 40, 80, 200):
        for progress in (Progress(), Progress("x" * 50, 5, 10, "bytes"), Progress("converting", 1, 5, "steps")):
            line = models_rows.progress_line("org/name", progress, width)
            assert "\n" not in line.plain
    assert "46 %" in models_rows.progress_line("a", Progress("x", 46, 100, "steps"), 80).plain
