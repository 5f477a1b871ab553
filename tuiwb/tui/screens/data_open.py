"""Opening datasets on the Data screen: one beside the other, with the edits that were made to each."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.tui.screens import data_format
from tuiwb.tui.screens.data_files import Found, OpenDataset, complete
from tuiwb.tui.screens.data_rows import RowPages
from tuiwb.tui.widgets.start import Offer, Start

if TYPE_CHECKING:
    from tuiwb.data import Problem, View
    from tuiwb.data.render import Renderer
    from tuiwb.tui.screens.data import DataScreen

_TEXTS = (".txt", ".md")
_NAMED = ("name", "split", "subset")


@dataclass
class Source:
    """A dataset that is open, and where the user is in it."""

    view: "View"
    pages: RowPages
    query_text: str = ""
    changed: str = ""
    row: int = 0
    fitted: "Renderer | None" = None
    """With which every row was rendered, and what was wrong then."""
    misfits: "tuple[Problem, ...]" = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be opened: a path, or a recipe's entry, and what the user named."""

    path: str
    entry: Any = None
    name: str | None = None
    columns: Any = None
    split: str | None = None
    subset: str | None = None


def load(wish: Wish, _: Task) -> "View":
    """Open it with its journal, which is made with the first change."""
    from tuiwb import data

    view = data.open(
        wish.entry or wish.path,
        name=wish.name,
        columns=wish.columns,
        split=wish.split,
        subset=wish.subset,
        editable=True,
    )
    view.rows(0, 1)
    return view


def failed(screen: "DataScreen", wish: Wish, error: TuiwbError) -> None:
    """Where one of several must be named, let it be chosen."""
    if screen.view is None:
        screen.set_class(True, "-nothing")
        begin(screen)
    names = getattr(error, "names", ())
    if not names:
        screen.problem(error)
        return
    what = error.what  # type: ignore[attr-defined]

    def chosen(position: int) -> None:
        from dataclasses import replace

        screen.open_wish(replace(wish, **{what: names[position]}))

    screen.choose(f"Which {what}?", [(name, "") for name in names], chosen)


def state_of(view: "View | None") -> dict[str, Any]:
    """What the session keeps of the dataset that is shown: its path, and what the user named."""
    if view is None:
        return {"path": ""}
    (name, columns), (split, subset) = view.given, view.part
    named = {"name": name, "columns": dict(columns) if columns else None, "split": split, "subset": subset}
    return {"path": str(view.path), **{what: how for what, how in named.items() if how}}


def wish_of(state: dict[str, Any]) -> Wish | None:
    """What `state_of` kept; what cannot be understood is left away."""
    path, columns = state.get("path"), state.get("columns")
    if not isinstance(path, str) or not path:
        return None
    name, split, subset = (one if isinstance(one := state.get(what), str) else None for what in _NAMED)
    mapped = columns if isinstance(columns, dict) and all(isinstance(one, str) for one in columns.values()) else None
    return Wish(path, None, name, mapped, split, subset)


def offered(screen: "DataScreen") -> list[Found]:
    """What is open, what the recipe names, what was open."""
    opened = [str(source.view.path) for source in screen.sources]
    found = [(path, "open") for path in opened]
    found += [(path, "of the recipe") for path in data_format.datasets_of(screen.workspace) if path not in opened]
    known = {path for path, _ in found}
    return found + [(path, "recent") for path in screen.recent if path not in known]


def begin(screen: "DataScreen") -> None:
    """Fill what is shown while nothing is open: the datasets that are known, then those in the current folder."""
    known = offered(screen)

    def find(_: object) -> list[Found]:
        seen = {str(Path(path).resolve()) for path, _ in known}
        here = [one for one in complete("") if one[1] != "folder" and str(Path(one[0]).resolve()) not in seen]
        # Plain text can be rows, and seldom is.
        return known + sorted(here, key=lambda one: one[0].lower().endswith(_TEXTS))

    def found(datasets: list[Found]) -> None:
        offers = [Offer(path, path, about) for path, about in datasets]
        facts = [("this folder", str(Path.cwd()))]
        screen.query_one(Start).show(facts, [*offers, Offer("", "another…", "type its path")])

    screen.start("what is here", find, found)


def ask(screen: "DataScreen") -> None:
    """The dialog: what is offered, and any path."""

    def chosen(path: str | None) -> None:
        if not path:
            return
        here = next((source for source in screen.sources if str(source.view.path) == path), None)
        if here is not None:
            screen.show_source(here)
        else:
            screen.open(str(Path(path).expanduser()))

    screen.app.push_screen(OpenDataset(offered(screen)), chosen)


def switch(screen: "DataScreen", by: int) -> None:
    """The next or previous of the open datasets."""
    at = next((number for number, source in enumerate(screen.sources) if source is screen.source), 0)
    screen.show_source(screen.sources[(at + by) % len(screen.sources)])


def reload(screen: "DataScreen") -> None:
    """Read the file again, as it was opened."""
    view = screen.view
    if view is not None:
        (name, columns), (split, subset) = view.given, view.part
        screen.open_wish(Wish(str(view.path), None, name, columns, split, subset))


def look_again(screen: "DataScreen") -> None:
    """See what happened to the file since, and what another program did to its rows."""
    view = screen.view
    if view is None:
        return

    def look(_: Task) -> tuple[str, bool]:
        edited = False
        if view.journal is not None:
            with contextlib.suppress(TuiwbError):  # the next change says so
                edited = view.journal.refresh()
        return view.changed() or "", edited

    def done(now: tuple[str, bool]) -> None:
        changed, edited = now
        source = screen.source
        if source is None or source.view is not view:
            return
        if changed != source.changed:
            source.changed = changed
            screen.show_format()
        if edited:
            source.pages.forget()
            screen.fill()
            screen.refresh_hints()

    screen.start("changed", look, done)
