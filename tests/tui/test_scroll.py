"""What is higher than its place is scrolled by the keys of the lists."""

from pathlib import Path

from pilot import bench

from tuiwb.tui.widgets.scroll import Scroll


async def test_help_that_is_cut_can_be_gone_to_and_read_on() -> None:
    async with bench("train", recipe="demo", size=(80, 24)) as pilot:
        await pilot.until_text("What kind of training")
        panel = pilot.room.query_one("#help Scroll", Scroll)
        await pilot.until(lambda: panel.max_scroll_y > 0)
        panel.focus()
        await pilot.press("j")
        await pilot.until(lambda: panel.scroll_offset.y == 1)
        await pilot.press("G")
        await pilot.until(lambda: panel.scroll_offset.y == panel.max_scroll_y)
        await pilot.press("g")
        await pilot.until(lambda: panel.scroll_offset.y == 0)
        await pilot.press("escape", "down")
        await pilot.until_text("lora")
        assert pilot.room.focused is pilot.room.home


async def test_the_row_is_read_with_the_keys_of_the_lists() -> None:
    async with bench("data", recipe="demo", size=(80, 24)) as pilot:
        await pilot.until_text("What is a processor?")
        await pilot.press("enter")
        text = pilot.room.query_one("#text")
        await pilot.until(lambda: text.has_focus and text.max_scroll_y > 0)
        await pilot.press("j")
        await pilot.until(lambda: text.scroll_offset.y == 1)


async def test_the_key_of_past_runs_changes_no_field() -> None:
    async with bench("plan", recipe="demo", size=(80, 24)) as pilot:
        await pilot.until_text("stage")
        await pilot.press("down", "down", "h")
        await pilot.until(lambda: "Past runs on this machine" in pilot.text())
        assert pilot.app.workspace.recipe.stage == "sft"


async def test_the_row_fills_its_place_again_after_the_charts() -> None:
    async with bench("data", recipe="demo", size=(100, 30)) as pilot:
        await pilot.until_text("the instructions of programs")
        await pilot.press("b")
        await pilot.until_text("esc: back")
        await pilot.press("j", "escape")
        await pilot.until_text("the instructions of programs")


async def test_an_empty_dataset_has_no_columns_of_another(tmp_path: Path) -> None:
    (tmp_path / "nothing.jsonl").touch()
    async with bench("data", recipe="demo", size=(100, 30)) as pilot:
        await pilot.until_text("2 turns")
        pilot.room.open(str(tmp_path / "nothing.jsonl"))
        await pilot.until_text("the file has no rows")
        assert "messages" not in pilot.text()
