"""The Settings screen: every setting of `base.settings` with its help, and every key of the key table."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin

import msgspec
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from tuiwb.base import paths, settings
from tuiwb.base.text import gate_line
from tuiwb.tui import keys
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.table import Column, Table


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the screen: a setting, or an action and its keys (`keys.<id>`)."""

    key: str
    value: Any
    default: Any
    kind: Any
    help: str


class SettingsScreen(RoomScreen):
    ROOM: ClassVar[str] = "settings"

    def compose_body(self) -> ComposeResult:
        with Horizontal():
            yield Pane(Table(Column("setting", 24, flex=1), Column("value", 18, flex=1)), title="Settings", id="list")
            yield Pane(Static(id="about"), title="What it does", id="detail")

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[Entry, ...] = ()
        self._filter = ""

    def shown(self) -> None:
        self._list()

    def settings_changed(self) -> None:
        self._list()

    def _list(self) -> None:
        words = self._filter.lower().split()
        everything = entries(self.bench.settings)
        self._entries = tuple(
            entry for entry in everything if all(word in f"{entry.key} {entry.help}".lower() for word in words)
        )
        table = self.query_one(Table)
        table.fill(len(self._entries), self._row)
        note = f"/{self._filter}  {len(self._entries)} of {len(everything)}" if self._filter else ""
        self.query_one("#list", Pane).note(note)
        self._about(table.cursor)
        self.refresh_hints()

    def _row(self, at: int) -> tuple[str, tuple[str, str]]:
        entry = self._entries[at]
        shown = written(entry)
        changed = entry.value != entry.default
        return entry.key, (shown or "–", "accent" if changed else "" if shown else "dim")

    def on_table_moved(self, event: Table.Moved) -> None:
        self._about(event.row)

    def on_table_chosen(self) -> None:
        self.action_edit()

    def _about(self, at: int) -> None:
        if not self._entries:
            self.query_one("#about", Static).update(Content("Nothing matches the filter; / changes it."))
            return
        entry = self._entries[at]
        lines = [
            Content.styled(entry.key, "bold"),
            Content(""),
            Content(entry.help),
            Content(""),
            Content.assemble(("now      ", "dim"), gate_line(written(entry)) or "–"),
            Content.assemble(("default  ", "dim"), written(entry, entry.default) or "–"),
        ]
        if place := _place(entry.key, self.bench.settings):
            lines.insert(-1, Content.assemble(("which is ", "dim"), gate_line(place)))
        self.query_one("#about", Static).update(Content("\n").join(lines))

    def reason(self, action: str) -> str | None:
        return "Nothing matches the filter." if action in ("edit", "reset") and not self._entries else None

    @property
    def _current(self) -> Entry:
        return self._entries[self.query_one(Table).cursor]

    def action_edit(self) -> None:
        entry = self._current
        options: tuple[Any, ...] = ()
        if entry.kind is bool:
            self.bench.save_setting(entry.key, not entry.value)
            return
        if get_origin(entry.kind) is Literal:
            options = get_args(entry.kind)
        elif entry.key == "screen.theme":
            options = tuple(sorted(self.app.available_themes))
        if options:
            self.choose(
                entry.key,
                [(str(option), "") for option in options],
                lambda at: self.bench.save_setting(entry.key, options[at]),
                current=options.index(entry.value) if entry.value in options else 0,
            )
        else:
            self._type(entry, written(entry), entry.help)

    def _type(self, entry: Entry, value: str, hint: str) -> None:
        self.ask(entry.key, lambda text: self._take(entry, text), value=value, hint=hint)

    def _take(self, entry: Entry, text: str) -> None:
        """Save what was typed, or say there what is wrong with it."""
        kind = list[str] if entry.kind == list[str] else entry.kind
        try:
            value = msgspec.convert(text.split() if kind == list[str] else text.strip(), kind, strict=False)
        except msgspec.ValidationError:
            self._type(entry, text, f"`{text}` is not {_wanted(kind)}")
            return
        self.bench.save_setting(entry.key, value)

    def action_reset(self) -> None:
        entry = self._current
        if entry.value != entry.default:
            self.bench.save_setting(entry.key, entry.default)

    def action_filter(self) -> None:
        self.ask(
            "Filter the settings",
            self._show_only,
            value=self._filter,
            hint="words of the name or the help; empty shows all",
        )

    def _show_only(self, text: str) -> None:
        self._filter = text.strip()
        self._list()

    def show_all(self) -> None:
        if self._filter:
            self._show_only("")

    def action_file(self) -> None:
        self.app.notify(str(paths.config_file()))

    def copyable(self) -> str:
        return f"{self._current.key} = {written(self._current)}" if self._entries else ""


def entries(now: settings.Settings) -> tuple[Entry, ...]:
    """Every setting and every action, in the order of the file and of the key table."""
    helps = settings.help_texts()
    lines = [
        Entry(
            f"{section}.{name}",
            getattr(getattr(now, section), name),
            getattr(struct(), name),
            kind,
            helps[f"{section}.{name}"],
        )
        for section, struct in settings.SECTIONS.items()
        for name, kind in ((field.name, field.type) for field in msgspec.structs.fields(struct))
    ]
    for row in keys.table():
        lines.append(Entry(f"keys.{row.id}", now.keys.get(row.id, row.keys), row.keys, str, row.help))
    return tuple(lines)


def written(entry: Entry, value: Any = None) -> str:
    """A value as the user types it."""
    shown = entry.value if value is None else value
    if isinstance(shown, list):
        return " ".join(shown)
    if isinstance(shown, bool):
        return "on" if shown else "off"
    return str(shown)


def _place(key: str, now: settings.Settings) -> str:
    """The folder that a setting of `places` comes to."""
    roots = {
        "places.runs": settings.runs_root,
        "places.models": settings.models_root,
        "places.cache": settings.cache_root,
    }
    return str(roots[key](now)) if key in roots else ""


def _wanted(kind: Any) -> str:
    return {float: "a number", int: "a whole number"}.get(kind, "a value for it")
