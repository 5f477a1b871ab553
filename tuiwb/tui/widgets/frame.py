"""What every screen has around its body: the line of tabs above, the line of hints below, and a sentence instead of
both when the terminal is too small."""

from typing import TYPE_CHECKING, Any, cast

from textual import events
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from tuiwb.base.text import gate, gate_line
from tuiwb.tui import keys
from tuiwb.tui.widgets.rows import Redrawn

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench
    from tuiwb.tui.screen import RoomScreen

MINIMUM = (60, 16)
"""Columns and rows that the screens are made for, at least."""


class Pane(Vertical):
    """A bordered part of the body; its title is on the border, and the border shows the focus.

    Args:
        title: on the upper border.
        note: on the lower border, dim; change it with `note`.
        widget: what every widget takes (`id`, `classes`).
    """

    ALLOW_MAXIMIZE = True

    def __init__(self, *children: Widget, title: str = "", note: str = "", **widget: Any) -> None:
        super().__init__(*children, **widget)
        self.border_title = Content(title) if title else None
        self.border_subtitle = Content(note) if note else None
        self._note = note

    def note(self, text: str) -> None:
        """Write on the lower border. Nothing is drawn again when it stands there already, because a border is drawn
        with all that is inside it."""
        if text != self._note:
            self._note = text
            self.border_subtitle = Content(text) if text else None


class Empty(Widget):
    """An empty state: what is missing, and what to press. `say` changes it."""

    def __init__(self, what: str, press: str = "", id: str | None = None, classes: str = "") -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._what, self._press = what, press

    def say(self, what: str, press: str = "") -> None:
        if (what, press) != (self._what, self._press):  # a layout costs more than all else that a screen does
            self._what, self._press = what, press
            self.refresh(layout=True)

    def render(self) -> Content:
        lines = [Content.styled(gate(self._what), "$foreground")]
        if self._press:
            lines.append(Content.styled(gate(self._press), "dim"))
        return Content("\n").join(lines)


_Spot = tuple[int, int, str]
"""Columns of a line that can be clicked, from and to, and the action that this runs."""


class Line(Redrawn):
    """One line made of pieces, some of which can be clicked."""

    def __init__(self) -> None:
        super().__init__()
        self._spots: list[_Spot] = []

    @property
    def bench(self) -> "Workbench":
        return cast("Workbench", self.app)

    async def on_click(self, event: events.Click) -> None:
        for start, end, action in self._spots:
            if start <= event.x < end:
                await self.run_action(action)
                return


class Header(Line):
    """` tuiwb  1 Plan  2 Data …        recipe   status `"""

    def text(self) -> Content:
        bench, width = self.bench, self.size.width
        gap = " " if width < 100 else "  "
        # On the narrowest terminal the tabs need its place.
        parts: list[tuple[str, str]] = [(" tuiwb" + gap if width >= 66 else " ", "bold $text-accent")]
        self._spots = []
        at = len(parts[0][0])
        for room in bench.rooms:
            number = keys.shown((bench.keys_of(f"app.{room.name}") or [""])[0])
            text = f"{number} {room.title}"
            if room.name == bench.current_room:
                parts.append((text, "bold reverse $text-accent"))
            else:
                parts += [(f"{number} ", "dim"), (room.title, "$foreground")]
            parts.append((gap, ""))
            self._spots.append((at, at + len(text), f"app.go('{room.name}')"))
            at += len(text) + len(gap)
        right = self._right(width - at - 1)
        return Content.assemble(*parts, " " * max(width - at - right.cell_length - 1, 0), right, " ")

    def _right(self, room: int) -> Content:
        """The open recipe and what runs now, in at most `room` cells; what runs comes first."""
        status = gate_line(self.bench.status, max(room, 0)) if room > 3 else ""
        left = room - len(status) - 2
        title = self.bench.workspace.title
        if title:
            shown = (gate_line(title, left) if left > 3 else "", "bold $foreground")
        else:
            open_key = keys.shown((self.bench.keys_of("app.open_recipe") or ["?"])[0])
            shown = (f"{open_key} opens a recipe" if left > 20 else "", "dim")
        return Content.assemble(shown, ("  " if shown[0] and status else "", ""), (status, "$text-success"))


_TAKEN_BY_TEXT = {"backspace", "delete", "space", "home", "end", "pageup", "pagedown"}


class Hints(Line):
    """The keys of this screen that matter now, then the global ones. A key that cannot be used is dim, and gives way
    where not all have room; what room is left shows further keys. One that the focused text field would take as text is
    left out."""

    def text(self) -> Content:
        screen = cast("RoomScreen", self.screen)
        width = self.size.width
        general, general_spots = self._pieces([row for row in keys.GLOBAL if row.footer], width)
        room = width - general.cell_length - 1
        way_out = "esc leaves the field  " if self._typing else ""
        own, spots = self._pieces(self._own(screen, room), room, way_out)
        gap = max(width - own.cell_length - general.cell_length, 0)
        shift = own.cell_length + gap
        self._spots = spots + [(start + shift, end + shift, action) for start, end, action in general_spots]
        return Content.assemble(own, " " * gap, general)

    def _own(self, screen: "RoomScreen", width: int) -> list[keys.Key]:
        """The rows of this screen in the order in which they are shown, as far as there is room."""
        rows = keys.rows(screen.ROOM)
        first = [row for row in rows if row.footer]
        if self._typing or sum(self._cells(row) for row in first) >= width:
            first = [row for row in first if not self._off(row)]
        return first + [row for row in rows if not row.footer and not self._off(row)]

    def _cells(self, row: keys.Key) -> int:
        key = self._key(row)
        return len(key) + len(row.label) + 3 if key else 0

    def _off(self, row: keys.Key) -> bool:
        screen = cast("RoomScreen", self.screen)
        return row.where != keys.APP and screen.is_open and screen.reason(row.action) is not None

    def _pieces(self, rows: list[keys.Key], width: int, before: str = "") -> tuple[Content, list[_Spot]]:
        """What stands before them, and the hints of these rows, as many as go into `width` cells."""
        parts: list[tuple[str, str]] = [(" ", ""), (before, "dim")]
        spots: list[_Spot] = []
        at = 1 + len(before)
        pieces = [(row, key) for row in rows if (key := self._key(row))]
        for row, key in pieces:
            if at + self._cells(row) > width and row.where != keys.APP:
                parts.append(("…", "dim"))
                break
            off = self._off(row)
            parts += [
                (f"{key} ", "dim" if off else "bold $text-accent"),
                (f"{row.label}  ", "dim" if off else "$foreground"),
            ]
            end = at + self._cells(row)
            spots.append((at, end, f"{'app' if row.where == keys.APP else 'screen'}.do('{row.action}')"))
            at = end
        return Content.assemble(*parts), spots

    @property
    def _typing(self) -> bool:
        return takes_text(self.screen.focused)

    def _key(self, row: keys.Key) -> str:
        """The first key of a row that works now, as it is shown; empty when there is none."""
        for key in self.bench.keys_of(row.id):
            if not (self._typing and (key in _TAKEN_BY_TEXT or len(keys.shown(key)) == 1)):
                return keys.shown(key)
        return ""


def takes_text(widget: Widget | None) -> bool:
    """Whether the widget, when it has the focus, takes letters as text."""
    return widget is not None and widget.check_consume_key("a", "a")


class TooSmall(Widget):
    """Shown alone when the terminal is smaller than `MINIMUM`; a resize brings the screen back."""

    def render(self) -> Content:
        return Content(f"Terminal too small: make it at least {MINIMUM[0]}×{MINIMUM[1]}.")
