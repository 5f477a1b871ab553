"""Text that is made for the width it has: a function of the width, drawn again only when it gives something else."""

from collections.abc import Callable

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

Page = Callable[[int], Content]


def _blank(_: int) -> Content:
    return Content("")


class Sheet(Widget):
    """Shows what `page(width)` gives; the function must be quick, as it runs in the event loop."""

    DEFAULT_CSS = "Sheet { width: 1fr; height: auto; }"

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._page: Page = _blank
        self._made: dict[int, Content] = {}

    def show(self, page: Page) -> None:
        """Take another page; nothing is drawn where it says the same as the one before."""
        width = self.size.width
        before = self._made.get(width) if width else None
        lines = self._lines(width) if width else -1
        self._page, self._made = page, {}
        if before is not None and self._content(width) == before:
            return
        self.refresh(layout=not width or self._lines(width) != lines)

    @property
    def text(self) -> str:
        """What is shown, as plain text."""
        return self._content(self.size.width or 80).plain

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._lines(width)

    def render(self) -> Content:
        return self._content(self.size.width)

    def _content(self, width: int) -> Content:
        if width not in self._made:
            self._made[width] = self._page(width)
        return self._made[width]

    def _lines(self, width: int) -> int:
        return self._content(width).get_height({}, max(width, 1))
