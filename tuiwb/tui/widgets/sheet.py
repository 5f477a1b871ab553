"""Text that is made for the width it has: a function of the width, of which only what changed is drawn again."""

from collections.abc import Callable

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from tuiwb.tui.widgets.rows import changed

Page = Callable[[int], Content]


def _blank(_: int) -> Content:
    return Content("")


class Sheet(Widget):
    """Shows what `page(width)` gives; the function must be quick, as it runs in the event loop."""

    DEFAULT_CSS = "Sheet { width: 1fr; height: auto; }"

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._page: Page = _blank
        self._made: dict[int, list[Content]] = {}

    def show(self, page: Page) -> None:
        """Take another page; cells that look as before are not sent again."""
        width = self.size.width
        before = self._made.get(width)
        self._page, self._made = page, {}
        if not width:
            self.clear_cached_dimensions()  # not on the screen: it is laid out when it comes there
        elif before is None or len(before) != len(self._lines(width)):
            self.refresh(layout=True)
        elif regions := changed(before, self._lines(width), len(before)):
            self.refresh(*regions)

    @property
    def text(self) -> str:
        """What is shown, as plain text."""
        return self._page(self.size.width or 80).plain

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render(self) -> Content:
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        """The page as it is laid out in so many cells."""
        if width not in self._made:
            self._made[width] = self._page(width).wrap(max(width, 1))
        return self._made[width]
