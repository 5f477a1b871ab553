"""The dialog that opens a dataset: recent ones, those of the recipe, and any path, completed while it is typed."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tuiwb.base.errors import TuiwbError
from tuiwb.base.text import gate_line
from tuiwb.base.units import size
from tuiwb.tui.dialogs import MOST_OPTIONS, bound
from tuiwb.tui.jobs import JobHost

_ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".md", ".parquet", ".arrow", ".gz", ".zst", ".bz2")
_EDITS = ".edits.jsonl"
"""Journals of edits, which lie beside datasets and are none."""

_MOST = 200

Found = tuple[str, str]
"""A path as it goes into the text field, and what it is."""


def complete(typed: str) -> list[Found]:
    """Folders and datasets that begin as what was typed; of a folder that was typed whole, all its files first."""
    start = os.path.expanduser(typed)  # noqa: PTH111 - a Path would lose the slash at the end
    folder, begun = os.path.split(start)
    found: list[tuple[bool, str, str]] = []
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                if not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun):
                    continue
                path = os.path.join(folder, entry.name)  # noqa: PTH118 - as it was typed
                with contextlib.suppress(OSError):  # a link that leads nowhere, or round in circles
                    if entry.is_dir():
                        found.append((True, f"{path}/", "folder"))
                    elif entry.name.lower().endswith(_ENDINGS) and (begun or not entry.name.endswith(_EDITS)):
                        found.append((False, path, size(entry.stat().st_size)))
    except OSError:
        return []
    whole = [(folder, "all files of this folder")] if typed.endswith("/") and found and folder.strip("/") else []
    return whole + [(path, about) for _, path, about in sorted(found)[:_MOST]]


def name_of(path: str) -> str:
    """The last part of a path, with the slash of a folder."""
    return Path(path).name + ("/" if path.endswith("/") else "")


class OpenDataset(JobHost, ModalScreen[str | None]):
    """A path, or None when left with Escape.

    Args:
        offered: paths to choose from while nothing is typed, with a word on each.
        start: what stands in the text field.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave"),
        ("down", "move(1)"),
        ("up", "move(-1)"),
        ("pagedown", "move(10)"),
        ("pageup", "move(-10)"),
    ]

    def __init__(self, offered: Sequence[Found], start: str = "") -> None:
        super().__init__()
        self._offered = list(offered)
        self._start = start
        self._found: list[Found] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog choose") as box:
            box.border_title = "Open a dataset"
            yield Input(self._start, placeholder="path of a dataset", compact=True, select_on_focus=False)
            listing = OptionList(compact=True)
            listing.can_focus = False
            yield listing
            yield Static(Content.styled("tab: complete   ↑↓ move   enter: open   esc: leave", "dim"), classes="detail")

    def on_mount(self) -> None:
        self._complete(self._start)

    def on_resize(self) -> None:
        bound(self.query_one(OptionList), 7, MOST_OPTIONS)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._complete(event.value)

    def _complete(self, typed: str) -> None:
        if not typed.strip() and self._offered:
            self._show(self._offered)
        else:
            self.start("complete", lambda _: complete(typed.strip()), self._show)

    def _show(self, found: list[Found]) -> None:
        self._found = found
        listing = self.query_one(OptionList)
        listing.clear_options()
        # What was completed stands in the field above, up to the name; a long path would leave no room for its end.
        names = [path if found is self._offered else name_of(path) for path, _ in found]
        width = max(map(len, names), default=0)
        listing.add_options(
            Option(Content.assemble((gate_line(name).ljust(width + 2), "$foreground"), (gate_line(about), "dim")))
            for name, (_, about) in zip(names, found, strict=True)
        )
        listing.highlighted = 0 if found else None

    @property
    def _highlighted(self) -> str | None:
        at = self.query_one(OptionList).highlighted
        return None if at is None or at >= len(self._found) else self._found[at][0]

    def on_key(self, event: events.Key) -> None:
        if event.key == "tab":
            event.stop()
            event.prevent_default()
            if self._highlighted:
                self._put(self._highlighted)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A file that was typed whole is opened; otherwise the highlighted one, and a folder is gone into."""
        typed = event.value.strip()
        whole = typed and Path(typed).expanduser().is_file()
        chosen = typed if whole else self._highlighted or typed
        if chosen.endswith("/"):
            self._put(chosen)
        elif chosen:
            self.dismiss(chosen)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = self._found[event.option_index][0]
        if chosen.endswith("/"):
            self._put(chosen)
        else:
            self.dismiss(chosen)

    def action_move(self, by: int) -> None:
        listing = self.query_one(OptionList)
        if listing.option_count:
            listing.highlighted = min(max((listing.highlighted or 0) + by, 0), listing.option_count - 1)

    def action_leave(self) -> None:
        self.dismiss(None)

    def job_failed(self, error: TuiwbError) -> None:
        self.app.notify(gate_line(str(error)), severity="error", markup=False)

    def _put(self, path: str) -> None:
        field = self.query_one(Input)
        field.value = path
        field.cursor_position = len(path)
