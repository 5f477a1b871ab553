"""A table of any number of rows: only the rows that are seen are asked for and drawn.

    table = Table(Column("run", flex=1), Column("state", 10), Column("step", 12, right=True))
    table.fill(len(runs), lambda i: (runs[i].name, (runs[i].state, "good"), f"{runs[i].step:,}"))

A cell is a string, or a string with the name of a tone: `dim good warn bad accent bold`. Strings are gated here. The
row function runs in the event loop, so it must be quick; it may return None for a row that is still being read, which
shows as `…` until `refresh_row` or `refresh`. `Table.Moved` and `Table.Chosen` (enter, or a click on the cursor) tell
the screen; `cursor` is the row, 0 when empty.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.actions import SkipAction
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tuiwb.base.text import gate_line
from tuiwb.tui.widgets.lines import set_lines
from tuiwb.tui.widgets.scroll import bind_lists

Cell = str | tuple[str, str]
RowFunction = Callable[[int], "Sequence[Cell] | None"]
TONES = ("dim", "good", "warn", "bad", "accent", "bold")


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Args:
        title: shown above.
        width: in cells; with `flex`, the least.
        flex: its share of the columns that are left over; 0 keeps `width`.
        right: align to the right, for numbers.
        from_width: show it only when the table is at least this wide.
    """

    title: str
    width: int = 8
    flex: int = 0
    right: bool = False
    from_width: int = 0


class Table(ScrollView, can_focus=True, inherit_bindings=False):
    """See the top of this file.

    Args:
        columns: at least one.
        head: show the titles of the columns.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head", "table--cursor", "table--cursor-blurred", *(f"table--{tone}" for tone in TONES),
    }  # fmt: skip
    DEFAULT_CSS = """
    Table {
        height: 1fr; width: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden;
        & .table--head { color: $foreground 60%; text-style: bold; }
        & .table--cursor { background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold; }
        & .table--cursor-blurred { background: $block-cursor-blurred-background; color: $foreground; }
        & .table--dim { color: $foreground 60%; }
        & .table--good { color: $text-success; }
        & .table--warn { color: $text-warning; }
        & .table--bad { color: $text-error; }
        & .table--accent { color: $text-accent; }
        & .table--bold { text-style: bold; }
    }
    """

    cursor = reactive(0, repaint=False)

    @dataclass
    class Moved(Message):
        """The cursor is on another row, or the row under it is another."""

        table: "Table"
        row: int

        @property
        def control(self) -> "Table":
            return self.table

    @dataclass
    class Chosen(Message):
        """Enter on a row, or a click on the row under the cursor."""

        table: "Table"
        row: int

        @property
        def control(self) -> "Table":
            return self.table

    def __init__(self, *columns: Column, head: bool = True, id: str | None = None, classes: str = "") -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._columns = columns
        self._head = int(head)
        self._count = 0
        self._row: RowFunction = lambda _: None
        self._widths: list[int] = []
        self._widths_of: tuple[int, Sequence[Column]] = (-1, ())
        self._base: Style | None = None
        self._tones: dict[tuple[Style, str], Style] = {}

    @property
    def row_count(self) -> int:
        return self._count

    def fill(
        self, count: int, row: RowFunction, *, cursor: int | None = None, redraw: Iterable[int] | None = None
    ) -> None:
        """Show other rows; the cursor stays on its number unless told otherwise. Posts no message.

        Args:
            redraw: the rows that look different, when that is known: only they are drawn again.
        """
        changed = count != self._count
        self._count, self._row = count, row
        wanted = self.cursor if cursor is None else cursor
        with self.prevent(Table.Moved):
            self.cursor = min(max(wanted, 0), max(count - 1, 0))
        if changed:
            self._measure()
            self.call_after_refresh(self._show_cursor)
        if changed or redraw is None:
            self.refresh()
        else:
            for each in redraw:
                self.refresh_row(each)

    def set_columns(self, *columns: Column) -> None:
        self._columns = columns
        self.refresh()

    def refresh_row(self, row: int) -> None:
        """Draw one row again."""
        y = row - self.scroll_offset.y + self._head
        if self._head <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    # Moving

    def validate_cursor(self, cursor: int) -> int:
        return min(max(cursor, 0), max(self._count - 1, 0))

    def watch_cursor(self, before: int, after: int) -> None:
        if before == after:
            return
        self.refresh_row(before)
        self.refresh_row(after)
        self._show_cursor()
        if self._count:
            self.post_message(Table.Moved(self, after))

    def action_down(self) -> None:
        self.cursor += 1

    def action_up(self) -> None:
        self.cursor -= 1

    def action_page_down(self) -> None:
        self.cursor += max(self._page - 1, 1)

    def action_page_up(self) -> None:
        self.cursor -= max(self._page - 1, 1)

    def action_top(self) -> None:
        self.cursor = 0

    def action_bottom(self) -> None:
        self.cursor = self._count - 1

    def action_choose(self) -> None:
        if not self._count:
            raise SkipAction  # the screen may have something to say
        self.post_message(Table.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        row = event.y - self._head + self.scroll_offset.y
        if event.y >= self._head and 0 <= row < self._count:
            if row == self.cursor:
                self.action_choose()
            self.cursor = row

    # Drawing

    def on_mount(self) -> None:
        bind_lists(self)
        self._bindings.bind("enter", "choose", show=False)

    def on_resize(self) -> None:
        self._measure()
        self._show_cursor()

    @property
    def _page(self) -> int:
        return max(self.size.height - self._head, 1)

    def _measure(self) -> None:
        set_lines(self, self._count + self._head)

    def _show_cursor(self) -> None:
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + self._page:
            self.scroll_to(y=self.cursor - self._page + 1, animate=False, force=True)

    def widths(self) -> list[int]:
        """The cells of each column now; 0 for one that is not shown."""
        room = self.size.width - int(self.show_vertical_scrollbar)
        if self._widths_of != (room, self._columns):
            self._widths_of, self._widths = (room, self._columns), self._share(room)
        return self._widths

    def _share(self, room: int) -> list[int]:
        shown = [column.from_width <= room for column in self._columns]
        widths = [column.width if on else 0 for column, on in zip(self._columns, shown, strict=True)]
        gaps = max(sum(shown) - 1, 0) * 2
        spare = room - sum(widths) - gaps
        shares = sum(column.flex for column, on in zip(self._columns, shown, strict=True) if on)
        for at, (column, on) in enumerate(zip(self._columns, shown, strict=True)):
            if on and column.flex and shares:
                extra = spare * column.flex // shares if spare > 0 else spare
                widths[at] = max(widths[at] + extra, 1)
                spare -= extra if spare > 0 else widths[at] - column.width
                shares -= column.flex
        return widths

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # all ancestors are asked for it: once for all lines
        self._tones.clear()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self._base or self.rich_style
        if self._head and y == 0:
            style = base + self.get_component_rich_style("table--head")
            return self._line([column.title for column in self._columns], style, plain=True)
        row = y - self._head + self.scroll_offset.y
        if row >= self._count:
            return Strip.blank(width, base)
        cells = self._row(row)
        on_cursor = row == self.cursor
        style = base
        if on_cursor:
            name = "table--cursor" if self.has_focus else "table--cursor-blurred"
            style = base + self.get_component_rich_style(name, partial=True)
        return self._line(["…"] if cells is None else cells, style, plain=on_cursor and self.has_focus)

    def _line(self, cells: Sequence[Cell], style: Style, *, plain: bool) -> Strip:
        """One line; neighbours of one style are one segment, which keeps the bytes on the wire few."""
        segments: list[Segment] = []
        text, tone = "", ""
        columns = [(column, width) for column, width in zip(self._columns, self.widths(), strict=True)]
        first = True
        for (column, width), cell in zip(columns, cells, strict=False):
            if not width:
                continue
            value, wanted = cell if isinstance(cell, tuple) else (cell, "")
            piece = _fit(gate_line(value, width), width, right=column.right)
            wanted = "" if plain else wanted
            if wanted != tone:
                segments.append(Segment(text, self._toned(style, tone)))
                text, tone = "", wanted
            text += ("" if first else "  ") + piece
            first = False
        segments.append(Segment(text, self._toned(style, tone)))
        return Strip(segments).adjust_cell_length(self.size.width, style)

    def _toned(self, style: Style, tone: str) -> Style:
        if not tone:
            return style
        if (style, tone) not in self._tones:
            # The partial style, which leaves the background alone, forgets how transparent a colour is.
            whole = self.get_component_rich_style(f"table--{tone}").color
            partial = self.get_component_rich_style(f"table--{tone}", partial=True)
            self._tones[style, tone] = style + partial + Style(color=whole)
        return self._tones[style, tone]

    def on_focus(self) -> None:
        self.refresh_row(self.cursor)

    def on_blur(self) -> None:
        self.refresh_row(self.cursor)


def _fit(text: str, width: int, *, right: bool) -> str:
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(width - 1, 0)) + "…" if width else ""
    return " " * (width - length) + text if right else text + " " * (width - length)
