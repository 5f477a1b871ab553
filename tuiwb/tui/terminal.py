"""What Textual leaves to us about the terminal: copying through SSH and tmux, native libraries that write to stderr,
and NO_COLOR."""

import base64
import contextlib
import os
import sys
from collections.abc import Iterator
from functools import lru_cache

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter, Monochrome, monochrome_style

from tuiwb.base import paths

COPY_LIMIT = 74_994
"""Bytes of text that OSC 52 carries everywhere: terminals cut the sequence at 100,000 bytes of base64."""


def osc52(text: str, environ: "os._Environ[str] | dict[str, str] | None" = None) -> str:
    """The sequence that puts `text` into the clipboard of the user's own machine.

    tmux takes plain OSC 52 with `set-clipboard on` and hands on a wrapped one with `allow-passthrough on`; which of
    the two is set cannot be asked, so both are sent. GNU screen knows only the wrapped one.
    """
    env = os.environ if environ is None else environ
    plain = f"\x1b]52;c;{base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode()}\x07"
    if env.get("TMUX"):
        return plain + "\x1bPtmux;" + plain.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if env.get("TERM", "").startswith("screen"):
        # screen takes at most 768 bytes a string.
        return "".join(f"\x1bP{plain[at : at + 760]}\x1b\\" for at in range(0, len(plain), 760))
    return plain


def attention(text: str, environ: "os._Environ[str] | dict[str, str] | None" = None) -> str:
    """The sequence that rings the bell and, where the user's own terminal shows them, sends a desktop notification:
    OSC 777 for foot and urxvt, OSC 9 for all others (iTerm2, WezTerm, kitty, Windows Terminal, ghostty)."""
    env = os.environ if environ is None else environ
    plain = "".join(" " if not each.isprintable() or each == ";" else each for each in text)[:200]
    term = env.get("TERM", "")
    knows_777 = term.startswith(("foot", "rxvt"))
    sequence = f"\x1b]777;notify;tuiwb;{plain}\x1b\\" if knows_777 else f"\x1b]9;{plain}\x1b\\"
    if env.get("TMUX"):
        sequence = "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    elif term.startswith("screen"):
        sequence = f"\x1bP{sequence[:-2]}\x07\x1b\\"
    return sequence + "\x07"


@contextlib.contextmanager
def stderr_to_log() -> Iterator[None]:
    """Send file descriptor 2 to the log while the screen is up, because native code writes there and would spoil it.

    Textual draws through `sys.__stderr__`, which keeps the terminal under another descriptor.
    """
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        yield
        return
    try:
        paths.private_folder(paths.log_file().parent)
        log = os.open(paths.log_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except Exception:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    before, before_name = sys.__stderr__, sys.stderr
    terminal = os.dup(2)
    os.set_inheritable(terminal, False)
    screen = os.fdopen(terminal, "w", encoding=before.encoding, errors=before.errors, closefd=False)
    before.flush()
    sys.__stderr__ = screen  # type: ignore[misc]
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        screen.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
        sys.__stderr__ = before  # type: ignore[misc]
        sys.stderr = before_name


class SafeMonochrome(Monochrome):
    """Textual's filter for NO_COLOR fails on a segment without a style (textual 8.2, filter.py), and makes black on
    black of the terminal's own colours, which the ANSI themes are made of: those become the terminal's default, and
    where one of them is behind the text, to say where the cursor is, the two are exchanged."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, None if style is None else _uncoloured(style), None) for text, style, _ in segments]


@lru_cache(1024)
def _uncoloured(style: Style) -> Style:
    own = RichColor.default()
    grey = monochrome_style(style)
    if style.bgcolor is not None and not style.bgcolor.triplet and style.bgcolor.number:  # 0 is black
        grey += Style(reverse=True)
    return grey + Style.from_color(
        own if style.color is not None and not style.color.triplet else None,
        own if style.bgcolor is not None and not style.bgcolor.triplet else None,
    )


def mended(filters: list[LineFilter]) -> list[LineFilter]:
    """The app's line filters with the one above in the place of Textual's."""
    return [SafeMonochrome() if type(each) is Monochrome else each for each in filters]
