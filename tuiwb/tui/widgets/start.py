"""What a screen shows before anything is open: what is here, and what can be opened with one key."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tuiwb.base.text import gate_line
from tuiwb.tui.dialogs import hang
from tuiwb.tui.widgets.scroll import bind_lists

_WIDEST = 108
"""Cells of a line, as the style below has it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be opened.

    Args:
        source: what opens it: a path, a preset's name.
        name, about: what it is called, and what it is.
    """

    source: str
    name: str
    about: str = ""


class Start(Vertical):
    """A heading, facts in two columns, and offers in a list; Enter or a click posts `Chosen`.

    Args:
        heading: what is missing, and what to do.
    """

    DEFAULT_CSS = """
    Start {
        width: 1fr; height: 1fr; align-horizontal: center; padding: 1 2 0 2;
        & Static { width: 1fr; max-width: 108; height: auto; margin: 0 0 1 0; }
        & OptionList { width: 1fr; max-width: 108; height: 1fr; border: none; padding: 0; background: transparent; }
        & OptionList.-none { display: none; }
    }
    """

    @dataclass
    class Chosen(Message):
        """An offer was taken."""

        source: str

    def __init__(self, heading: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._heading = heading
        self._facts: tuple[tuple[str, str], ...] = ()
        self._offers: tuple[Offer, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(Content.styled(self._heading, "bold"), markup=False)
        yield _Offers(classes="-none", compact=True)

    def show(self, facts: Sequence[tuple[str, str]], offers: Sequence[Offer]) -> None:
        """Show these facts (name, value) and offers; the cursor stays where it was. The keys come here unless something
        else that can be seen has them."""
        self._facts, self._offers = tuple(facts), tuple(offers)
        self._fill()
        if self.is_on_screen and self.screen.focused not in self.screen.focus_chain:
            self.query_one(_Offers).focus()

    def on_hide(self) -> None:
        """Something is open: it gets the keys."""
        self.call_after_refresh(self._pass_focus)

    def _pass_focus(self) -> None:
        if not self.is_on_screen and self.screen.focused not in (chain := self.screen.focus_chain) and chain:
            self.screen.set_focus(chain[0])

    def on_resize(self) -> None:
        if self._offers:
            self._fill()

    def _fill(self) -> None:
        room = min(self.size.width, _WIDEST) - 1  # the scroll bar's
        lines = [Content.styled(self._heading, "bold"), Content("")]
        first = max((len(name) for name, _ in self._facts), default=0) + 2
        for name, value in self._facts:
            lines.append(Content.assemble((name.ljust(first), "dim"), hang(gate_line(value), first, room)))
        self.query_one(Static).update(Content("\n").join(lines))
        listing = self.query_one(_Offers)
        at = listing.highlighted or 0
        first = max((len(offer.name) for offer in self._offers), default=0) + 2
        listing.clear_options()
        listing.add_options(
            Option(
                Content.assemble(
                    (gate_line(offer.name).ljust(first), "$text-accent"),
                    (hang(gate_line(offer.about), first, room), "dim"),
                )
            )
            for offer in self._offers
        )
        listing.highlighted = min(at, len(self._offers) - 1) if self._offers else None
        listing.set_class(not self._offers, "-none")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(Start.Chosen(self._offers[event.option_index].source))


class _Offers(OptionList):
    def on_mount(self) -> None:
        bind_lists(self, "go('{}')")

    def action_go(self, where: str) -> None:
        names = {"down": "cursor_down", "up": "cursor_up", "top": "first", "bottom": "last"}
        getattr(self, f"action_{names.get(where, where)}")()
