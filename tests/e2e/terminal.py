"""A program in a real pseudo-terminal, read by a terminal emulator: what a person at the keyboard sees."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

KEYS = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "backspace": "\x7f", "up": "\x1b[A", "down": "\x1b[B",
    "right": "\x1b[C", "left": "\x1b[D", "ctrl+o": "\x0f", "ctrl+n": "\x0e", "ctrl+q": "\x11", "ctrl+p": "\x10",
}  # fmt: skip


class Terminal:
    """Runs `argv` in a pty of this size. A context manager: leaving it kills what still runs."""

    def __init__(
        self, argv: list[str], *, env: Mapping[str, str], cwd: Path, columns: int = 120, lines: int = 40
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(argv[0], argv, dict(env))
        self.resize(columns, lines)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        with contextlib.suppress(OSError):
            os.close(self._handle)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    def press(self, *keys: str) -> None:
        """Named keys, or text that is typed."""
        for key in keys:
            os.write(self._handle, KEYS.get(key, key).encode())
            self.read(0.05)

    def read(self, seconds: float) -> None:
        """Take in what the program writes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._handle], [], [], left)
            if not ready:
                return
            try:
                data = os.read(self._handle, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            # The emulator does not know these private sequences and would print their ends.
            self._stream.feed(data.replace(b"\x1b[>1u", b"").replace(b"\x1b[<u", b""))

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def until(self, condition: str | Callable[[], object], seconds: float = 60) -> None:
        """Read until the text stands on the screen, or the condition holds."""
        deadline = time.monotonic() + seconds
        while not (condition in self.text() if isinstance(condition, str) else condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {condition!r}; the screen is\n{self.text()}")
            self.read(0.1)

    def wait(self, seconds: float = 20) -> int:
        """The exit code of the program."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it still runs; the screen is\n{self.text()}")
