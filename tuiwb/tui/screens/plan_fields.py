"""The fields of the Plan screen: one widget, one line a field, edited in place.

Digits typed on a number change it at once, left and right step through the words of a choice; everything else (letters,
`?`, the numbers of the screens while a choice is highlighted) stays with the bindings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.containers import ScrollableContainer
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive

from tuiwb.base.text import gate_line
from tuiwb.base.units import unit_of
from tuiwb.tui.widgets.rows import Redrawn


@dataclass(frozen=True, slots=True)
class Field:
    """A line of the form.

    Attributes:
        key: of the recipe, or `gpu`.
        kind: how it is edited; `pick` opens a dialog.
        unit: in the plural.
        value: what is in force, as text; `stated` says that the recipe says so.
        choices: the words of a choice.
        help: one sentence.
        reason: why the value was chosen, where the recipe leaves it out.
    """

    key: str
    label: str
    kind: str
    value: str
    stated: bool
    choices: tuple[str, ...] = ()
    help: str = ""
    unit: str = ""
    reason: str = ""


class Fields(Redrawn, can_focus=True):
    """Shows fields, and says what the user makes of them by `Edited`, `Moved` and `Picked`."""

    DEFAULT_CSS = "Fields { height: auto; width: 1fr; }"

    cursor: reactive[int] = reactive(0, init=False)

    @dataclass
    class Edited(Message):
        """A value was typed or stepped to."""

        key: str
        value: str

    @dataclass
    class Moved(Message):
        """Another field is highlighted."""

        field: Field

    @dataclass
    class Picked(Message):
        """Enter or a click on a field that is highlighted."""

        field: Field

    def __init__(self) -> None:
        super().__init__()
        self.fields: tuple[Field, ...] = ()
        self._typed: str | None = None

    def fill(self, fields: Sequence[Field]) -> None:
        """Show these; the cursor stays on its key."""
        before = self.current
        # The number of lines changes with the method; only then must the layout be made anew.
        layout = len(fields) != len(self.fields)
        self.fields = tuple(fields)
        keys = [field.key for field in self.fields]
        if before is not None and before.key in keys:
            self.set_reactive(Fields.cursor, keys.index(before.key))
        self.cursor = min(self.cursor, max(len(keys) - 1, 0))
        if layout:
            self.refresh(layout=True)
        else:
            self.redraw()

    @property
    def current(self) -> Field | None:
        return self.fields[self.cursor] if self.cursor < len(self.fields) else None

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self.fields)

    def text(self) -> Content:
        width = self.size.width
        wide = max((len(field.label) for field in self.fields), default=0) + 2
        lines = []
        for at, field in enumerate(self.fields):
            on = at == self.cursor
            value = self._typed if on and self._typed is not None else field.value
            text = gate_line(value) or "–"
            if on and field.kind == "number" and self.has_focus:
                text += "▏"
            elif on and field.kind == "choice" and self.has_focus:
                text = f"‹ {text} ›"
            unit = f" {unit_of(value, field.unit)}" if field.unit and not on and value else ""
            line = f"{field.label:<{wide}}{text}{unit}"
            line = gate_line(line, width).ljust(width)
            if on:
                style = "bold $block-cursor-foreground on $block-cursor-background" if self.has_focus else "reverse"
                lines.append(Content.styled(line, style))
            else:
                lines.append(
                    Content.assemble(
                        (line[:wide], "$text-muted"), (line[wide:], "$text-accent" if field.stated else "")
                    )
                )
        return Content("\n").join(lines)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Digits belong to a highlighted number, and to nobody else."""
        return self._is_number and character is not None and character.isdigit()

    @property
    def _is_number(self) -> bool:
        return self.current is not None and self.current.kind == "number"

    def watch_cursor(self) -> None:
        self._typed = None
        self.redraw()
        if isinstance(self.parent, ScrollableContainer):
            self.parent.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)
        if self.current is not None:
            self.post_message(self.Moved(self.current))

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self._typed = None
        self.redraw()

    def on_key(self, event: events.Key) -> None:
        field = self.current
        if field is None:
            return
        handled = True
        if event.key in ("up", "k", "down", "j"):
            step = 1 if event.key in ("down", "j") else -1
            self.cursor = max(0, min(self.cursor + step, len(self.fields) - 1))
        elif event.key in ("home", "end"):
            self.cursor = 0 if event.key == "home" else len(self.fields) - 1
        elif field.kind == "choice" and event.key in ("left", "right", "space"):
            self._step(field, -1 if event.key == "left" else 1)
        elif field.kind == "number" and event.character is not None and event.character.isdigit():
            self._type((self._typed or "") + event.character)
        elif field.kind == "number" and event.key == "backspace":
            self._type((field.value if self._typed is None else self._typed)[:-1])
        elif field.kind == "number" and event.key in ("left", "right", "plus", "minus"):
            self._double(field, up=event.key in ("right", "plus"))
        else:
            handled = False
        if handled:
            event.stop()
            event.prevent_default()

    def on_click(self, event: events.Click) -> None:
        at = event.y
        if at >= len(self.fields):
            return
        if at == self.cursor:
            self.post_message(self.Picked(self.fields[at]))
        self.cursor = at

    def _type(self, text: str) -> None:
        field = self.current
        assert field is not None
        self._typed = text.lstrip("0")[:9]
        self.redraw()
        if self._typed:
            self.post_message(self.Edited(field.key, self._typed))

    def _double(self, field: Field, *, up: bool) -> None:
        now = int(field.value) if field.value.isdigit() else 1
        self._type(str(now * 2 if up else max(now // 2, 1)))
        self._typed = None

    def _step(self, field: Field, by: int) -> None:
        at = field.choices.index(field.value) if field.value in field.choices else -by
        self.post_message(self.Edited(field.key, field.choices[(at + by) % len(field.choices)]))
