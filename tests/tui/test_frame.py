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


async def test_the_narrowest_terminal_shows_all_tabs() -> None:
    async with bench("settings", size=(60, 16)) as pilot:
        assert pilot.text().splitlines()[0].endswith("6 Chat 7 Settings")


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


async def test_keys_that_do_nothing_now_give_way_to_those_that_do() -> None:
    async with bench("runs", size=(80, 24)) as pilot:
        await pilot.until_text("There are no runs yet.")
        hints = pilot.text().splitlines()[-1]
        assert "] Page" in hints
        assert "Stop" not in hints


async def test_room_that_is_left_shows_further_keys() -> None:
    async with bench("models", size=(160, 40)) as pilot:
        await pilot.until_text("smollm2-135m-instruct")
        hints = pilot.text().splitlines()[-1]
        assert "D Delete" in hints  # dim: nothing is here yet
        assert "r Look again" in hints


@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
async def test_a_dialog_shows_its_last_line_and_how_it_is_left(size: tuple[int, int]) -> None:
    async with bench("settings", size=size) as pilot:
        await pilot.press("question_mark", "G")
        await pilot.until_text("Keys of your own")
        assert "esc: close" in pilot.text()
        assert "One page down." in pilot.app.screen.query_one("Reader VerticalScroll Static").content.plain
        await pilot.press("escape")
        pilot.room.choose("Which", [(f"name {number}", "") for number in range(60)], lambda _: None)
        await pilot.until_text("name 1")
        assert "esc: leave" in pilot.text()
        await pilot.press(*["pagedown"] * 6)
        await pilot.until_text("name 59")


async def test_what_is_typed_finds_names_before_what_is_said_of_others() -> None:
    chosen: list[int] = []
    async with bench("settings") as pilot:
        pilot.room.choose("Which", [("one", "made of two"), ("two", "")], chosen.append)
        await pilot.enter("two")
        await pilot.press("enter")
        await pilot.until(lambda: chosen == [1])


@pytest.mark.parametrize(
    ("screen", "recipe", "word", "found", "gone"),
    [
        ("settings", None, "clipboard", "screen.clipboard", "screen.theme"),
        ("models", None, "pythia", "pythia-70m", "gpt2"),
        ("train", "demo", "seed", "seed", "lora_r "),
    ],
)
async def test_escape_in_the_list_shows_all_of_it_again(
    screen: str, recipe: str | None, word: str, found: str, gone: str
) -> None:
    async with bench(screen, recipe=recipe, size=(120, 40)) as pilot:
        await pilot.until_text(gone)
        await pilot.press("slash")
        await pilot.enter(word)
        await pilot.press("enter")
        await pilot.until(lambda: found in pilot.text() and gone not in pilot.text())
        await pilot.press("escape")
        await pilot.until_text(gone)


async def test_a_field_that_is_typed_in_is_promised_no_key_that_it_takes() -> None:
    async with bench("models", size=(120, 40)) as pilot:
        await pilot.until_text("pythia")
        await pilot.press("slash")
        await pilot.enter("pyth")
        await pilot.until_text("esc leaves the field")
        assert "backspace" not in pilot.text().splitlines()[-1]


async def test_escape_in_the_rows_shows_all_of_them_again() -> None:
    async with bench("data", recipe="demo", size=(120, 40)) as pilot:
        await pilot.until_text("245 rows")
        await pilot.press("f")
        await pilot.enter("cache")
        await pilot.press("enter")
        await pilot.until_text("with “cache” of 245 rows")
        await pilot.press("escape")
        await pilot.until(lambda: "cache” of" not in pilot.text())
        assert len(pilot.room.pages) == 245
