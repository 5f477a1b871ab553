"""What was said, line by line: it follows its end until the user scrolls away, and what is selected is its text."""

from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.selection import Selection

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
    return [talk.render_line(y).text.rstrip() for y in range(talk.size.height)]


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
        plain = talk.render_line(1)
        pilot.app.screen.selections = {talk: selection}
        await pilot.pause()
        assert talk.render_line(1).text == plain.text
        assert talk.render_line(1) != plain  # shown as selected
        assert talk.render_line(4) == talk.render_line(4)
