"""A recipe's YAML to read and to edit. What is typed goes out as a message when the typing pauses; what the recipe
becomes elsewhere comes in by `show`, unless somebody is typing here."""

from collections.abc import Callable
from dataclasses import dataclass

from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea

from tuiwb.base.text import gate

_PAUSE_S = 0.4


class RecipeText(TextArea):
    """The text. Line numbers are those that errors name."""

    DEFAULT_CSS = """
    RecipeText {
        height: 1fr; border: none; padding: 0; background: transparent;
        &:focus { border: none; }
        & .text-area--gutter, & .text-area--cursor-gutter { color: $text-muted; background: transparent; }
        & .text-area--cursor-line { background: transparent; }
        &:focus .text-area--cursor-line { background: $foreground 8%; }
    }
    """

    @dataclass
    class Typed(Message):
        """The user changed the text and paused."""

        text: str

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, show_line_numbers=True, soft_wrap=False, highlight_cursor_line=True, compact=True)
        self._shown = ""
        self._pause: Timer | None = None

    def show(self, text: str, replaced: Callable[[], None] | None = None) -> None:
        """Put a text there, unless the user is at work on it. One with characters that a terminal must not get can be
        read, with marks in their places, and not edited.

        Args:
            replaced: called where it took the place of another.
        """
        if self.has_focus or text == self._shown:
            return
        safe = gate(text)
        self.read_only = safe != text
        self._shown = text
        self.load_text(safe)
        if replaced is not None:
            replaced()

    @property
    def is_safe(self) -> bool:
        """The text is that of the recipe to the letter."""
        return not self.read_only

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        if self.text == gate(self._shown) or self.read_only:
            return
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(_PAUSE_S, self._say)

    def _say(self) -> None:
        self._pause = None
        self._shown = self.text
        self.post_message(self.Typed(self.text))
