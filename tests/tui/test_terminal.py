"""The terminal: copying through tmux and screen, NO_COLOR, and native code that writes to stderr."""

import base64
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import Monochrome

from tuiwb.base import paths
from tuiwb.tui import terminal
from tuiwb.tui.app import Workbench

PLAIN = f"\x1b]52;c;{base64.b64encode('héllo'.encode()).decode()}\x07"


def test_osc_52_goes_out_plain_and_wrapped_for_tmux_and_screen() -> None:
    assert terminal.osc52("héllo", {}) == PLAIN
    inside = terminal.osc52("héllo", {"TMUX": "/tmp/x"})
    assert inside.startswith(PLAIN)
    assert inside.endswith("\x1bPtmux;" + PLAIN.replace("\x1b", "\x1b\x1b") + "\x1b\\")
    screen = terminal.osc52("x" * 3000, {"TERM": "screen-256color"})
    pieces = screen.split("\x1b\\")[:-1]
    assert all(piece.startswith("\x1bP") and len(piece) < 768 for piece in pieces)
    assert "".join(piece[2:] for piece in pieces) == terminal.osc52("x" * 3000, {})


def test_a_lone_surrogate_can_be_copied() -> None:
    assert terminal.osc52("\ud800", {})


def test_no_color_survives_segments_without_a_style() -> None:
    (filtered,) = terminal.mended([Monochrome()])
    segments = filtered.apply([Segment("a", None), Segment("b", Style.parse("red"))], Color.parse("black"))
    assert [segment.text for segment in segments] == ["a", "b"]
    assert segments[0].style is None


def test_no_color_shows_the_cursor_of_an_ansi_theme() -> None:
    (filtered,) = terminal.mended([Monochrome()])
    segments = filtered.apply([Segment("a", Style.parse(style)) for style in ("black on white", "red")], Color(0, 0, 0))
    cursor, other = [segment.style for segment in segments if segment.style is not None]
    assert cursor.reverse
    assert not other.reverse


def test_no_color_leaves_the_colours_of_an_ansi_theme_to_the_terminal() -> None:
    (filtered,) = terminal.mended([Monochrome()])
    styles = ("default on default", "white on black", "#ff0000 on default", "#ff0000 on #00ff00")
    segments = filtered.apply([Segment("a", Style.parse(style)) for style in styles], Color.parse("black"))
    own, themed, mixed, full = [segment.style for segment in segments if segment.style is not None]
    for style in (own, themed, mixed):
        assert style.bgcolor is not None
        assert style.bgcolor.is_default, style
    assert own.color is not None
    assert own.color.is_default
    for colour in (mixed.color, full.color, full.bgcolor):
        assert colour is not None
        assert colour.triplet is not None
        assert len(set(colour.triplet)) == 1, "not grey"


async def test_the_workbench_runs_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Workbench("runs")
    async with app.run_test() as pilot:
        await pilot.pause()
        assert any(isinstance(each, terminal.SafeMonochrome) for each in app._filters)


NATIVE = """
import os, sys
from tuiwb.tui import terminal
with terminal.stderr_to_log():
    os.write(2, b"NCCL WARN from native code\\n")
    sys.__stderr__.write("drawn by textual\\n")
    sys.__stderr__.flush()
os.write(2, b"after\\n")
"""


def test_native_code_writes_to_the_log_while_the_screen_is_up() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", NATIVE], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""

    def read() -> None:
        nonlocal seen
        try:
            while data := os.read(ours, 4096):
                seen += data
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(30) == 0
    reader.join(30)
    os.close(ours)
    assert b"drawn by textual" in seen
    assert b"after" in seen
    assert b"NCCL" not in seen
    assert "NCCL WARN from native code" in paths.log_file().read_text()


def test_where_stderr_is_no_terminal_nothing_is_touched(tmp_path: Path) -> None:
    target = tmp_path / "err"
    with target.open("wb") as file:
        done = subprocess.run([sys.executable, "-c", NATIVE], stderr=file, timeout=30)
    assert done.returncode == 0
    assert b"NCCL" in target.read_bytes()
    assert time.time() > 0
