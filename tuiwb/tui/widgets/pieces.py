"""A text in pieces of different tones, of any length: only the lines that are seen are drawn.

Who shows a text gates it (`base.text.gate`), wraps it with `wrap`, which may be done in a thread, and gives the lines
to `show`. A tone is one of `TONES`; a line that holds a piece of tone `trained` gets a mark in the margin, so that what
is trained can be told without colours.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tuiwb.tui.widgets.lines import set_lines
from tuiwb.tui.widgets.scroll import bind_lists, scroll

Piece = tuple[str, str]
"""Text and its tone."""
Line = tuple[Piece, ...]

TONES = ("text", "dim", "head", "key", "good", "warn", "bad", "trained", "masked", "special", "stop", "cut")
_MARKED = {"trained", "stop"}
_WORD = re.compile(r"\s*\S+|\s+")
MARGIN = 2


def wrap(pieces: Iterable[Piece], width: int) -> list[Line]:
    """The lines of a text, broken at words where they are shorter than a line.

    Args:
        width: cells of a line, the margin not counted.
    """
    width = max(width, 1)
    lines: list[Line] = []
    line: list[Piece] = []
    room = width
    for text, tone in pieces:
        for number, part in enumerate(text.split("\n")):
            if number:
                lines.append(tuple(line))
                line, room = [], width
            held = ""
            for word in _WORD.findall(part):
                size = cell_len(word)
                if size <= room:
                    held += word
                    room -= size
                    continue
                if held:
                    line.append((held, tone))
                    held = ""
                if line:
                    lines.append(tuple(line))
                    line, room = [], width
                    word = word.lstrip(" ")
                *full, held = chop_cells(word, width) or [""]
                lines += [((chunk, tone),) for chunk in full]
                room = width - cell_len(held)
            if held:
                line.append((held, tone))
    lines.append(tuple(line))
    return lines


class PieceView(ScrollView, can_focus=True, inherit_bindings=False):
    """See the top of this file."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"pieces--{tone}" for tone in (*TONES, "margin")}
    DEFAULT_CSS = """
    PieceView {
        height: 1fr; width: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden;
        & .pieces--dim { color: $foreground 60%; }
        & .pieces--head { color: $text-accent; text-style: bold; }
        & .pieces--key { color: $text-accent; }
        & .pieces--good { color: $text-success; }
        & .pieces--warn { color: $text-warning; }
        & .pieces--bad { color: $text-error; }
        & .pieces--trained { color: $text-success; text-style: bold; }
        & .pieces--masked { color: $foreground 60%; }
        & .pieces--special { color: $text-accent 60%; text-style: italic; }
        & .pieces--stop { color: $text-success; text-style: bold italic underline; }
        & .pieces--cut { color: $foreground 40%; text-style: strike; }
        & .pieces--margin { color: $text-success; }
    }
    """

    @dataclass
    class Resized(Message):
        """The lines must be wrapped again."""

        width: int

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()
        self._width = 0
        self._base: Style | None = None

    @property
    def text_width(self) -> int:
        """Cells for text, the margin and the scroll bar not counted; while it is not to be seen, those it had."""
        return max(self.size.width - MARGIN - 1, 10) if self.size.width else self._width or 80

    def show(self, lines: Sequence[Line], *, top: bool = True) -> None:
        """Show other lines, from the first one on unless `top` is false."""
        self._lines = lines
        set_lines(self, len(lines))
        if top:
            self.scroll_to(y=0, animate=False, force=True)
        elif self.scroll_offset.y > self.max_scroll_y:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

    @property
    def plain(self) -> str:
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def scroll_lines(self, by: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + by, animate=False, force=True)

    def on_mount(self) -> None:
        bind_lists(self, "go('{}')")

    def action_go(self, where: str) -> None:
        scroll(self, where)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._lines))
        if self.text_width != self._width:
            self._width = self.text_width
            self.post_message(PieceView.Resized(self._width))

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # all ancestors are asked for it: once for all lines
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        base = self._base or self.rich_style
        number = y + self.scroll_offset.y
        if number >= len(self._lines):
            return Strip.blank(self.size.width, base)
        line = self._lines[number]
        marked = any(tone in _MARKED for _, tone in line)
        margin = base + self.get_component_rich_style("pieces--margin")
        segments = [Segment("▌ " if marked else "  ", margin if marked else base)]
        # Not the partial style, which forgets how transparent a colour is.
        segments += [Segment(text, base + self.get_component_rich_style(f"pieces--{tone}")) for text, tone in line]
        return Strip(segments).adjust_cell_length(self.size.width, base)
