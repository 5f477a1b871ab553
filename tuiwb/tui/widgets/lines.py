"""Scrolled lines: how many there are, told without a layout of the whole screen, which costs more than drawing it; and
how they stay at their end."""

from collections.abc import Sized

from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBar

from tuiwb.tui.widgets.bar import Bar


def set_lines(view: ScrollView, lines: int) -> None:
    """Give a widget that draws its own lines another number of them, and draw it again.

    Only where the scroll bar comes or goes must the screen be laid out: it takes a column.
    """
    size = Size(view.size.width, lines)
    if size == view.virtual_size:
        view.refresh()
        return
    fits = lines <= view.container_size.height
    if not view.container_size or fits == view.show_vertical_scrollbar:
        view.virtual_size = size
        return
    view.set_reactive(ScrollView.virtual_size, size)
    if view.show_vertical_scrollbar:
        view.vertical_scrollbar.window_virtual_size = lines
    view.refresh()


class Following(ScrollView):
    """Lines that stay at their end until the user scrolls up, and again once the user is back there."""

    _rows: Sized
    _follows = True

    @property
    def vertical_scrollbar(self) -> ScrollBar:
        if self._vertical_scrollbar is None:
            bar = self._vertical_scrollbar = Bar(thickness=self.scrollbar_size_vertical)
            bar.display = False
            self.app._start_widget(self, bar)
        return self._vertical_scrollbar

    def _to_end(self) -> None:
        self.scroll_to(y=max(len(self._rows) - self.size.height, 0), animate=False, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._follows = new_value >= self.max_scroll_y - 0.5
