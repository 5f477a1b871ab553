"""The Chat screen at 100 tokens a second: repaints, key press to paint, and what it takes of a core.

    python tests/benchmarks/chat_screen.py [--seconds 20]

An endpoint on loopback streams Markdown, a token every hundredth of a second; `tuiwb` runs in a pseudo-terminal. A
repaint is a burst of bytes with 20 ms of silence before it, so two that follow faster count as one. While the answer
comes, a letter is typed into the text field four times a second. Wanted: at least 8 repaints a second, at most 50 ms
from key press to paint for 95 % of the keys, at most 30 % of a core. It prints the machine's load: where it is shared,
wall-clock figures are not the screen's.
"""

import argparse
import json
import os
import pty
import select
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
from fcntl import ioctl
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "endpoints"))
from fake_server import DONE, Request, event, serving

MARKDOWN = "The **quick** brown fox jumps over the `lazy` dog.\n\n- one\n- two\n\n```python\nprint('hello')\n```\n\n"
WORDS = [f"{word} " for word in MARKDOWN.split(" ")]
LETTER = "ξ"


def watch(width: int, height: int, seconds: float) -> dict[str, object]:
    """Ask on a terminal of this size, and measure while the answer comes."""
    begun, ended = threading.Event(), threading.Event()

    def script(request: Request) -> None:
        request.stream()
        begun.set()
        first = time.monotonic()
        for number in range(int(100 * seconds)):
            time.sleep(max(first + number / 100 - time.monotonic(), 0))
            request.connection.sendall(event(WORDS[number % len(WORDS)]))
        ended.set()
        request.connection.sendall(event(finish="stop") + DONE)

    with serving(script) as server:
        pid, terminal = pty.fork()
        if pid == 0:
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
            argv = [sys.executable, "-m", "tuiwb", "chat", f"{server.url}#m"]
            os.execv(sys.executable, argv)
        try:
            return _measure(pid, terminal, begun, ended, seconds) | {"terminal": f"{width}x{height}"}
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(terminal)


def _measure(
    pid: int, terminal: int, begun: threading.Event, ended: threading.Event, seconds: float
) -> dict[str, object]:
    _until(terminal, b"nothing asked yet")
    process = psutil.Process(pid)
    _settled(process, terminal)
    os.write(terminal, b"go\r")
    while not begun.is_set():
        _read(terminal, 0.05)
    before, started = process.cpu_times(), time.monotonic()
    bursts, last, typed_at, late = 0, 0.0, 0.0, list[float]()
    while not ended.is_set():
        now = time.monotonic()
        if not typed_at and now - started > 0.25 * (len(late) + 1):
            os.write(terminal, LETTER.encode())
            typed_at = now
        data = _read(terminal, 0.01)
        now = time.monotonic()
        if data:
            bursts += now - last > 0.02
            last = now
            if typed_at and LETTER.encode() in data:
                late.append(now - typed_at)
                typed_at = 0.0
    spent, after = time.monotonic() - started, process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return {
        "repaints_per_s": round(bursts / spent, 1),
        "key_to_paint_s": {
            "median": round(statistics.median(late), 3),
            "p95": round(statistics.quantiles(late, n=20)[-1], 3),
            "most": round(max(late), 3),
            "keys": len(late),
        },
        "core": round(cpu / spent, 3),
        "seconds": round(spent, 1),
    }


def _read(terminal: int, seconds: float) -> bytes:
    return os.read(terminal, 1 << 20) if select.select([terminal], [], [], seconds)[0] else b""


def _settled(process: psutil.Process, terminal: int, seconds: float = 60) -> None:
    """Wait until what is done once after the start (importing the other screens) is done."""
    deadline, spent = time.monotonic() + seconds, -1.0
    while time.monotonic() < deadline and (now := sum(process.cpu_times()[:2])) - spent > 0.02:
        spent, until = now, time.monotonic() + 1
        while time.monotonic() < until:
            _read(terminal, 0.1)


def _until(terminal: int, text: bytes, seconds: float = 120) -> None:
    seen, deadline = b"", time.monotonic() + seconds
    while text not in seen:
        if time.monotonic() > deadline:
            raise SystemExit(f"{text!r} never came")
        seen += _read(terminal, 0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"TUIWB_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
        reports = [watch(80, 24, seconds), watch(120, 40, seconds)]
    for report in reports:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
