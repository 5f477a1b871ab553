"""What the screens show while nothing is open: what is here, and what can be opened with one key."""

from pathlib import Path

import pytest
from pilot import bench


@pytest.mark.parametrize("screen", ["plan", "train"])
async def test_the_first_key_opens_a_recipe(screen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("stage: sft\nmethod: lora\n")
    async with bench(screen=screen, size=(80, 24)) as pilot:
        await pilot.until_text("mine.yaml")
        assert "this machine" in pilot.text()
        await pilot.press("down", "down", "enter")  # mine.yaml, demo, sft-lora
        await pilot.until(lambda: pilot.app.workspace.source == "sft-lora")
        await pilot.until(lambda: "No recipe is open" not in pilot.text())
        await pilot.until(lambda: pilot.room.focused is not None and pilot.room.focused.is_on_screen)


@pytest.mark.parametrize("screen", ["plan", "data", "train"])
async def test_escape_leaves_the_keys_with_the_list(
    screen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"text": "a first row"}\n')
    async with bench(screen=screen, size=(80, 24)) as pilot:
        offers = pilot.room.query_one(f"{'Start' if screen == 'data' else 'RecipeStart'} OptionList")
        await pilot.until(lambda: offers.has_focus and offers.option_count > 1)
        await pilot.press("escape", "escape", "down")
        await pilot.until(lambda: offers.highlighted == 1)


async def test_a_dataset_of_the_current_folder_is_one_key_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"text": "a first row"}\n')
    async with bench(screen="data", size=(80, 24)) as pilot:
        await pilot.until_text("rows.jsonl")
        await pilot.press("enter")
        await pilot.until_text("a first row")


async def test_any_other_path_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with bench(screen="data", size=(120, 40)) as pilot:
        await pilot.until_text("another…")
        await pilot.press("enter")
        await pilot.until_text("Open a dataset")


async def test_a_dataset_that_is_gone_leads_back_to_what_is_here(tmp_path: Path) -> None:
    async with bench("settings", size=(80, 24)) as pilot:
        pilot.app.brief("data", {"path": str(tmp_path / "gone.jsonl")})
        await pilot.press("2")
        await pilot.until_text("another…")
        assert any("gone.jsonl" in toast for toast in pilot.toasts())
