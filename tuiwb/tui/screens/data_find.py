"""Searching and filtering on the Data screen: both scan in a thread and may take a while on a large file."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.tui.widgets.table import Table

if TYPE_CHECKING:
    from tuiwb.tui.screens.data import DataScreen

_HINT = "words, /regex/, column:words, column>number, is:rejected, tag:name; join them by ' & '"


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
        from tuiwb.data import apart

        return apart.find(view, text, start, backwards=step < 0, task=task)

    def done(found: int | None) -> None:
        if found is None:
            _nowhere(screen, text)
        elif view is screen.view:
            screen.go(found)

    screen.start("search", work, done)


def ask_filter(screen: "DataScreen") -> None:
    now = screen.query_text if screen.pages and screen.pages.what.startswith("with") else ""
    screen.ask(
        "Show only rows with", lambda text: show_matching(screen, text.strip()), value=now, hint=f"{_HINT}; empty: all"
    )


def show_matching(screen: "DataScreen", text: str) -> None:
    """Show only the rows with this; all of them without."""
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
        from tuiwb.data import apart

        return apart.matching(view, text, task)

    def done(ids: Any) -> None:
        if pages is not screen.pages:
            return
        if not len(ids):
            _nowhere(screen, text)
            return
        pages.show_only(ids, f"with “{text}”")
        screen.fill(row)

    screen.start("search", work, done)


def ask_sort(screen: "DataScreen") -> None:
    """Let a column be chosen; again the same turns the order round."""
    from tuiwb.data.order import OWN_KEYS

    view, pages = screen.view, screen.pages
    if view is None or pages is None:
        return
    about = {"length": "characters of the row", "turns": "of its conversation"}
    keys = [*view.columns, *(key for key in OWN_KEYS if key not in view.columns)]
    options = [("file", "the order of the file")]
    options += [(f"{key} {way}", about.get(key, "")) for key in keys for way in ("▲", "▼")]

    def chosen(position: int) -> None:
        if position == 0:
            pages.show_only(None)
            screen.fill(0)
        else:
            key, way = keys[(position - 1) // 2], (position - 1) % 2
            show_sorted(screen, key, descending=bool(way))

    screen.choose("Sort by", [(gate_line(name, 40), words) for name, words in options], chosen)


def show_sorted(screen: "DataScreen", key: str, *, descending: bool) -> None:
    """Show the rows that are shown in the order of a column."""
    view, pages = screen.view, screen.pages
    if view is None or pages is None:
        return
    among, before = pages.ids, pages.what.partition(" by ")[0]

    def work(task: Task) -> Any:
        from tuiwb.data import apart

        return apart.ordered(view, key, descending=descending, among=among, task=task)

    def done(ids: Any) -> None:
        if pages is screen.pages:
            pages.show_only(ids, f"{before} by {key} {'▼' if descending else '▲'}".strip())
            screen.fill()
            screen.query_one("#table", Table).cursor = 0

    screen.start("search", work, done)


def ask_sample(screen: "DataScreen") -> None:
    """Show so many rows drawn at random from those that are shown."""
    view, pages = screen.view, screen.pages

    def typed(text: str) -> None:
        digits = text.strip().replace(",", "")
        if not digits.isdigit() or not int(digits):
            screen.problem(f"{text.strip()!r} is no number of rows")
            return

        def work(task: Task) -> Any:
            from tuiwb.data.order import sampled

            assert view is not None
            view.index(task)
            return sampled(view, int(digits), seed=random.randrange(1 << 32), among=pages.ids if pages else None)

        def done(ids: Any) -> None:
            if pages is not None and pages is screen.pages:
                pages.show_only(ids, "drawn at random")
                screen.fill(0)

        screen.start("search", work, done)

    screen.ask("Draw rows at random", typed, value="100", hint="how many of those that are shown")


def ask_export(screen: "DataScreen", pairs: str = "") -> None:
    """Write the rows that are shown, in their order and without the rejected ones, to a file; or, where answers were
    compared and `pairs` says so, these as preference rows."""
    view, pages = screen.view, screen.pages
    if view is None or pages is None:
        return
    if view.journal is not None and view.journal.pairs and not pairs:
        made = len(set(view.journal.pairs))
        choices = [("the rows that are shown", "without the rejected ones"),
                   ("the pairs", f"{made:,} compared answers as preference rows")]  # fmt: skip
        screen.choose("Write", choices, lambda at: ask_export(screen, pairs=("rows", "pairs")[at]))
        return
    ids = pages.ids
    proposed = view.path.with_name(f"{view.path.stem.split('.')[0]}-{pairs if pairs == 'pairs' else 'subset'}.jsonl")

    def typed(text: str) -> None:
        output = Path(text.strip()).expanduser()
        if not text.strip():
            return
        if output.exists():
            screen.confirm(f"Replace {output}?", lambda: write(output, force=True), yes="Replace")
        else:
            write(output, force=False)

    def write(output: Path, *, force: bool) -> None:
        def work(task: Task) -> int:
            from tuiwb.data.edits import write_pairs
            from tuiwb.data.subset import lines_of, write_lines

            view.index(task)
            if pairs == "pairs":
                return write_pairs(view, output, force=force)
            wanted = range(len(view)) if ids is None else ids
            kept = (int(number) for number in wanted if not view.left_out(int(number)))
            return write_lines(output, lines_of(view, kept, task, len(wanted)), view.store.files(), force=force)

        def done(written: int) -> None:
            screen.notify(f"{written:,} rows are in {gate_line(str(output))}.")

        screen.start("export", work, done)

    what = "pairs" if pairs == "pairs" else "rows that are shown"
    screen.ask(f"Write the {what} to", typed, value=str(proposed), hint="a .jsonl file, or .json")


def _nowhere(screen: "DataScreen", text: str) -> None:
    screen.notify(f"“{gate_line(text, 40)}” is in no row.", severity="warning")
    screen.show_format()
