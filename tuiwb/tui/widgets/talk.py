"""What was said, from top to bottom, as lines: only those that are seen are drawn, and the screen is never laid out for
them. A widget for each turn, or for each block of one, costs a layout of the whole screen whenever text comes.
"""

from collections.abc import Sequence
from typing import Protocol

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual

from tuiwb.tui.widgets.lines import Following, set_lines

_MOST_STRIPS = 2_000
_NOTHING = Content()


class Block(Protocol):
    """A turn."""

    def rows(self, width: int) -> list[Content]:
        """Its lines, each of at most `width` cells. The same objects again where nothing changed."""


class Talk(Following, can_focus=False, inherit_bindings=False):
    """See the top of this file."""

    DEFAULT_CSS = """
    Talk { width: 1fr; height: 1fr; padding: 0 0 0 1; overflow-x: hidden; scrollbar-size-vertical: 1;
           text-wrap: nowrap; background: transparent; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.auto_links = False  # nothing here can be clicked, and looking for it costs more than drawing
        self._blocks: Sequence[Block] = ()
        self._rows: list[Content] = []
        self._strips: dict[int, tuple[Content, Strip]] = {}

    def show(self, blocks: Sequence[Block]) -> None:
        """Draw these turns as they are now."""
        self._blocks = blocks
        self._measure()

    def follow(self) -> None:
        """Go to the end, and stay there as it moves on."""
        self._follows = True
        self._to_end()

    def _measure(self) -> None:
        width = self.size.width - 1  # the last column is the scroll bar's
        if width <= 0:
            return
        self._rows = [row for block in self._blocks for row in block.rows(width)]
        set_lines(self, len(self._rows))
        if self._follows:
            self._to_end()

    def on_resize(self) -> None:
        follows = self._follows
        self._strips.clear()
        self._measure()
        if follows:
            self.follow()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(row.plain for row in self._rows)), "\n"

    def render_lines(self, crop: Region) -> list[Strip]:
        # Textual keeps the lines of a widget by their place, so that a text that moves up is drawn anew and cut anew
        # by the compositor. Here a line stays the same object wherever it is.
        width, top, selection = self.outer_size.width, self.scroll_offset.y, self.text_selection
        strips = [self._line(y + top, width, selection) for y in crop.line_range]
        background = self.background_colors[1]
        for each in self.get_line_filters():
            strips = [strip.apply_filter(each, background) for strip in strips]
        start, end = crop.column_span
        return strips if (start, end) == (0, width) else [strip.crop(start, end) for strip in strips]

    def _line(self, at: int, width: int, selection: Selection | None) -> Strip:
        """The line of a row, with the margin and what is below the scroll bar."""
        row = self._rows[at] if at < len(self._rows) else _NOTHING
        if selection is not None and (span := selection.get_span(at)) is not None:
            start, end = span
            style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            return self._strip(row.stylize(style, start, len(row.plain) if end == -1 else end), at, width)
        drawn, strip = self._strips.get(at, (None, None))
        if drawn is not row or strip is None:
            strip = self._strip(row, at, width)
            if len(self._strips) > _MOST_STRIPS:
                self._strips.clear()
            self._strips[at] = row, strip
        return strip

    def _strip(self, row: Content, at: int, width: int) -> Strip:
        style, margin = self.visual_style, self.styles.padding.left
        [strip] = Visual.to_strips(self, row, width - margin, 1, style, apply_selection=False)
        space = Segment(" " * margin, style.rich_style)
        return Strip([space, *strip.apply_offsets(0, at)]).adjust_cell_length(width, style.rich_style)
