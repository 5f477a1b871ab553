"""How late a metric is on the screen, and how many bytes a second the Runs screen sends while it watches a run.

    python tests/benchmarks/watching.py [--steps 40] [--long 1000000]

A light worker (tests/runs/light_worker.py, no torch) logs one step every half second under the real wrapper; `tuiwb`
runs in a pseudo-terminal. Late is the time from the line in metrics.jsonl (its own `time`) to the arrival of the bytes
that show its step; at most one second is promised. The bytes are those that an SSH connection would carry.

With --long: the share of a core and the bytes of watching three runs of so many lines each, then of eight (synthetic)
GPUs whose values are others at each look, the time from a key to what it paints, and the time from one repaint of all
GPUs to the next. Promised: 3 %, 5 kB/s, 50 ms for 95 of 100 keys, and the GPUs once a second.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

KEYS = 40
"""Presses of a key."""
GPUS = 8
_ROW = re.compile(rb"\x1b\[(\d+);\d+H")
_APART_S = 0.1
"""Bytes that come sooner after others belong to the same painting."""

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "runs"), str(TESTS / "hardware"), str(TESTS / "benchmarks")]


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
        runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=30)  # its home goes with the benchmark
    shown = sorted(arrived)[4:]  # the first ones are about starting
    late = [arrived[step] - written[step] for step in shown if step in written]
    since = arrived[shown[0]]
    return {
        "terminal": f"{width}x{height}",
        "steps": len(late),
        "late_s": {"median": round(statistics.median(late), 3), "most": round(max(late), 3)},
        "bytes_per_s": round(sum(count for when, count in sent if when >= since) / (sent[-1][0] - since)),
    }


def long_runs(home: Path, lines: int) -> list[Any]:
    """Three runs that count as running: this process holds their locks."""
    from long_runs import write_metrics

    from tuiwb import rundir
    from tuiwb.rundir import RunDir
    from tuiwb.runs import lock

    machine = {"host": rundir.host_name(), "machine_id": rundir.machine_id(), "boot_id": rundir.boot_id()}
    found = []
    for number in range(3):
        run = RunDir(home / "data" / "runs" / f"2026010{number}-000000-long-{number:06x}")
        write_metrics(run.part(1, "sft").metrics_file, lines)
        rundir.write_job(run, {"kind": "train", "name": f"long {number}", "created": 1.7e9, "input": {}})
        lock.take(run)
        rundir.write_state(run, "running", machine=machine)
        found.append(run)
    return found


def watch_long(home: Path, lines: int, seconds: float) -> list[dict[str, object]]:
    """The cost of the curves of three long runs, and of eight GPUs."""
    import psutil
    from synthetic import compile_library

    from tuiwb.rundir import MetricsWriter

    library = home / "nvml"
    library.mkdir()
    os.environ |= {"LD_LIBRARY_PATH": str(compile_library(library)), "SYNTHETIC_NVML": f"gpus={GPUS},wander"}
    runs = long_runs(home, lines)
    writers = [MetricsWriter(run.part(1, "sft").metrics_file) for run in runs]
    pid, terminal = pty.fork()
    if pid == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.execv(
            sys.executable, [sys.executable, "-c", "from tuiwb.cli.workbench import run; run(None, screen='runs')"]
        )
    process = psutil.Process(pid)
    step, reports = lines, []

    def spent() -> float:
        family = [process, *process.children(recursive=True)]
        return float(sum(sum(each.cpu_times()[:2]) for each in family))

    drawn: list[tuple[float, bytes]] = []

    def run_for(seconds: float, keys: bytes = b"") -> tuple[float, int]:
        """CPU seconds and bytes while the runs grow."""
        nonlocal step
        os.write(terminal, keys)
        drawn.clear()
        before, sent, end, due = spent(), 0, time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < end:
            if now >= due:
                due, step = now + 1.0, step + 1
                for writer in writers:
                    line = {"time": 1.7e9 + step * 0.5, "current_steps": step, "total_steps": 2 * lines}
                    writer.write({**line, "loss": 2.1, "grad_norm": 1.0, "lr": 1e-4, "total_tokens": step * 2048})
            if select.select([terminal], [], [], 0.05)[0]:
                drawn.append((time.monotonic(), os.read(terminal, 1 << 20)))
                sent += len(drawn[-1][1])
        return spent() - before, sent

    def pressed(count: int) -> list[float]:
        """Seconds from a key (logarithmic axis) to the arrival of what it says. Its opposite is not timed."""
        found = []
        for _ in range(count):
            run_for(0.7)
            os.write(terminal, b"l")
            began, seen = time.monotonic(), b""
            while b"log" not in seen and time.monotonic() < began + 10:
                if select.select([terminal], [], [], 0.05)[0]:
                    seen += os.read(terminal, 1 << 20)
            found.append(time.monotonic() - began)
            run_for(0.3, b"l")
        return sorted(found)

    try:
        run_for(20.0)  # opens, and reads the first run
        run_for(40.0, b"j jj kk")  # marks the two others, and goes back to the first
        for what, keys in (("curves of 3 runs", b""), ("8 GPUs", b"]")):
            run_for(10.0, keys)
            cpu, sent = run_for(seconds)
            reports.append(
                {
                    "watched": what,
                    "lines": lines,
                    "percent": round(100 * cpu / seconds, 2),
                    "bytes_per_s": round(sent / seconds),
                }
            )
            if keys:
                gaps = between_paintings(drawn)
                reports[-1]["gpus_painted_every_s"] = {"median": statistics.median(gaps), "most": max(gaps)}
            else:
                late = pressed(KEYS)
                reports[-1]["key_to_paint_ms"] = {
                    "median": round(1000 * statistics.median(late)),
                    "p95": round(1000 * late[int(0.95 * len(late))]),
                }
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return reports


def between_paintings(drawn: list[tuple[float, bytes]]) -> list[float]:
    """Seconds from one painting that touches the lines of all GPUs to the next."""
    paintings: list[tuple[float, set[bytes]]] = []
    last = 0.0
    for when, data in drawn:
        if when - last > _APART_S:
            paintings.append((when, set()))
        paintings[-1][1].update(_ROW.findall(data))
        last = when
    whole = [when for when, rows in paintings if len(rows) >= GPUS]
    return [round(after - before, 3) for before, after in pairwise(whole)]


def kept(report: dict[str, Any]) -> bool:
    """Whether it is what was promised."""
    return bool(
        report["percent"] <= 3
        and report["bytes_per_s"] <= 5000
        and report.get("key_to_paint_ms", {"p95": 0})["p95"] <= 50
        and report.get("gpus_painted_every_s", {"most": 0})["most"] <= 1
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--long", type=int, default=0, metavar="LINES")
    args = parser.parse_args()
    steps = args.steps
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"TUIWB_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
        if args.long:
            found = watch_long(Path(home), args.long, 30.0)
            for report in found:
                print(json.dumps(report))
            return 0 if all(kept(each) for each in found) else 1
        reports = [watch(80, 24, steps), watch(160, 50, steps)]
    for report in reports:
        print(json.dumps(report))
    return 0 if all(report["late_s"]["most"] <= 1.0 for report in reports) else 1  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
