"""`?`: the keys of the screen that is shown, of the workbench and of lists, from the key table."""

from typing import TYPE_CHECKING

from textual.content import Content

from tuiwb.tui import keys
from tuiwb.tui.dialogs import Reader, hang, reader_room

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench


def open_help(bench: "Workbench") -> None:
    room = next(room for room in bench.rooms if room.name == bench.current_room)
    bench.push_screen(Reader(f"{room.title} — {room.about}", help_text(bench, room.name)))


def help_text(bench: "Workbench", where: str) -> Content:
    """Every action of one screen, the global ones and those of lists, by group, with its keys and its sentence."""
    rows = [*keys.rows(where), *keys.GLOBAL, *keys.rows("lists")]
    shown = {row.id: ", ".join(keys.shown(key) for key in bench.keys_of(row.id)) or "—" for row in rows}
    width = max(len(text) for text in shown.values())
    room = reader_room(bench.size.width)
    groups: dict[str, list[keys.Key]] = {}
    for row in rows:
        groups.setdefault(row.group or "This screen", []).append(row)
    parts: list[Content] = []
    for group, members in groups.items():
        parts.append(Content.styled(group, "bold $text-accent"))
        parts += [
            Content.assemble(
                "  ", (shown[row.id].ljust(width), "bold $foreground"), "  ", (hang(row.help, width + 4, room), "dim")
            )
            for row in members
        ]
        parts.append(Content(""))
    parts.append(Content.styled("tab, ⇧tab: to the next part of the screen, back. esc: a step back.", "dim"))
    parts.append(Content.styled("Keys of your own: Settings, or [keys] in the settings file.", "dim"))
    return Content("\n").join(parts)
