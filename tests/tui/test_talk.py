"""What was said, line by line: it follows its end until the user scrolls away, and what is selected is its text."""

from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Offset, Region
from textual.scrollbar import ScrollBar
from textual.selection import Selection
from textual.strip import Strip

from tuiwb.tui.widgets.talk import Talk


class Lines:
    """A block of numbered lines; `drawn` counts how often it was asked for them."""

    def __init__(self, name: str, count: int) -> None:
        self.lines = [Content.styled(f"{name}{number}", "$text-accent") for number in range(count)]

    def rows(self, width: int) -> list[Content]:
        return self.lines


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield Talk()


def seen(app: App[None]) -> list[str]:
    talk = app.query_one(Talk)
    return [line.text.strip() for line in talk.render_lines(talk.size.region)]


async def test_it_follows_its_end_until_the_user_scrolls_away() -> None:
    async with Shown().run_test(size=(20, 5)) as pilot:
        talk = pilot.app.query_one(Talk)
        talk.show([Lines("a", 3)])
        await pilot.pause()
        assert seen(pilot.app) == ["a0", "a1", "a2", "", ""]
        talk.show([Lines("a", 3), Lines("b", 20)])
        await pilot.pause()
        assert seen(pilot.app) == ["b15", "b16", "b17", "b18", "b19"]
        talk.scroll_to(y=1, animate=False)
        await pilot.pause()
        talk.show([Lines("a", 3), Lines("b", 30)])
        await pilot.pause()
        assert seen(pilot.app)[0] == "a1"  # what is read stays where it is
        talk.follow()
        await pilot.pause()
        assert seen(pilot.app)[-1] == "b29"
        talk.show([Lines("c", 2)])
        await pilot.pause()
        assert seen(pilot.app)[:3] == ["c0", "c1", ""]


async def test_it_goes_on_following_when_the_terminal_changes() -> None:
    async with Shown().run_test(size=(20, 5)) as pilot:
        talk = pilot.app.query_one(Talk)
        talk.show([Lines("a", 30)])
        await pilot.pause()
        await pilot.resize_terminal(30, 9)
        await pilot.pause()
        assert seen(pilot.app)[-1] == "a29"


async def test_what_is_selected_is_its_text() -> None:
    async with Shown().run_test(size=(20, 5)) as pilot:
        talk = pilot.app.query_one(Talk)
        talk.show([Lines("a", 3), Lines("b", 20)])
        await pilot.pause()
        selection = Selection.from_offsets(Offset(1, 1), Offset(2, 3))
        assert talk.get_selection(selection) == ("1\na2\nb0", "\n")
        talk.scroll_to(y=0, animate=False)

        def line(y: int) -> Strip:
            return talk.render_lines(Region(0, y, talk.outer_size.width, 1))[0]

        plain = line(1)
        assert plain.text == " a1                 "
        pilot.app.screen.selections = {talk: selection}
        await pilot.pause()
        assert line(1).text == plain.text
        assert line(1) != plain  # shown as selected
        assert line(4) is line(4)  # what is drawn stays
        assert talk.render_lines(Region(1, 4, 2, 1))[0].text == line(4).text[1:3]


async def test_a_line_that_moves_up_is_not_drawn_again() -> None:
    async with Shown().run_test(size=(20, 5)) as pilot:
        talk, lines = pilot.app.query_one(Talk), Lines("a", 5)
        talk.show([lines])
        await pilot.pause()
        before = talk.render_lines(Region(0, 0, 20, 5))
        lines.lines.append(Content("new"))
        talk.show([lines])
        await pilot.pause()
        after = talk.render_lines(Region(0, 0, 20, 5))
        assert [line.text.strip() for line in after] == ["a1", "a2", "a3", "a4", "new"]
        # A line of its own object is one that the compositor has cut, and knows the bytes of, already.
        assert len({id(line) for line in before} & {id(line) for line in after}) == 4


async def test_the_scroll_bar_looks_and_works_as_textuals() -> None:
    def cells(lines: list[Strip]) -> list[tuple[object, ...]]:
        found = []
        for line in lines:
            [segment] = line
            assert segment.style is not None
            look = segment.style
            found.append((segment.text, look.color, look.bgcolor, look.reverse, look.meta))
        return found

    async with Shown().run_test(size=(20, 6)) as pilot:
        talk = pilot.app.query_one(Talk)
        for count in (9, 40):
            talk.show([Lines("a", count)])
            await pilot.pause()
            bar = talk.vertical_scrollbar
            assert talk.show_vertical_scrollbar
            for place in (0, 2, count - 6):
                talk.scroll_to(y=place, animate=False)
                await pilot.pause()
                whole = Region(0, 0, 1, 6)
                assert cells(bar.render_lines(whole)) == cells(ScrollBar.render_lines(bar, whole))
        await pilot.click(bar, offset=(0, 0))  # above the thumb
        await pilot.pause()
        assert talk.scroll_offset.y < 34
