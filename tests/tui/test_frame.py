"""What is around every screen: tabs, hints, help, palette, dialogs, and a terminal that is too small."""

import pytest
from pilot import bench

from tuiwb.tui.dialogs import Reader, hang


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


def test_what_follows_a_name_stays_in_its_column() -> None:
    assert hang("one two three four five six", 4, 20) == "one two three\n    four five six"
    assert hang("", 4, 20) == ""
    assert max(map(len, hang("x" * 50, 4, 24).splitlines())) <= 24


async def test_long_sentences_of_dialogs_and_help_are_wrapped_below_themselves() -> None:
    options = [("short", "about " * 30), ("a-name-that-is-longer-than-half-of-the-dialog-is-wide", "what it is")]
    async with bench("chat", size=(80, 24)) as pilot:
        pilot.room.choose("Which", options, lambda _: None)
        await pilot.until_text("what it is")
        lines = pilot.text().splitlines()
        rows = [line for line in lines if "about about" in line]
        assert len(rows) > 2
        assert len({line.index("about") for line in rows}) == 1
        (name,) = (line for line in lines if "a-name" in line)
        assert "what" not in name
        await pilot.press("escape", "question_mark")
        await pilot.until_text("Talk")
        sentences = [line for line in pilot.text().splitlines() if "Show the base model's" in line or "them." in line]
        assert sentences[1].index("them.") == sentences[0].index("Show")
