"""A text field for what is said to a model."""

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea


class Prompt(TextArea):
    """Where the user writes: Enter sends, Ctrl+J or Shift+Enter begins a new line."""

    BINDINGS: ClassVar[list[BindingType]] = [("enter", "send"), ("ctrl+j,shift+enter", "new_line")]

    class Sent(Message):
        """The user wants this asked."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    async def _on_key(self, event: events.Key) -> None:
        if event.key in ("enter", "ctrl+j", "shift+enter"):
            event.prevent_default()
            event.stop()
            if event.key == "enter":
                self.action_send()
            else:
                self.insert("\n")
            return
        await super()._on_key(event)

    def action_send(self) -> None:
        self.post_message(self.Sent(self.text))
