"""Text that is scrolled by the keys of the lists."""

from typing import TYPE_CHECKING, cast

from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from tuiwb.tui import keys
from tuiwb.tui.widgets.frame import Pane

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench


def bind_lists(widget: Widget, action: str = "{}") -> None:
    """Bind the keys of the lists that are in force (`keys.lists`) on a widget.

    Args:
        action: what a key does, with {} for the name of the row: down, up, page_down, page_up, top, bottom.
    """
    from tuiwb.tui.screen import normal

    bench = cast("Workbench", widget.app)
    for row in keys.rows("lists"):
        for key in bench.keys_of(row.id):
            widget._bindings.bind(normal(key), action.format(row.action), row.label, show=False)


def scroll(widget: Widget, where: str) -> None:
    """Scroll as a row of `keys.lists` says."""
    page = max(widget.size.height - 1, 1)
    by = {"down": 1, "up": -1, "page_down": page, "page_up": -page}.get(where)
    y = widget.scroll_offset.y + by if by is not None else 0 if where == "top" else widget.max_scroll_y
    widget.scroll_to(y=y, animate=False)


class Scroll(VerticalScroll, inherit_bindings=False):
    """What is higher than its place."""

    def on_mount(self) -> None:
        bind_lists(self, "go('{}')")

    def action_go(self, where: str) -> None:
        scroll(self, where)


def scrolled(view: str, title: str) -> Pane:
    """A pane with a text: the pane has the id `view`, the text `view`-text."""
    return Pane(Scroll(Static(id=f"{view}-text")), title=title, id=view)
