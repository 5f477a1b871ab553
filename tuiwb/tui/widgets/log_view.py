"""A log of any length: long lines are folded to the width, and only the rows that are seen are drawn; it follows its
end until the user scrolls up, and again once the user is back at the end."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip

from tuiwb.base.text import fold, gate_line
from tuiwb.tui.widgets.lines import Following
from tuiwb.tui.widgets.scroll import bind_lists, scroll

LINES = 10_000
"""The newest lines are kept; the file has them all."""
_LONGEST = 4000


class LogView(Following, can_focus=True, inherit_bindings=False):
    """Lines of text from outside. Its keys are those of the lists."""

    DEFAULT_CSS = """
    LogView { height: 1fr; width: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self._lines: deque[str] = deque(maxlen=LINES)
        self._rows: deque[str] = deque()
        self._heights: deque[int] = deque()  # rows of each line
        self._width = 0

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def clear(self) -> None:
        self._lines.clear()
        self._rows.clear()
        self._heights.clear()
        self._follows = True
        self._measure()

    def add(self, lines: Iterable[str]) -> None:
        """Append lines; tabs and controls are made visible when they are drawn."""
        dropped = 0
        for line in lines:
            if len(self._lines) == LINES:
                height = self._heights.popleft()
                dropped += height
                for _ in range(height):
                    self._rows.popleft()
            self._lines.append(line)
            self._fold(line)
        self._measure()
        if self._follows:
            self.call_after_refresh(self._to_end)
        elif dropped:
            # What the user reads stays where it is.
            self.scroll_to(y=max(self.scroll_offset.y - dropped, 0), animate=False)

    def _fold(self, line: str) -> None:
        rows = fold(gate_line(line.replace("\t", "    ")[:_LONGEST]), self._width or 80)
        self._rows.extend(rows)
        self._heights.append(len(rows))

    def _measure(self) -> None:
        width = self.size.width - 1  # the last column is the scroll bar's
        if width > 0 and width != self._width:
            self._width = width
            self._rows.clear()
            self._heights.clear()
            for line in self._lines:
                self._fold(line)
        self.virtual_size = Size(self.size.width, len(self._rows))
        self.refresh()

    def on_mount(self) -> None:
        bind_lists(self, "go('{}')")

    def on_resize(self) -> None:
        self._measure()
        if self._follows:
            self._to_end()

    def action_go(self, where: str) -> None:
        scroll(self, where)

    def render_line(self, y: int) -> Strip:
        at, width = y + self.scroll_offset.y, self.size.width
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        return Strip([Segment(self._rows[at], self.rich_style)]).adjust_cell_length(width, self.rich_style)
