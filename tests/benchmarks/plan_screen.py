"""The Plan screen while one types: key press to paint, until the new plan stands, bytes, and flicker.

    python tests/benchmarks/plan_screen.py [--keys 40]

`tuiwb` runs in a pseudo-terminal with the sft-lora preset and an 8B model, and the batch is doubled and halved, a key
after the screen came to rest. A terminal emulator reads what is sent. Printed for 80x24 and 120x40:

- key press to the new value on the screen, and to the last byte of the new plan, in milliseconds;
- bytes a key;
- flicker: cells that showed, between the old plan and the new one, something that neither of them shows. Wanted: none.

It prints the machine's load: where it is shared, wall-clock figures are not the screen's.
"""

import argparse
import json
import os
import pty
import statistics
import struct
import sys
import tempfile
import termios
import time
from fcntl import ioctl

import psutil
import pyte
from chat_screen import _read, _settled

RECIPE = (
    "stage: sft\nmethod: lora\nmodel_name_or_path: llama-3.1-8b\nper_device_train_batch_size: 4\nmax_length: 2048\n"
)
FIELD = "batch"
REST = 0.6  # seconds without a byte, after which nothing more is coming
RIGHT, LEFT, DOWN = b"\x1b[C", b"\x1b[D", b"\x1b[B"


class Terminal:
    """A pty that is read into a screen of characters."""

    def __init__(self, width: int, height: int, home: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
            os.chdir(home)
            os.execv(sys.executable, [sys.executable, "-m", "tuiwb"])
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.ByteStream(self.screen)

    def lines(self) -> tuple[str, ...]:
        return tuple(self.screen.display)

    def feed(self, seconds: float) -> int:
        data = _read(self.fd, seconds)
        self.stream.feed(data)
        return len(data)

    def until(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not any(text in line for line in self.lines()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{text!r} never came:\n" + "\n".join(self.lines()))
            self.feed(0.1)

    def rest(self, quiet: float = 0.3) -> None:
        while self.feed(quiet):
            pass

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def press(terminal: Terminal, key: bytes) -> dict[str, float]:
    """Press it, and follow the screen until it has been still for a while."""
    before, shown, last, size = terminal.lines(), 0.0, 0.0, 0
    frames: list[tuple[str, ...]] = []
    started = time.monotonic()
    os.write(terminal.fd, key)
    while data := terminal.feed(REST):
        last, size = time.monotonic(), size + data
        frames.append(terminal.lines())
        if not shown and frames[-1] != before:
            shown = last
    after = terminal.lines()
    strange = {
        (row, column)
        for frame in frames
        for row, line in enumerate(frame)
        for column, cell in enumerate(line)
        if cell not in (before[row][column], after[row][column])
    }
    return {
        "paint": 1e3 * (shown - started),
        "settled": 1e3 * (last - started),
        "bytes": size,
        "flicker": len(strange),
    }


def measure(width: int, height: int, keys: int, home: str) -> dict[str, object]:
    terminal = Terminal(width, height, home)
    try:
        terminal.until("steady")
        _settled(psutil.Process(terminal.pid), terminal.fd)
        terminal.rest()
        for _ in range(30):
            if any(FIELD in line and "▏" in line for line in terminal.lines()):
                break
            os.write(terminal.fd, DOWN)
            terminal.rest(0.5)
        else:
            raise SystemExit("no field for the batch:\n" + "\n".join(terminal.lines()))
        found = [press(terminal, RIGHT if number % 4 < 2 else LEFT) for number in range(keys + 4)][4:]
    finally:
        terminal.close()
    known = {name: [one[name] for one in found] for name in found[0]}
    return {
        "terminal": f"{width}x{height}",
        "key_to_paint_ms": _told(known["paint"]),
        "key_to_plan_ms": _told(known["settled"]),
        "bytes_a_key": _told(known["bytes"]),
        "flicker_cells": _told(known["flicker"]),
    }


def _told(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values)),
        "p95": round(statistics.quantiles(values, n=20)[-1]),
        "most": round(max(values)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=40)
    keys = parser.parse_args().keys
    print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"TUIWB_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        from tuiwb.tui import session

        for width, height in ((80, 24), (120, 40)):
            session.save(session.Session(screen="plan", recipe="sft.yaml", recipe_text=RECIPE))
            print(json.dumps(measure(width, height, keys, home)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
