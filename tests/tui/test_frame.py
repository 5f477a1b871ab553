"""What is around every screen: tabs, hints, help, palette, dialogs, and a terminal that is too small."""

import pytest
from pilot import bench

from tuiwb.tui.dialogs import Reader


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_tab_of_the_screen_and_its_hints_are_shown(size: tuple[int, int]) -> None:
    async with bench("settings", size=size) as pilot:
        first, *_, last = pilot.text().splitlines()
        assert "7 Settings" in first
        assert "Change" in last
        assert "? Help" in last
        assert "q Quit" in last


async def test_a_tiny_terminal_says_so_and_recovers() -> None:
    async with bench("settings", size=(20, 5)) as pilot:
        assert "too small" in pilot.text()
        assert "Settings" not in pilot.text()
        await pilot.pilot.resize_terminal(80, 24)
        await pilot.until_text("7 Settings")
        assert "too small" not in pilot.text()


async def test_help_shows_every_key_of_the_screen_with_its_sentence() -> None:
    async with bench("settings", size=(120, 60)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, Reader)
        assert "Go back to the default of the highlighted setting or key." in pilot.text()
        assert "Leave the workbench; runs go on." in pilot.text()
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, Reader)
