"""What a run costs beside its training: its wrapper with alarms, samples and GPUs, and what is written at a step.

    python tests/benchmarks/overhead.py [--seconds 60]

A light worker (tests/runs/light_worker.py, no torch) logs ten steps a second under the real wrapper, first without a
GPU, then with a lease on one of eight synthetic ones, which the wrapper's child asks for. Promised: at most 1 % of a
core for the wrapper and its children. The lines and beats of a step are timed in this process; what the trainer's
callback takes of a step with them is told by train_speed.py (promised: 5 ms). Seconds are those of the CPU.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "runs"), str(TESTS / "hardware")]

STEPS = 5000


def wrapper_percent(gpus: tuple[int, ...], seconds: float) -> dict[str, float]:
    """The share of a core that the wrapper takes, with its children but the worker."""
    import psutil
    from run_tools import at_step, identity, light_job

    from tuiwb import rundir, runs

    job = dataclasses.replace(light_job(steps=100_000, step_s=0.1, save_every=1_000_000), gpus=gpus)
    run = runs.launch(job)
    try:
        at_step(run, 30)
        wrapper, worker = psutil.Process(identity(run, "wrapper").pid), identity(run, "launcher").pid

        def spent() -> float:
            family = [wrapper, *(each for each in wrapper.children() if each.pid != worker)]
            return float(sum(sum(each.cpu_times()[:2]) for each in family))

        before, began, first = spent(), time.monotonic(), len(rundir.read_all(run.part(1, "main").metrics_file))
        time.sleep(seconds)
        took, passed = spent() - before, time.monotonic() - began
        steps = len(rundir.read_all(run.part(1, "main").metrics_file)) - first
        return {"percent": round(100 * took / passed, 2), "steps_per_s": round(steps / passed, 1)}
    finally:
        runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=30)  # its home goes with the benchmark


def writers_ms(folder: Path) -> float:
    """Milliseconds of a step for its line of metrics and its beat."""
    from tuiwb import rundir
    from tuiwb.rundir import RunDir

    run = RunDir(folder / "writers")
    part = run.part(1, "sft")
    part.path.mkdir(parents=True)
    metrics, beats = rundir.MetricsWriter(part.metrics_file), rundir.BeatWriter(run, every_s=0.0)
    before = time.process_time()
    for step in range(STEPS):
        line = {"current_steps": step, "total_steps": STEPS, "loss": 2.1, "grad_norm": 1.0, "lr": 1e-4, "step_s": 0.5}
        metrics.write({**line, "time": time.time(), "total_tokens": step * 2048, "tokens_per_s": 5000.5})
        beats.beat("train", step, STEPS)
    return round(1000 * (time.process_time() - before) / STEPS, 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    from synthetic import compile_library

    with tempfile.TemporaryDirectory() as home:
        os.environ["TUIWB_HOME"] = home
        library = Path(home) / "nvml"
        library.mkdir()
        os.environ |= {"LD_LIBRARY_PATH": str(compile_library(library)), "SYNTHETIC_NVML": "gpus=8,wander"}
        print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
        print(json.dumps({"writers_ms_a_step": writers_ms(Path(home))}))
        found = {"no GPU": wrapper_percent((), args.seconds), "a GPU of 8": wrapper_percent((3,), args.seconds)}
        print(json.dumps({"wrapper": found}))
    return 0 if all(each["percent"] <= 1 for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
