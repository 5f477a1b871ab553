"""A log of any length: long lines are folded to the width, and only the rows that are seen are drawn; it follows its
end until the user scrolls up, and again once the user is back at the end."""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip

from tuiwb.base.text import fold, gate_line
from tuiwb.tui import keys
from tuiwb.tui.widgets.lines import Following

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench

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
        from tuiwb.tui.screen import normal

        bench = cast("Workbench", self.app)
        for row in keys.rows("lists"):
            for key in bench.keys_of(row.id):
                self._bindings.bind(normal(key), f"go('{row.action}')", show=False)

    def on_resize(self) -> None:
        self._measure()
        if self._follows:
            self._to_end()

    def action_go(self, where: str) -> None:
        page = max(self.size.height - 1, 1)
        by = {"down": 1, "up": -1, "page_down": page, "page_up": -page, "top": -1e9, "bottom": 1e9}[where]
        y = min(max(self.scroll_offset.y + by, 0), max(len(self._rows) - self.size.height, 0))
        self.scroll_to(y=y, animate=False)

    def render_line(self, y: int) -> Strip:
        at, width = y + self.scroll_offset.y, self.size.width
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        return Strip([Segment(self._rows[at], self.rich_style)]).adjust_cell_length(width, self.rich_style)
