"""Searching and filtering on the Data screen: both scan in a thread and may take a while on a large file."""

from typing import TYPE_CHECKING, Any

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line

if TYPE_CHECKING:
    from tuiwb.tui.screens.data import DataScreen

_HINT = "words, /regex/, column:words or column>number"


def ask_search(screen: "DataScreen") -> None:
    def typed(text: str) -> None:
        screen.query_text = text.strip()
        if screen.query_text:
            search(screen, 1, from_here=True)

    screen.ask("Search", typed, value=screen.query_text, hint=_HINT)


def search(screen: "DataScreen", step: int, *, from_here: bool = False) -> None:
    """Go to the next (`step` 1) or previous (-1) row that is looked for.

    Args:
        from_here: the row under the cursor counts too.
    """
    view, text = screen.view, screen.query_text
    if view is None:
        return
    start = (screen.row or 0) + (0 if from_here else step)

    def work(task: Task) -> int | None:
        from tuiwb.data.query import find, parse

        return find(view, parse(text, view.columns), start, backwards=step < 0, task=task)

    def done(found: int | None) -> None:
        if found is None:
            _nowhere(screen, text)
        elif view is screen.view:
            screen.go(found)

    screen.start("search", work, done)


def ask_filter(screen: "DataScreen") -> None:
    now = screen.query_text if screen.pages and screen.pages.ids is not None else ""
    screen.ask(
        "Show only rows with", lambda text: _filter(screen, text.strip()), value=now, hint=f"{_HINT}; empty: all"
    )


def _filter(screen: "DataScreen", text: str) -> None:
    view, pages, row = screen.view, screen.pages, screen.row
    if view is None or pages is None:
        return
    screen.query_text = text
    if not text:
        screen.cancel("search")
        pages.show_only(None)
        screen.fill(row)
        return

    def work(task: Task) -> Any:
        from tuiwb.data.query import matching, parse

        return matching(view, parse(text, view.columns), task)

    def done(ids: Any) -> None:
        if pages is not screen.pages:
            return
        if not len(ids):
            _nowhere(screen, text)
            return
        pages.show_only(ids)
        screen.fill(row)

    screen.start("search", work, done)


def _nowhere(screen: "DataScreen", text: str) -> None:
    screen.notify(f"“{gate_line(text, 40)}” is in no row.", severity="warning")
    screen.show_format()
