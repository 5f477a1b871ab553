"""Lines of text of which only the parts that changed are drawn again: a panel that changes each second would otherwise
send all of itself each second."""

from collections.abc import Sequence
from typing import Any

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget


class Rows(Widget):
    """`show` gives it its lines; what is wider than the widget is cut.

    Args:
        fit: be as high as there are lines; only another number of them is a new layout.
    """

    DEFAULT_CSS = "Rows { height: 1fr; width: 1fr; }"

    def __init__(self, *, fit: bool = False, **widget: Any) -> None:
        super().__init__(**widget)
        self._lines: list[Content] = []
        self._fit = fit

    def show(self, lines: Sequence[Content]) -> None:
        before, self._lines = self._lines, list(lines)
        if self._fit and len(before) != len(self._lines):
            self.styles.height = len(self._lines)
        if regions := changed(before, self._lines, self.size.height):
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        strips = Visual.to_strips(self, self._lines[y], width, 1, self.visual_style, pad=True)
        return (strips[0] if strips else Strip.blank(width)).adjust_cell_length(width, self.rich_style)


class Redrawn(Widget):
    """A widget that is one text, a line of which is never wider than it is: `redraw` sends what changed in it."""

    _drawn: Sequence[Content] = ()

    def text(self) -> Content:
        """What it says now."""
        raise NotImplementedError

    def redraw(self) -> None:
        """What it says may have changed."""
        if regions := changed(self._drawn, self.text().split(allow_blank=True), self.size.height):
            self.refresh(*regions)

    def render(self) -> Content:
        text = self.text()
        self._drawn = text.split(allow_blank=True)
        return text


def changed(before: Sequence[Content], after: Sequence[Content], height: int) -> list[Region]:
    """The cells that differ, of the first `height` lines of two texts."""
    blank, regions = Content(""), []
    for y in range(min(max(len(before), len(after)), height)):
        old, new = (known[y] if y < len(known) else blank for known in (before, after))
        if old.plain == new.plain and old.spans == new.spans:
            continue
        first, end = _differ(old, new)
        regions.append(Region(first, y, max(end - first, 1), 1))
    return regions


def _differ(old: Content, new: Content) -> tuple[int, int]:
    """The cells from the first to behind the last that look different; the whole line where its styles moved, or where
    a character may be wider than a cell."""
    a, b = old.plain, new.plain
    longest = max(len(a), len(b))
    if old.spans != new.spans or not all(ord(each) < 0x1100 or 0x2500 <= ord(each) < 0x2900 for each in a + b):
        return 0, longest * 2
    places = [at for at in range(longest) if a[at : at + 1] != b[at : at + 1]] or [0]
    return places[0], places[-1] + 1
