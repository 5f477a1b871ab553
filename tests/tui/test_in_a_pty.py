"""The program itself in a real pseudo-terminal: mouse, copying, resizing, leaving, and a terminal that goes away."""

import contextlib
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl

import psutil
import pytest

from tuiwb.base import paths, settings
from tuiwb.tui import session


class Program:
    """`tuiwb` in a pty."""

    def __init__(self, width: int = 80, height: int = 24, *, without_signal: bool = False) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
            if without_signal and os.fork():
                # The session's leader stays behind, and the program is in a session that no terminal belongs to.
                os._exit(os.waitstatus_to_exitcode(os.wait()[1]) & 127)
            if without_signal:
                os.setsid()
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.environ.pop("TMUX", None)
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
            os.execv(sys.executable, [sys.executable, "-m", "tuiwb"])
        self.seen = ""
        self.status: int | None = None

    def until(self, *patterns: str, seconds: float = 30) -> None:
        """Read until the output since the last call holds all `patterns`, in any order."""
        deadline = time.monotonic() + seconds
        while missing := [pattern for pattern in patterns if not re.search(pattern, self.seen)]:
            if time.monotonic() > deadline:
                raise AssertionError(f"{missing} did not come; the last is {self.seen[-2000:]!r}")
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.seen += os.read(self.terminal, 65_536).decode("utf-8", "replace")
        self.seen = ""

    def press(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def resize(self, width: int, height: int) -> None:
        ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def end(self, seconds: float = 30) -> int:
        """Wait for the end; what is written meanwhile goes to `seen`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.terminal >= 0 and select.select([self.terminal], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.terminal, 65_536).decode("utf-8", "replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
        raise AssertionError("it does not end")

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.terminal >= 0:
            os.close(self.terminal)


@pytest.fixture
def program() -> Iterator[Program]:
    started = Program()
    started.until("q .*Quit")
    started.press("7")
    started.until("screen.theme")
    yield started
    started.close()


def test_the_mouse_can_be_switched_off_and_on(program: Program) -> None:
    program.press("\x1b[20~")  # F9
    program.until(r"\x1b\[\?1000l", "mouse off")
    program.press("\x1b[20~")
    program.until(r"\x1b\[\?1000h", "mouse on")
    assert settings.load().screen.mouse is True


def test_copying_sends_osc_52(program: Program) -> None:
    program.press("y")
    program.until(r"\x1b\]52;c;[A-Za-z0-9+/=]+\x07")


def test_a_resize_to_a_tiny_terminal_and_back(program: Program) -> None:
    program.resize(20, 5)
    program.until("too small")
    program.resize(100, 30)
    program.until("screen.theme")


def test_leaving_restores_the_terminal(program: Program) -> None:
    program.press("q")
    assert program.end() == 0
    assert "\x1b[?1049l" in program.seen
    assert paths.session_file().exists()


def test_a_terminal_that_goes_away_ends_the_workbench_and_nothing_else(program: Program) -> None:
    os.close(program.terminal)
    program.terminal = -1
    program.end()
    assert not paths.log_file().exists() or "Traceback" not in paths.log_file().read_text()


def test_a_terminal_that_goes_away_without_a_signal_ends_it_too() -> None:
    program = Program(without_signal=True)
    program.until("q .*Quit")
    child = psutil.Process(program.pid).children()[0]
    os.kill(program.pid, signal.SIGKILL)  # who would have waited for it
    os.close(program.terminal)
    program.terminal = -1
    child.wait(timeout=30)
    program.end()
    assert paths.session_file().exists()


def test_the_session_is_kept_by_itself_and_survives_a_kill(program: Program) -> None:
    program.press("5")
    deadline = time.monotonic() + 30
    while not (paths.session_file().exists() and session.load().screen == "models"):
        assert time.monotonic() < deadline
        if select.select([program.terminal], [], [], 0.05)[0]:
            os.read(program.terminal, 65_536)
    os.kill(program.pid, signal.SIGKILL)
    program.end()
    assert session.load().screen == "models"
