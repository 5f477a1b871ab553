"""How long the command and the workbench take to start.

    python tests/benchmarks/start_up.py [--pairs 9]

- `tuiwb --version` against `python -c pass`: at most 4 times.
- the first paint of `tuiwb` (from exec to the first screen that holds text, in a real pseudo-terminal) against a bare
  Textual app with one label: at most 1.3 times. The home is new and empty, and the files are in the page cache.

Both commands in turn (A B B A), after a warm-up; the ratio of CPU-seconds (user and system, read from /proc at that
moment, because other work on the machine does not count there) with its 95 % interval, and wall time beside it.
"""

import argparse
import json
import math
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

BARE = """
from textual.app import App
from textual.widgets import Label
class Bare(App):
    def compose(self):
        yield Label("tuiwb")
Bare().run()
"""


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float


def first_paint(command: Sequence[str], text: str, env: dict[str, str]) -> Cost:
    """Start `command` in a pty of 80x24 and wait until it has written `text`."""
    started = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.execvpe(command[0], list(command), env)
    seen = b""
    try:
        while text.encode() not in seen:
            ready, _, _ = select.select([terminal], [], [], 60)
            if not ready:
                raise SystemExit(f"{command} has not painted in 60 s: {seen[-500:]!r}")
            seen += os.read(terminal, 65_536)
        wall = time.perf_counter() - started
        threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return Cost(wall, sum(int(file.read_text().split()[0]) for file in threads) / 1e9)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def whole_life(command: Sequence[str], env: dict[str, str]) -> Cost:
    """Run `command` to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def compare(name: str, ours: Callable[[], Cost], theirs: Callable[[], Cost], pairs: int, limit: float) -> bool:
    """Measure both in turn and print the ratio."""
    ours(), theirs()
    a: list[Cost] = []
    b: list[Cost] = []
    for number in range(pairs):
        for measure, into in ((ours, a), (theirs, b)) if number % 2 == 0 else ((theirs, b), (ours, a)):
            into.append(measure())
    report: dict[str, object] = {"what": name, "limit": limit, "pairs": pairs}
    ok = True
    for kind in ("cpu", "wall"):
        logs = [math.log(getattr(x, kind) / getattr(y, kind)) for x, y in zip(a, b, strict=True)]
        middle, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(pairs)
        low, high = math.exp(middle - 2.3 * error), math.exp(middle + 2.3 * error)
        ratio = math.exp(middle)
        report[kind] = {
            "ours_s": round(statistics.median(getattr(x, kind) for x in a), 3),
            "theirs_s": round(statistics.median(getattr(y, kind) for y in b), 3),
            "ratio": round(ratio, 2),
            "interval_95": [round(low, 2), round(high, 2)],
        }
        if kind == "cpu":
            ok = high <= limit  # the whole interval, as for every figure
    report["ok"] = ok
    print(json.dumps(report))
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "TUIWB_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        python = sys.executable
        print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
        tuiwb = str(Path(python).with_name("tuiwb"))
        version = compare(
            "tuiwb --version / python -c pass",
            lambda: whole_life([tuiwb, "--version"], env),
            lambda: whole_life([python, "-c", "pass"], env),
            pairs,
            4.0,
        )
        paint = compare(
            "first paint of tuiwb / a bare Textual app with one label",
            lambda: first_paint([tuiwb], "tuiwb", env),
            lambda: first_paint([python, "-c", BARE], "tuiwb", env),
            pairs,
            1.3,
        )
    return 0 if version and paint else 1


if __name__ == "__main__":
    sys.exit(main())
