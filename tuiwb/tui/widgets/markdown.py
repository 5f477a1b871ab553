"""Markdown that grows while it is read: what a model says, as lines that a widget draws.

The text is cut into parts of some hundred characters, and only the last part is parsed and drawn again when text comes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import takewhile
from typing import Any

from textual.content import Content, Span

from tuiwb.base.text import gate

PART = 200
"""Characters from which a part is closed when a block ends."""

_COLOURED = 4_000
"""Characters of code that are coloured; more of it is plain."""

_INLINE = {"em": "italic", "strong": "bold", "s": "strike", "link": "underline"}


class Markdown:
    """A text in Markdown, its line breaks kept. Links are shown, never followed; HTML is text.

    Args:
        text: what there is so far, as it came.
    """

    def __init__(self, text: str = "") -> None:
        self._text, self._width = text, 0
        self._forget()

    def show(self, text: str) -> None:
        """Be this text; what goes on from the text so far costs only what is new."""
        if not text.startswith(self._text[: self._start]):
            self._forget()
        self._text, self._stale = text, True

    def rows(self, width: int) -> list[Content]:
        """The lines, each of at most `width` cells (8 at least)."""
        width = max(width, 8)
        if width != self._width:
            self._width = width
            self._forget()
        if self._stale:
            self._grow()
        return self._closed + self._open

    def _forget(self) -> None:
        """Nothing is drawn."""
        self._start = self._gap = 0
        self._closed, self._open = list[Content](), list[Content]()
        self._stale = True

    def _grow(self) -> None:
        """Draw from `_start` on, which moves to the beginning of the last part."""
        rest, width = gate(self._text[self._start :]), self._width
        tokens, start = _parser().parse(rest), 0
        for end, gap in cuts(rest, tokens):
            self._closed += [Content()] * self._gap + rows(rest[start:end], width)
            start, self._gap = end, gap
        if start:
            # The gate leaves as many lines as there were.
            lines = rest.count("\n", 0, start)
            for _ in range(lines):
                self._start = self._text.index("\n", self._start) + 1
            tokens = _parser().parse(rest[start:])
        now, before = [Content()] * self._gap + _drawn(tokens, width), self._open
        # What is as it was stays the same object, which need not be drawn again.
        same = sum(1 for _ in takewhile(_alike, zip(now, before, strict=False)))
        self._open = before[:same] + now[same:]
        self._stale = False


def _alike(rows: tuple[Content, Content]) -> bool:
    one, other = rows
    return one.plain == other.plain and one.spans == other.spans


def cuts(source: str, tokens: Sequence[Any]) -> list[tuple[int, int]]:
    """Where a text can be cut into parts that are drawn by themselves.

    Args:
        tokens: the text, parsed.

    Returns:
        where each further part begins, and the empty lines above it. What stands before the last one does not change
        when text is added.
    """
    if len(source) <= PART:
        return []
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found, last = list[tuple[int, int]](), 0
    for at, gap in _beginnings(tokens):
        if starts[at] - last >= PART:
            last = starts[at]
            found.append((last, gap))
    return found


def _beginnings(tokens: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """The line of each block that is in no other, and of each item of a list that is in no other."""
    for number, token in enumerate(tokens):
        if not token.map or token.nesting < 0:
            continue
        if token.level == 0:
            yield token.map[0], 1
        elif token.level == 1 and token.type == "list_item_open" and tokens[number - 1].nesting < 0:
            first = tokens[number + 1]
            yield token.map[0], int(first.type == "paragraph_open" and not first.hidden)


def warm_up() -> None:
    """Import what draws Markdown and colours code, in any thread: else the first answer holds the screen up for it."""
    rows("```python\npass\n```", 80)


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def rows(source: str, width: int) -> list[Content]:
    """A text in Markdown as lines of at most `width` cells."""
    return _drawn(_parser().parse(source), width)


def _drawn(tokens: Sequence[Any], width: int) -> list[Content]:
    page = _Page(width)
    page.draw(tokens)
    return page.rows


@dataclass(slots=True)
class _Mark:
    """What stands before the lines of a quote or an item: at the first line, and at the others."""

    first: str
    rest: str
    used: bool = False


class _Page:
    """Lines, as the blocks of a text come."""

    def __init__(self, width: int) -> None:
        self.width, self.rows = width, list[Content]()
        self._marks: list[_Mark] = []
        self._lists: list[int | None] = []
        self._gap = False

    def draw(self, tokens: Sequence[Any]) -> None:
        at = 0
        while at < len(tokens):
            token = tokens[at]
            match token.type:
                case "inline":
                    self._inline(token, tokens[at - 1])
                case "fence" | "code_block":
                    self._put(_code(token.content, token.info.split(" ")[0], self._room))
                    self._gap = True
                case "hr":
                    self._put([Content.styled("─" * self._room, "$text-muted")])
                    self._gap = True
                case "blockquote_open":
                    self._marks.append(_Mark("▌ ", "▌ "))
                case "bullet_list_open" | "ordered_list_open":
                    start = token.attrs.get("start", 1)
                    self._lists.append(int(start) if token.type.startswith("ordered") else None)
                case "list_item_open":
                    number = self._lists[-1]
                    mark = "• " if number is None else f"{number}. "
                    self._lists[-1] = None if number is None else number + 1
                    self._marks.append(_Mark(mark, " " * len(mark)))
                case "list_item_close" | "blockquote_close":
                    if not self._marks[-1].used:
                        self._put([Content()])  # an item without a text yet
                    self._marks.pop()
                    self._gap = (self._gap and token.type == "list_item_close") or token.type == "blockquote_close"
                case "bullet_list_close" | "ordered_list_close":
                    self._lists.pop()
                    self._gap = self._gap or not self._marks
                case "table_open":
                    end = next(i for i in range(at, len(tokens)) if tokens[i].type == "table_close")
                    self._put(_table(tokens[at:end], self._room))
                    self._gap, at = True, end
            at += 1

    @property
    def _room(self) -> int:
        return max(self.width - sum(len(mark.rest) for mark in self._marks), 2)

    def _inline(self, token: Any, opener: Any) -> None:
        text = inline(token)
        if opener.type == "heading_open":
            text = text.stylize("bold $text-primary underline" if opener.tag == "h1" else "bold $text-primary")
        self._put(text.wrap(self._room))
        self._gap = not opener.hidden

    def _put(self, lines: list[Content]) -> None:
        if self._gap and self.rows:
            before = "".join(mark.rest for mark in self._marks if mark.used).rstrip()
            self.rows.append(Content.styled(before, "$text-muted"))
        self._gap = False
        for line in lines:
            before = "".join(mark.rest if mark.used else mark.first for mark in self._marks)
            for mark in self._marks:
                mark.used = True
            self.rows.append(Content.assemble((before, "$text-muted"), line) if before else line)


def inline(token: Any) -> Content:
    """The text of a block with its emphasis."""
    pieces, spans, open_ones, length = list[str](), list[Span](), list[tuple[str, int, str]](), 0

    def add(text: str, style: str = "") -> None:
        nonlocal length
        if style and text:
            spans.append(Span(length, length + len(text), style))
        pieces.append(text)
        length += len(text)

    for child in token.children or ():
        name, _, what = child.type.rpartition("_")
        if child.type == "text":
            add(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            add("\n")
        elif child.type == "code_inline":
            add(child.content, "$text-accent on $boost")
        elif child.type == "image":
            add(f"[image: {child.content}] ")
            add(str(child.attrs.get("src", "")), "$text-muted")
        elif what == "open":
            open_ones.append((_INLINE.get(name, ""), length, str(child.attrs.get("href", ""))))
        elif what == "close" and open_ones:
            style, start, place = open_ones.pop()
            shown = "".join(pieces)[start:] if place else ""
            if style and length > start:
                spans.append(Span(start, length, style))
            if place and place != shown:
                add(f" ({gate(place)})", "$text-muted")
        else:
            add(child.content)
    return Content("".join(pieces), spans)


def _code(text: str, language: str, width: int) -> list[Content]:
    text = text.rstrip("\n").expandtabs(4)
    whole = _coloured(text, language) if language and len(text) <= _COLOURED else Content(text)
    lines = [row for line in whole.split("\n", allow_blank=True) for row in line.fold(max(width - 1, 2))]
    return [_padded(Content.assemble(" ", line), width).stylize_before("on $boost") for line in lines]


@lru_cache(maxsize=32)
def _coloured(text: str, language: str) -> Content:
    from textual.highlight import highlight

    return highlight(text, language=language)


def _table(tokens: Sequence[Any], width: int) -> list[Content]:
    """Columns as wide as their text where that fits, else in its proportions; cells wrap."""
    cells: list[list[Content]] = []
    for token in tokens:
        if token.type == "tr_open":
            cells.append([])
        elif token.type == "inline":
            cells[-1].append(inline(token))
    columns = max(len(row) for row in cells)
    wanted = [max((row[at].cell_length for row in cells if at < len(row)), default=1) for at in range(columns)]
    room = max(width - 3 * (columns - 1), columns)
    if sum(wanted) > room:
        wanted = [max(each * room // sum(wanted), 1) for each in wanted]
    drawn = []
    for number, row in enumerate(cells):
        wrapped = [cell.wrap(size) for cell, size in zip(row, wanted, strict=False)]
        for line in range(max(map(len, wrapped), default=0)):
            pieces = [
                _padded(each[line] if line < len(each) else Content(), size)
                for each, size in zip(wrapped, wanted, strict=False)
            ]
            whole = Content(" │ ").join(pieces)
            drawn.append(whole.stylize("bold") if number == 0 else whole)
        if number == 0:
            drawn.append(Content.styled("─┼─".join("─" * size for size in wanted), "$text-muted"))
    return [row for line in drawn for row in line.fold(width)]


def _padded(line: Content, width: int) -> Content:
    return line.pad_right(max(width - line.cell_length, 0))
