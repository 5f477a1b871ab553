"""How late a metric is on the screen, and how many bytes a second the Runs screen sends while it watches a run.

    python tests/benchmarks/watching.py [--steps 40]

A light worker (tests/runs/light_worker.py, no torch) logs one step every half second under the real wrapper; `tuiwb`
runs in a pseudo-terminal. Late is the time from the line in metrics.jsonl (its own `time`) to the arrival of the bytes
that show its step; at most one second is promised. The bytes are those that an SSH connection would carry.
"""

import argparse
import json
import os
import pty
import re
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))


def watch(width: int, height: int, steps: int) -> dict[str, object]:
    """Watch a run on a terminal of this size."""
    from run_tools import light_job

    from tuiwb import rundir, runs

    run = runs.launch(light_job(steps=100_000, step_s=0.5, save_every=1_000_000))
    pid, terminal = pty.fork()
    if pid == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.execv(
            sys.executable, [sys.executable, "-c", "from tuiwb.cli.workbench import run; run(None, screen='runs')"]
        )
    arrived: dict[int, float] = {}
    sent: list[tuple[float, int]] = []
    try:
        while len(arrived) < steps + 4:
            if not select.select([terminal], [], [], 60)[0]:
                raise SystemExit("nothing is drawn any more")
            data = os.read(terminal, 1 << 20)
            now = time.time()
            sent.append((now, len(data)))
            for found in re.finditer(rb" step ([\d,]+) of 100,000", data):
                arrived.setdefault(int(found[1].replace(b",", b"")), now)
        written = {
            int(line["current_steps"]): float(line["time"])
            for line in rundir.read_all(run.part(1, "main").metrics_file)
        }
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
        runs.ask(run.run_id, "cancel")
    shown = sorted(arrived)[4:]  # the first ones are about starting
    late = [arrived[step] - written[step] for step in shown if step in written]
    since = arrived[shown[0]]
    return {
        "terminal": f"{width}x{height}",
        "steps": len(late),
        "late_s": {"median": round(statistics.median(late), 3), "most": round(max(late), 3)},
        "bytes_per_s": round(sum(count for when, count in sent if when >= since) / (sent[-1][0] - since)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"TUIWB_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
        reports = [watch(80, 24, steps), watch(160, 50, steps)]
    for report in reports:
        print(json.dumps(report))
    return 0 if all(report["late_s"]["most"] <= 1.0 for report in reports) else 1  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
