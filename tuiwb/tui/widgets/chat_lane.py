"""One lane of the Chat screen: its turns, the answer that grows, and a line about it."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from tuiwb.base.text import gate, gate_line
from tuiwb.base.units import count
from tuiwb.chat.conversation import Turn
from tuiwb.chat.protocol import Done
from tuiwb.chat.session import LaneChat
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.markdown import Markdown
from tuiwb.tui.widgets.talk import Block, Talk

KEPT_TURNS = 60
"""Turns that stay on screen: more make scrolling slow, and the conversation itself keeps all."""

LONGEST_MARKDOWN, LONGEST_LINE = 40_000, 8_000
"""Characters of an answer and of its longest line: beyond, it is plain."""

LONGEST_PLAIN = 10_000

MOST_ABOUT = 4
"""Lines about an answer: beside each other, lanes are narrow."""

REASONS = {"stop": "", "length": "cut at max_new_tokens", "cancel": "stopped"}


class Plain:
    """Text as it is: a question, or an answer where Markdown would keep the screen busy. As much of it as can be read.

    Args:
        gap: empty lines above.
    """

    def __init__(self, text: str, style: str = "", gap: int = 0) -> None:
        self._style, self._gap = style, gap
        self._text, self._more = "", 0
        self._drawn: tuple[int, list[Content]] = (0, [])
        self.show(text)

    def show(self, text: str) -> None:
        begins, self._more = gate(text[:LONGEST_PLAIN]), max(len(text) - LONGEST_PLAIN, 0)
        if begins != self._text:
            self._text, self._drawn = begins, (0, [])

    def rows(self, width: int) -> list[Content]:
        if self._drawn[0] != width:
            lines = Content.styled(self._text, self._style).wrap(max(width, 8))
            self._drawn = width, [Content()] * self._gap + lines
        more = [Content.styled(f"… and {count(self._more)} characters more (y: copy)", "$text-muted")]
        return self._drawn[1] + more * bool(self._more)


def is_heavy(text: str) -> bool:
    """Whether a text is no answer to lay out as Markdown: parsing takes the square of a line's marks."""
    return len(text) > LONGEST_MARKDOWN or max(map(len, text.split("\n"))) > LONGEST_LINE


def said(text: str) -> Markdown | Plain:
    """An answer."""
    return Plain(text) if is_heavy(text) else Markdown(text)


class LaneView(Pane):
    """See the top of this file. `show` makes it look as the chat is; it is called as often as anything changed."""

    DEFAULT_CSS = """
    LaneView {
        width: 1fr; padding: 0;
        & .about { height: auto; max-height: 4; padding: 0 1; color: $text-muted; }
        & .about.-problem { color: $text-error; }
    }
    """
    ALLOW_SELECT: ClassVar[bool] = True

    def __init__(self, name: str, title: str) -> None:
        super().__init__(title=gate_line(title, 40))
        self.lane, self.title_text = name, title
        self._turns: tuple[Turn, ...] = ()
        self._blocks: list[Block] = []
        self._growing: Markdown | Plain | None = None
        self._shown = self._about = ""
        self._said: tuple[LaneChat, bool, bool] | None = None

    def compose(self) -> ComposeResult:
        yield Talk()
        yield Static(classes="about", markup=False)

    @property
    def scroller(self) -> Talk:
        return self.query_one(Talk)

    def show(self, lane: LaneChat, *, loading: bool = False, blind: bool = False) -> None:
        """Bring the view to the state of `lane`: append what is new, or begin again when the past changed.

        Args:
            loading: the engine cannot answer yet.
            blind: nobody is to know whose lane it is: what an answer cost would tell.
        """
        turns, partial = lane.conversation.turns, lane.partial
        again = turns[: len(self._turns)] != self._turns
        if again:
            self._turns, self._growing = (), None
            self._blocks.clear()
        new = turns[len(self._turns) :]
        if again or new or (partial or "") != self._shown or (partial is None) != (self._growing is None):
            for turn in new:
                self._add(turn)
            self._turns = turns
            self._grow(partial)
            self.scroller.show(self._blocks)
        self._said = lane, loading, blind
        self._say(*self._said)
        if new:
            self.scroller.follow()

    def on_resize(self) -> None:
        if self._said is not None:
            self._say(*self._said)  # more or less of it fits now

    def _add(self, turn: Turn) -> None:
        if turn.role == "user":
            self._blocks.append(Plain(turn.content, "$text-accent", gap=1))
        else:
            self._grow(turn.content)
            self._growing = None
        del self._blocks[: max(len(self._blocks) - KEPT_TURNS, 0)]

    def _grow(self, text: str | None) -> None:
        """Be `text` as far as it has come; None: no answer is under way, and what there was of one goes."""
        self._shown = text or ""
        if text is None:
            if self._growing is not None:
                self._blocks.pop()
            self._growing = None
        elif self._growing is None:
            self._growing = said(text)
            self._blocks.append(self._growing)
        elif isinstance(self._growing, Plain) or not is_heavy(text):
            self._growing.show(text)
        else:
            self._growing = self._blocks[-1] = said(text)

    def _say(self, lane: LaneChat, loading: bool, blind: bool) -> None:
        turns = lane.conversation.turns
        last = next((turn.usage for turn in reversed(turns) if turn.role == "assistant"), None)
        if lane.problem:
            text = "could not answer   v: who, and why" if blind else gate_line(lane.problem)
        elif lane.partial is not None:
            thinking = f"thinking … {count(lane.thought)} characters" if lane.thought else "reading the prompt …"
            text = "answering …" if lane.partial else "waiting for the engine …" if loading else thinking
        elif last is None:
            text = "written by hand, or broken off: nothing was counted" if turns else "nothing asked yet   i: write"
        else:
            text = "which is better?   [ left   ] right   = neither" if blind else usage(last, self.size.width - 2)
        if text != self._about:
            self._about = text
            about = self.query_one(".about", Static)
            about.set_class(bool(lane.problem), "-problem")
            about.update(Content(text))


def usage(done: Done, width: int) -> str:
    """What an answer cost, in as few lines of `width` cells as its parts take, in shorter words where there is no room
    for the usual ones; what the cache saved only where a line has room for it."""
    lines = list(_lines(_pieces(done, short=False), width))
    if len(lines) >= MOST_ABOUT or any(len(line) > width for line in lines):
        lines = list(_lines(_pieces(done, short=True), width))[:MOST_ABOUT]
    saved = f"{count(done.cached_tokens)} of {count(done.prompt_tokens or 0)} prompt tokens kept"
    if done.cached_tokens and lines and len(lines[-1]) + len(saved) + 3 <= width:
        lines[-1] += f" · {saved}"
    return "\n".join(lines)


def _pieces(done: Done, *, short: bool) -> Iterator[str]:
    if done.thoughts and not done.text:
        yield "only thought" if short else "thought, and did not come to an answer"
    if reason := REASONS.get(done.reason, gate_line(done.reason, 24)):
        yield "cut" if short and done.reason == "length" else reason
    if done.completion_tokens is not None:
        yield f"{count(done.completion_tokens)} {'tok' if short else 'tokens'}"
    if done.tokens_per_s is not None:
        yield f"{done.tokens_per_s:.{0 if short and done.tokens_per_s >= 100 else 1}f}/s"
    yield f"{'first' if short else 'first after'} {done.first_token_s:.2f} s"
    if done.context_left is not None:
        yield f"{count(max(done.context_left, 0))} left"


def _lines(pieces: Iterable[str], width: int) -> Iterator[str]:
    text = ""
    for piece in pieces:
        if text and len(text) + len(piece) + 3 > width:
            yield text
            text = piece
        else:
            text = f"{text} · {piece}" if text else piece
    if text:
        yield text
