"""Text of which only the cells that changed are sent again."""

from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Region

from tuiwb.tui.widgets.rows import changed
from tuiwb.tui.widgets.sheet import Sheet

WIDTH = 12
line = st.text("ab █▓语", max_size=5)
style = st.sampled_from(["", "red", "bold"])
text = st.lists(st.tuples(line, style), max_size=5).map(lambda parts: [Content.styled(*part) for part in parts])


def cells(lines: list[Content], height: int) -> list[list[tuple[str, str]]]:
    """Character and style of each cell."""
    grid = [[(" ", "")] * WIDTH for _ in range(height)]
    for y, content in enumerate(lines):
        x = 0
        for at, character in enumerate(content.plain):
            styles = str([span.style for span in content.spans if span.start <= at < span.end])
            for _ in range(Content(character).cell_length):
                grid[y][x] = (character, "" if styles == "[]" else styles)
                x += 1
    return grid


@given(before=text, after=text)
def test_nothing_that_changed_is_left_out(before: list[Content], after: list[Content]) -> None:
    height = max(len(before), len(after), 1)
    old, new = cells(before, height), cells(after, height)
    regions = changed(before, after, height)
    for y in range(height):
        for x in range(WIDTH):
            if old[y][x] != new[y][x]:
                assert any(region.contains(x, y) for region in regions)


def test_what_is_the_same_is_not_drawn() -> None:
    lines = [Content.styled("one", "red"), Content("two"), Content("three")]
    assert changed(lines, list(lines), 3) == []
    assert changed(lines, [lines[0], Content("tWo"), lines[2]], 3) == [Region(1, 1, 1, 1)]


class Page(App[None]):
    def compose(self) -> ComposeResult:
        yield Sheet("page")


async def test_the_same_words_in_another_colour_are_drawn() -> None:
    async with Page().run_test(size=(30, 5)) as pilot:
        sheet = pilot.app.query_one(Sheet)
        looks = []
        for colour in ("red", "green"):
            sheet.show(lambda _, colour=colour: Content.styled("███", colour))  # type: ignore[misc]
            await pilot.pause()
            looks.append(sheet.render_line(0))
        assert looks[0].text == looks[1].text
        assert looks[0] != looks[1]


async def test_another_width_lays_the_page_out_again() -> None:
    async with Page().run_test(size=(30, 5)) as pilot:
        sheet = pilot.app.query_one(Sheet)
        sheet.show(lambda width: Content(f"{width} cells, and a sentence that goes on for two lines"))
        await pilot.pause()
        assert sheet.text.startswith("30 cells")
        assert sheet.size.height == 2
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        assert sheet.text.startswith("20 cells")
        assert sheet.size.height == 3
