"""The open recipe that all screens share: opening, changing, saving, its model, and what the session keeps of it."""

from pathlib import Path

import pytest
from pilot import BenchPilot, bench

from tuiwb import recipe
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.workspace import Workspace

RECIPE = """# a comment of the user's
name: mine
stage: sft
method: lora
model_name_or_path: {model}
datasets:
  - path: rows.jsonl
"""


@pytest.fixture
def file(tmp_path: Path, tiny_model: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE.format(model=tiny_model))
    return path


async def opened(pilot: BenchPilot) -> Workspace:
    await pilot.until(lambda: pilot.app.workspace.recipe is not None)
    return pilot.app.workspace


async def test_a_recipe_file_is_opened_with_its_model(file: Path) -> None:
    async with bench("settings", recipe=str(file), size=(120, 40)) as pilot:
        workspace = await opened(pilot)
        assert (workspace.recipe.name, workspace.path, workspace.changed) == ("mine", file, False)
        await pilot.until(lambda: pilot.app.workspace.model is not None)
        assert pilot.app.workspace.model.architecture == "LlamaForCausalLM"
        await pilot.until(lambda: "mine" in pilot.text().splitlines()[0])


async def test_a_preset_is_opened_by_its_name() -> None:
    async with bench("settings", recipe="sft-lora") as pilot:
        workspace = await opened(pilot)
        assert (workspace.source, workspace.path) == ("sft-lora", None)


async def test_a_recipe_that_is_wrong_is_told_and_the_open_one_stays(file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("stage: sft\nlearning_rat: 1\n")
    async with bench("settings", recipe=str(file)) as pilot:
        await opened(pilot)
        pilot.app.keeper.open(str(wrong))
        await pilot.until(lambda: any("wrong.yaml:2" in toast for toast in pilot.toasts()))
        assert pilot.app.workspace.recipe.name == "mine"


async def test_a_model_that_cannot_be_opened_is_told_in_the_workspace(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(model=tmp_path / "nothing"))
    async with bench("settings", recipe=str(path)) as pilot:
        await pilot.until(lambda: pilot.app.workspace.model_problem)
        assert pilot.app.workspace.model is None


async def test_a_change_is_starred_kept_over_a_restart_and_saved(file: Path, tmp_path: Path) -> None:
    async with bench("settings", recipe=str(file), size=(120, 40)) as pilot:
        workspace = await opened(pilot)
        pilot.app.keeper.change(recipe.with_settings(workspace.recipe, {"learning_rate": "3e-4"}))
        await pilot.until(lambda: "mine*" in pilot.text().splitlines()[0])
        await pilot.press("q")
    async with bench("settings", size=(120, 40)) as pilot:
        workspace = await opened(pilot)
        assert (workspace.recipe.learning_rate, workspace.changed, workspace.path) == (3e-4, True, file)
        await pilot.press("ctrl+s")
        await pilot.until_text("Save the recipe as")
        await pilot.press("enter")
        await pilot.until(lambda: not pilot.app.workspace.changed)
    assert recipe.load(str(file)).learning_rate == 3e-4


async def test_another_file_is_replaced_only_after_a_yes(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("precious")
    async with bench("settings", recipe=str(file), size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("ctrl+s", *["backspace"] * len("mine.yaml"))
        await pilot.enter("other.yaml")
        await pilot.press("enter")
        await pilot.until_text("Replace ")
        await pilot.press("n")
        assert other.read_text() == "precious"


async def test_changes_are_given_up_only_after_a_yes(file: Path) -> None:
    async with bench("settings", recipe=str(file), size=(120, 40)) as pilot:
        workspace = await opened(pilot)
        pilot.app.keeper.change(recipe.with_settings(workspace.recipe, {"learning_rate": "3e-4"}))
        await pilot.press("ctrl+o")
        await pilot.until_text("Open a recipe or a preset")
        await pilot.enter("sft-lora")
        await pilot.press("enter")
        await pilot.until_text("Give up the changes to mine?")
        await pilot.press("enter")
        await pilot.until_text("7 Settings")
        assert pilot.app.workspace.recipe.name == "mine"


async def test_a_screen_hears_of_changes_when_it_is_shown(file: Path) -> None:
    async with bench("settings", recipe=str(file)) as pilot:
        await pilot.until(lambda: pilot.app.workspace.model is not None)
        seen: list[Workspace] = []
        room = pilot.room
        assert isinstance(room, RoomScreen)
        room.show_workspace = seen.append  # type: ignore[method-assign]
        pilot.app.keeper.select_run("one")
        assert [workspace.run_id for workspace in seen] == ["one"]
        await pilot.press("4")
        await pilot.until(lambda: pilot.app.current_room == "runs")
        pilot.app.keeper.select_run("two")
        pilot.app.keeper.select_run("three")
        assert len(seen) == 1
        await pilot.press("7")
        await pilot.until(lambda: [workspace.run_id for workspace in seen] == ["one", "three"])
