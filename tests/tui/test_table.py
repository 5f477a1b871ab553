"""The table: only rows that are seen are asked for, and text from outside is harmless in it."""

from dataclasses import dataclass, field
from typing import Any

from textual.app import App, ComposeResult

from tuiwb.tui.app import Workbench
from tuiwb.tui.widgets.table import Column, Table


@dataclass
class Asked:
    rows: set[int] = field(default_factory=set)


class Host(App[None]):
    """The least app that a table needs: somebody who knows the keys."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self.got: list[Any] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def keys_of(self, id_: str) -> tuple[str, ...]:
        return Workbench.keys_of(self, id_)  # type: ignore[arg-type]

    settings = type("S", (), {"keys": {}})()

    def on_table_moved(self, event: Table.Moved) -> None:
        self.got.append(("moved", event.row))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        self.got.append(("chosen", event.row))


def text_of(app: Host) -> list[str]:
    return [strip.text for strip in app.screen._compositor.render_strips(app.screen.size)]


async def test_a_million_rows_cost_what_is_seen() -> None:
    asked = Asked()

    def row(number: int) -> tuple[str, str]:
        asked.rows.add(number)
        return (f"{number:,}", "x")

    app = Host(Table(Column("row", 10, right=True), Column("text", 10, flex=1)))
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.fill(1_000_000, row)
        await pilot.pause()
        assert asked.rows <= set(range(12))
        await pilot.press("G")
        await pilot.pause()
        assert "999,999" in text_of(app)[-1]
        assert len(asked.rows) < 50
        assert app.got[-1] == ("moved", 999_999)


async def test_keys_move_and_choose() -> None:
    app = Host(Table(Column("name", 10, flex=1)))
    async with app.run_test(size=(40, 6)) as pilot:
        app.table.fill(30, lambda number: (f"row {number}",))
        await pilot.press("j", "down", "k", "enter")
        await pilot.press("pagedown", "end", "home", "up")
        await pilot.pause()
    assert app.got == [
        ("moved", 1), ("moved", 2), ("moved", 1), ("chosen", 1), ("moved", 5), ("moved", 29), ("moved", 0),
    ]  # fmt: skip


async def test_text_from_outside_is_one_line_and_never_parsed() -> None:
    app = Host(Table(Column("name", 10, flex=1), Column("state", 6)))
    async with app.run_test(size=(40, 4)) as pilot:
        app.table.fill(1, lambda _: ("a\nb\x1b[31m[bold]", ("漢字漢字漢字", "bad")))
        await pilot.pause()
        line = text_of(app)[1]
        assert "a␊b␛[31m[bold]" in line
        assert "漢字" in line


async def test_the_cursor_stays_in_range_when_rows_vanish() -> None:
    app = Host(Table(Column("name", 10, flex=1)))
    async with app.run_test(size=(40, 6)) as pilot:
        app.table.fill(30, lambda number: (f"row {number}",), cursor=29)
        await pilot.pause()
        app.table.fill(3, lambda number: (f"row {number}",))
        assert app.table.cursor == 2
        app.table.fill(0, lambda number: (f"row {number}",))
        assert app.table.cursor == 0
        await pilot.press("enter", "j")
        assert not [each for each in app.got if each[0] == "chosen"]


async def test_columns_share_what_is_left_and_hide_when_narrow() -> None:
    app = Host(Table(Column("a", 5), Column("b", 5, flex=1), Column("c", 8, from_width=50)))
    async with app.run_test(size=(60, 4)) as pilot:
        await pilot.pause()
        assert app.table.widths() == [5, 43, 8]
        await pilot.resize_terminal(30, 4)
        await pilot.pause()
        assert app.table.widths() == [5, 23, 0]


async def test_a_row_that_is_still_being_read_is_an_ellipsis() -> None:
    app = Host(Table(Column("a", 5, flex=1)))
    async with app.run_test(size=(30, 4)) as pilot:
        app.table.fill(1, lambda _: None)
        await pilot.pause()
        assert text_of(app)[1].startswith("…")
