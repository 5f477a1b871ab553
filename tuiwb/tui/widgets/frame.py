"""What every screen has around its body: the line of tabs above, the line of hints below, and a sentence instead of
both when the terminal is too small."""

from typing import TYPE_CHECKING, Any, cast

from textual import events
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from tuiwb.base.text import gate, gate_line
from tuiwb.tui import keys

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench
    from tuiwb.tui.screen import RoomScreen

MINIMUM = (60, 16)
"""Columns and rows that the screens are made for, at least."""


class Pane(Vertical):
    """A bordered part of the body; its title is on the border, and the border shows the focus.

    Args:
        title: on the upper border.
        note: on the lower border, dim; change it with `border_subtitle`.
        widget: what every widget takes (`id`, `classes`).
    """

    ALLOW_MAXIMIZE = True

    def __init__(self, *children: Widget, title: str = "", note: str = "", **widget: Any) -> None:
        super().__init__(*children, **widget)
        self.border_title = Content(title) if title else None
        self.border_subtitle = Content(note) if note else None


class Empty(Widget):
    """An empty state: what is missing, and what to press. `say` changes it."""

    def __init__(self, what: str, press: str = "", id: str | None = None, classes: str = "") -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._what, self._press = what, press

    def say(self, what: str, press: str = "") -> None:
        self._what, self._press = what, press
        self.refresh(layout=True)

    def render(self) -> Content:
        lines = [Content.styled(gate(self._what), "$foreground")]
        if self._press:
            lines.append(Content.styled(gate(self._press), "dim"))
        return Content("\n").join(lines)


_Spot = tuple[int, int, str]
"""Columns of a line that can be clicked, from and to, and the action that this runs."""


class _Line(Widget):
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


class Header(_Line):
    """` tuiwb  1 Plan  2 Data …        recipe   status `"""

    def render(self) -> Content:
        bench, width = self.bench, self.size.width
        tight = width < 100
        parts: list[tuple[str, str]] = [(" tuiwb ", "bold $accent")]
        self._spots = []
        at = len(parts[0][0])
        for room in bench.rooms:
            current = room.name == bench.current_room
            number = keys.shown((bench.keys_of(f"app.{room.name}") or [""])[0])
            text = f" {number} {room.title} " if not tight else f"{number} {room.title} "
            if current:
                # The block is as wide as the others' text, so that the tabs do not move.
                parts.append((text, "bold $block-cursor-foreground on $block-cursor-background"))
            else:
                parts += [
                    (text[: text.index(number)] + number, "dim"),
                    (text[text.index(number) + len(number) :], "$foreground"),
                ]
            self._spots.append((at, at + len(text), f"app.go('{room.name}')"))
            at += len(text)
        room_left = width - at - 2
        status = gate_line(bench.status, max(min(room_left, 28), 0)) if room_left > 3 else ""
        title = gate_line(bench.workspace.title, max(room_left - len(status) - 2, 0)) if room_left > 6 else ""
        right = Content.assemble(
            (title, "bold $foreground"), ("  " if title and status else "", ""), (status, "$success")
        )
        gap = max(width - at - right.cell_length - 1, 0)
        return Content.assemble(*parts, " " * gap, right, " ")


class Hints(_Line):
    """The keys of this screen that matter now, then the global ones. A key that cannot be used is dim."""

    def render(self) -> Content:
        bench = self.bench
        screen = cast("RoomScreen", self.screen)
        width = self.size.width
        own = [row for row in keys.rows(screen.ROOM) if row.footer]
        general = [row for row in keys.GLOBAL if row.footer]
        right, right_spots, right_width = self._pieces(general, None)
        left, left_spots, _ = self._pieces(own, width - right_width - 1, screen)
        gap = max(width - left.cell_length - right_width, 0)
        shift = left.cell_length + gap
        self._spots = left_spots + [(start + shift, end + shift, action) for start, end, action in right_spots]
        del bench
        return Content.assemble(left, " " * gap, right)

    def _pieces(
        self, rows: list[keys.Key], width: int | None, screen: "RoomScreen | None" = None
    ) -> tuple[Content, list[_Spot], int]:
        parts: list[tuple[str, str]] = []
        spots = []
        at = 0
        for row in rows:
            bound = self.bench.keys_of(row.id)
            if not bound:
                continue
            key, label = keys.shown(bound[0]), f" {row.label} "
            piece = f" {key}{label}"
            if width is not None and at + len(piece) > width - 1:
                parts.append(("…", "dim"))
                at += 1
                break
            off = screen is not None and screen.reason(row.action) is not None
            parts.append((f" {key}", "dim" if off else "bold $accent"))
            parts.append((label, "dim" if off else "$foreground"))
            target = "app" if row.where == keys.APP else "screen"
            spots.append((at, at + len(piece), f"{target}.do('{row.action}')"))
            at += len(piece)
        return Content.assemble(*parts), spots, at


class TooSmall(Widget):
    """Shown alone when the terminal is smaller than `MINIMUM`; a resize brings the screen back."""

    def render(self) -> Content:
        return Content(f"Terminal too small: make it at least {MINIMUM[0]}×{MINIMUM[1]}.")
