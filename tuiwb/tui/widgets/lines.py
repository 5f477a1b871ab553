"""How many lines a scrolled widget has: told without a layout of the whole screen, which costs more than drawing it."""

from textual.geometry import Size
from textual.scroll_view import ScrollView


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
