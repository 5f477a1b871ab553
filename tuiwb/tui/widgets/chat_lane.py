"""One lane of the Chat screen: its turns, the answer that grows, and a line about it."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tuiwb.base.text import gate, gate_line
from tuiwb.base.units import count
from tuiwb.chat.conversation import Turn
from tuiwb.chat.protocol import Done
from tuiwb.chat.session import LaneChat
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.markdown import Markdown, Settled

KEPT_TURNS = 60
"""Turns that stay on screen: more make scrolling slow, and the conversation itself keeps all."""

LONGEST_MARKDOWN, LONGEST_LINE = 40_000, 8_000
"""Characters of an answer and of its longest line: beyond, it is plain."""

LONGEST_PLAIN = 10_000

REASONS = {"stop": "", "length": "cut at max_new_tokens", "cancel": "stopped"}


class Question(Static):
    """What the user said."""


class Answer(Markdown):
    """What the model said."""


class Plain(Static):
    """What the model said where Markdown would keep the screen busy: its text as it is, and as much as can be read."""

    def __init__(self, text: str) -> None:
        super().__init__(plain(text), markup=False)

    def say(self, text: str) -> None:
        self.update(plain(text))


def plain(text: str) -> str:
    """The beginning of a text that is too long to lay out at every look."""
    more = len(text) - LONGEST_PLAIN
    return gate(text) if more <= 0 else f"{gate(text[:LONGEST_PLAIN])}\n… and {count(more)} characters more (y: copy)"


def is_heavy(text: str) -> bool:
    """Whether a text is no answer to lay out as Markdown: parsing takes the square of a line's marks."""
    return len(text) > LONGEST_MARKDOWN or max(map(len, text.split("\n"))) > LONGEST_LINE


def said(text: str) -> Answer | Plain:
    """The widget for an answer."""
    return Plain(text) if is_heavy(text) else Answer(text)


class Scroller(VerticalScroll, Settled):
    """The turns, from top to bottom."""


class LaneView(Pane):
    """See the top of this file. `show` makes it look as the chat is; it is called as often as anything changed."""

    DEFAULT_CSS = """
    LaneView {
        width: 1fr; padding: 0;
        & VerticalScroll { scrollbar-size-vertical: 1; padding: 0 1; }
        & Question { color: $text-accent; margin: 1 0 0 0; }
        & Plain { margin: 0; height: auto; }
        & .about { height: 1; padding: 0 1; color: $text-muted; }
        & .about.-problem { color: $text-error; height: auto; max-height: 3; }
    }
    """
    ALLOW_SELECT: ClassVar[bool] = True

    def __init__(self, name: str, title: str) -> None:
        super().__init__(title=gate_line(title, 40))
        self.lane, self.title_text = name, title
        self._turns: tuple[Turn, ...] = ()
        self._partial: str | None = None
        self._growing: Answer | Plain | None = None
        self._about = ""

    def compose(self) -> ComposeResult:
        scroller = Scroller(can_focus=False)
        scroller.anchor()  # it follows what comes, until the user scrolls away
        yield scroller
        yield Static(classes="about", markup=False)

    @property
    def scroller(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)

    async def show(self, lane: LaneChat, *, loading: bool = False, blind: bool = False) -> None:
        """Bring the view to the state of `lane`: append what is new, or begin again when the past changed.

        Args:
            loading: the engine cannot answer yet.
            blind: nobody is to know whose lane it is: what an answer cost would tell.
        """
        turns, partial = lane.conversation.turns, lane.partial
        if turns[: len(self._turns)] != self._turns:
            await self._clear()
        new = turns[len(self._turns) :]
        for turn in new:
            if turn.role == "assistant" and self._growing is not None:
                await self._finish(turn.content)
            else:
                await self._add(turn)
        self._turns = turns
        if partial is None and self._growing is not None:
            await self._finish(None)
        elif partial is not None:
            await self._grow(partial)
        self._say(lane, loading, blind)
        if new:
            self.scroller.anchor()

    async def _add(self, turn: Turn) -> None:
        widget: Widget = Question(plain(turn.content), markup=False) if turn.role == "user" else said(turn.content)
        await self.scroller.mount(widget)
        children = list(self.scroller.children)
        if len(children) > KEPT_TURNS:
            await self.scroller.remove_children(children[: len(children) - KEPT_TURNS])

    async def _grow(self, partial: str) -> None:
        if self._growing is None or (isinstance(self._growing, Answer) and is_heavy(partial)):
            await self._begin(partial)
            return
        shown = self._partial or ""
        if len(partial) > len(shown):
            if isinstance(self._growing, Answer):
                await self._growing.show(partial)
            elif len(shown) <= LONGEST_PLAIN:
                self._growing.say(partial)
            self._partial = partial

    async def _begin(self, text: str) -> None:
        """Show a growing answer as what it has become."""
        if self._growing is not None:
            await self._growing.remove()
        self._growing, self._partial = said(text), text
        await self.scroller.mount(self._growing)

    async def _finish(self, text: str | None) -> None:
        """The answer has ended with `text`; None: it was given up and what there is goes."""
        assert self._growing is not None
        if text is None:
            await self._growing.remove()
        elif isinstance(self._growing, Plain) or is_heavy(text):
            await self._begin(text)
        else:
            await self._growing.show(text)
        self._growing = self._partial = None

    async def _clear(self) -> None:
        self._growing = self._partial = None
        await self.scroller.remove_children()
        self._turns = ()

    def _say(self, lane: LaneChat, loading: bool, blind: bool) -> None:
        last = next((turn.usage for turn in reversed(lane.conversation.turns) if turn.usage is not None), None)
        if lane.problem:
            text = gate_line(lane.problem)
        elif lane.partial is not None:
            text = "answering …" if lane.partial else "waiting for the engine …" if loading else "reading the prompt …"
        elif last is None:
            text = "nothing asked yet   i: write"
        else:
            text = "which is better?   [ left   ] right   = neither" if blind else usage(last, self.size.width - 4)
        if text != self._about:
            self._about = text
            about = self.query_one(".about", Static)
            about.set_class(bool(lane.problem), "-problem")
            about.update(Content(text))


def usage(done: Done, width: int) -> str:
    """What an answer cost, as much of it as fits."""
    pieces = [
        REASONS.get(done.reason, gate_line(done.reason, 24)),
        "" if done.completion_tokens is None else f"{count(done.completion_tokens)} tokens",
        "" if done.tokens_per_s is None else f"{done.tokens_per_s:.1f}/s",
        f"first after {done.first_token_s:.2f} s",
        "" if done.context_left is None else f"{count(max(done.context_left, 0))} left",
        f"{count(done.cached_tokens)} of {count(done.prompt_tokens or 0)} prompt tokens kept"
        if done.cached_tokens
        else "",
    ]
    text = ""
    for piece in filter(None, pieces):
        longer = f"{text} · {piece}" if text else piece
        if len(longer) > width:
            break
        text = longer
    return text
