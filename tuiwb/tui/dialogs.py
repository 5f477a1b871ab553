"""The dialogs: confirm, ask for a line, choose one of a list, show a text. Escape leaves and does nothing."""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from tuiwb.base.text import gate, gate_line

_PAUSE_S = 0.15
MOST_OPTIONS = 20
"""Lines of a list to choose from."""
_CHOOSE, _READER = 84, 92
"""Widths of these dialogs, as app.tcss has them."""


def reader_room(screen_width: int) -> int:
    """Cells of a line in a `Reader` on a terminal so wide: its border, padding and scroll bar take five."""
    return min(_READER, screen_width) - 5


def bound(part: Widget, others: int, most: int = 1000) -> None:
    """Let the part of a dialog that scrolls be as high as the screen allows, which `others` lines stand beside; a
    style cannot say that of a dialog that is as high as what it holds."""
    part.styles.max_height = min(max(part.app.size.height - others, 3), most)


def hang(text: str, first: int, room: int) -> str:
    """`text` in lines of at most `room` cells; all but the first begin below column `first`, where the first does."""
    lines = textwrap.wrap(text, max(room - first, 16), break_on_hyphens=False) or [""]
    return f"\n{' ' * first}".join(lines)


class Confirm(ModalScreen[bool]):
    """A question before something is lost. The focus is on No; `y` and `n` answer too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)"),
        ("n,escape,q", "answer(False)"),
        ("left,right,h,l", "app.focus_next"),
    ]

    def __init__(self, question: str, detail: str = "", yes: str = "Yes") -> None:
        super().__init__()
        self._question, self._detail, self._yes = question, detail, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content.styled(gate(self._question), "bold"))
            if self._detail:
                yield Static(Content(gate(self._detail)), classes="detail")
            with Horizontal(classes="buttons"):
                yield Button("No (n)", id="no", compact=True)
                yield Button(f"{self._yes} (y)", id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


Live = Callable[[str, Callable[[Content], None]], None]
"""Told what stands in a line while it is typed, and by what to say something of it."""


class Ask(ModalScreen[str | None]):
    """One line of text; None when left with Escape.

    Args:
        live: is told of the line whenever the typing pauses; what it says stands below.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave")]

    def __init__(self, title: str, value: str = "", hint: str = "", live: Live | None = None) -> None:
        super().__init__()
        self._title, self._value, self._hint = title, value, hint
        self._live = live
        self._pause: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(gate_line(self._title))
            box.border_subtitle = Content("enter: take it   esc: leave")
            yield Input(self._value, select_on_focus=False, compact=True)
            if self._live is not None:
                yield Static("", id="live", classes="detail")
            if self._hint:
                yield Static(Content.styled(gate(self._hint), "dim"), classes="detail")

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._live is not None:
            if self._pause is not None:
                self._pause.stop()
            self._pause = self.set_timer(_PAUSE_S, partial(self._tell, event.value))

    def _tell(self, value: str) -> None:
        def say(text: Content) -> None:
            if self.is_attached and self.query_one(Input).value == value:
                self.query_one("#live", Static).update(text)

        assert self._live is not None
        self._live(value, say)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)


OTHER = "another…"
"""An option that stays whatever is typed: it leads to a field for what is not in the list."""


class Choose(ModalScreen[int | None]):
    """One of a list, filtered by typing; the position in the list, or None when left with Escape.

    Args:
        options: (name, what it is) each.
        current: the position that is highlighted at first.
        behind: by what else each is found, if anything: texts that are not shown.
        other: gets what was typed where `OTHER` is chosen after that; the answer is None then.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave"),
        ("down", "move(1)"),
        ("up", "move(-1)"),
        ("pagedown", "move(10)"),
        ("pageup", "move(-10)"),
    ]

    def __init__(
        self,
        title: str,
        options: Sequence[tuple[str, str]],
        current: int = 0,
        behind: Sequence[str] = (),
        other: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._title, self._options, self._current, self._other = title, options, current, other
        more = dict(enumerate(behind))
        self._words = [f"{name} {about} {more.get(at, '')}".lower() for at, (name, about) in enumerate(options)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog choose") as box:
            box.border_title = Content(gate_line(self._title))
            yield Input(placeholder="type to filter", compact=True)
            listing = OptionList(*self._shown(""), compact=True)
            listing.can_focus = False
            yield listing
            yield Static(Content.styled("↑↓ move   enter: choose   esc: leave", "dim"), classes="detail")

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = self._current if self._options else None

    def on_resize(self) -> None:
        bound(self.query_one(OptionList), 7, MOST_OPTIONS)

    def on_input_changed(self, event: Input.Changed) -> None:
        listing = self.query_one(OptionList)
        listing.clear_options()
        listing.add_options(self._shown(event.value))
        listing.highlighted = 0 if listing.option_count else None

    def on_input_submitted(self) -> None:
        listing = self.query_one(OptionList)
        if listing.highlighted is not None:
            self._take(listing.get_option_at_index(listing.highlighted))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._take(event.option)

    def action_move(self, by: int) -> None:
        listing = self.query_one(OptionList)
        if listing.option_count:
            at = 0 if listing.highlighted is None else listing.highlighted
            listing.highlighted = min(max(at + by, 0), listing.option_count - 1)

    def action_leave(self) -> None:
        self.dismiss(None)

    def _take(self, option: Option) -> None:
        assert option.id is not None
        position, typed = int(option.id), self.query_one(Input).value.strip()
        if self._other is None or not typed or self._options[position][0] != OTHER:
            self.dismiss(position)
            return
        self.dismiss(None)
        self._other(typed)

    def _shown(self, wanted: str) -> list[Option]:
        """What holds all the words that were typed; first that which has them in its name."""
        words = wanted.lower().split()
        found = [
            (name == OTHER or not all(word in name.lower() for word in words), position)
            for position, (name, about) in enumerate(self._options)
            if name == OTHER or all(word in self._words[position] for word in words)
        ]
        order = sorted(found) if words else found
        return [Option(self._prompt(*self._options[position]), id=str(position)) for _, position in order]

    def _prompt(self, name: str, about: str) -> Content:
        """The name, and what it is in a column of its own; below a name that is longer than its column."""
        room = min(_CHOOSE, self.app.size.width) - 5
        first = min(max(len(name) for name, _ in self._options) + 2, room // 2)
        name = gate_line(name)
        shown = name.ljust(first) if len(name) < first or not about else f"{name}\n{' ' * first}"
        return Content.assemble((shown, "$foreground"), (hang(gate_line(about), first, room), "dim"))


class Reader(ModalScreen[None]):
    """A text to read, scroll and copy: help, the last problem, a long value."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q,question_mark,f1,enter", "leave"),
        ("y", "copy"),
        ("j,down", "scroll(1)"),
        ("k,up", "scroll(-1)"),
        ("space,pagedown,ctrl+f", "scroll(12)"),
        ("pageup,ctrl+b", "scroll(-12)"),
        ("home,g", "scroll(-1000000)"),
        ("end,G", "scroll(1000000)"),
    ]

    def __init__(self, title: str, text: str | Content) -> None:
        super().__init__()
        self._title = title
        self._text = text if isinstance(text, Content) else Content(gate(text))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog reader") as box:
            box.border_title = Content(gate_line(self._title))
            with VerticalScroll(can_focus=False):
                yield Static(self._text)
            yield Static(Content.styled("↑↓ scroll   y: copy   esc: close", "dim"), classes="detail")

    def on_resize(self) -> None:
        bound(self.query_one(VerticalScroll), 5)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text.plain)

    def action_leave(self) -> None:
        self.dismiss(None)
