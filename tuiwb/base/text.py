"""The text gate: the one way for text from outside to reach the terminal.

Dataset rows, model output, file names, run names, logs and errors of libraries may hold escape sequences, bidirectional
overrides and zero-width characters. `gate` shows those as visible symbols and leaves the rest as it is. It is
idempotent, and its result never moves the cursor, changes a colour or hides a character. Markup is neutralised by
never parsing it: a gated string goes into `Text`, `Content` or a widget with `markup=False` (no escaping of markup that
we tried survives every run of backslashes and brackets).
"""

import re

# C0 and DEL have symbols of their own in Unicode (Control Pictures); C1 and the invisible ones are named by number.
_CONTROL = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421"}
_INVISIBLE = (
    "\u0080-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff"
)
_SUSPECT = re.compile(f"[\x00-\x1f\x7f{_INVISIBLE}\U000e0000-\U000e0fff]")


def gate(text: str, *, lines: bool = True, width: int | None = None) -> str:
    """`text`, safe to show.

    Args:
        lines: keep newlines (carriage returns before them vanish) and show tabs as spaces; otherwise both become
            symbols, so that the result is one line.
        width: cut to so many characters, the last one `…`.
    """
    if width is not None and len(text) > 4 * width + 8:
        text = text[: 4 * width + 8]  # a row may hold a megabyte, and only its start is shown
    if lines and "\r" in text:
        text = text.replace("\r\n", "\n")
    keep = {"\n": "\n", "\t": "    "} if lines else {}
    shown = _SUSPECT.sub(lambda match: keep.get(match[0]) or _symbol(match[0]), text)
    if width is not None and len(shown) > width:
        shown = shown[: max(width - 1, 0)] + "…"
    return shown


def gate_line(text: str, width: int | None = None) -> str:
    """`gate` for a place that has one line."""
    return gate(text, lines=False, width=width)


def width_of(text: str) -> int:
    """Columns that a gated line takes in a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fold(text: str, width: int) -> list[str]:
    """Rows of at most `width` cells, cut anywhere: paths and numbers have no better place. At least one."""
    if width_of(text) <= width:
        return [text]
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)]
    rows, row, used = [], "", 0
    for character in text:
        wide = width_of(character)
        if used + wide > width:
            rows.append(row)
            row, used = "", 0
        row, used = row + character, used + wide
    return [*rows, row]


def _symbol(character: str) -> str:
    code = ord(character)
    return _CONTROL.get(code) or f"⟨U+{code:04X}⟩"
