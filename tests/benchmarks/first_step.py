"""Seconds from the start of the training worker to the end of its first step, imports included (at most 25).

    python tests/benchmarks/first_step.py MODEL DATA.json [--times 3]

The preset sft-lora as it is resolved here, its data not yet prepared, a batch of 4 rows of at most 512 tokens.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from tuiwb import models, rundir
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.hardware import host
from tuiwb.recipe import load, to_plain, with_settings
from tuiwb.resolve import resolve


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path)
    arguments.add_argument("data", type=Path, help="an alpaca file")
    arguments.add_argument("--times", type=int, default=3)
    args = arguments.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs", flush=True)
    for _ in range(args.times):
        with tempfile.TemporaryDirectory() as folder:
            once(args.model, args.data, Path(folder))


def once(model: Path, data: Path, folder: Path) -> None:
    """One run, from nothing to its first step."""
    settings = {
        "model_name_or_path": str(model),
        "datasets.0.path": str(data),
        "max_length": "512",
        "gradient_accumulation_steps": "1",
        "max_steps": "1",
        "save_strategy": "no",
        "eval_fraction": "0",
    }
    stated = with_settings(load("sft-lora"), settings)
    recipe = resolve(stated, model=models.open_model(str(model)), host=host(), gpus=[]).recipe
    run = rundir.RunDir(folder / "run")
    run.path.mkdir()
    rundir.write_job(run, {"kind": "train", "input": to_plain(recipe), "parts": ["sft"]})
    environment = {**os.environ, **worker_environment(), "TUIWB_HOME": str(folder / "home")}
    metrics = run.part(1, "sft").metrics_file
    began = time.monotonic()
    with (folder / "log").open("w") as log:
        command = worker_argv("tuiwb.workers.train", run.path)
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while worker.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.02)
        seconds = time.monotonic() - began
        _, _, used = os.wait4(worker.pid, 0)
    events = {event["event"]: event["time"] for event in rundir.read_events(run)}
    (first,) = [json.loads(line) for line in metrics.read_text().splitlines()][:1]
    loading, stepping = events["training"] - events["prepared"], first["time"] - events["training"]
    print(
        f"first step after {seconds:.1f} s; from prepared rows to the first step's begin {loading:.1f} s, the step "
        f"{stepping:.1f} s; {used.ru_utime + used.ru_stime:.1f} CPU-s in all",
        flush=True,
    )


if __name__ == "__main__":
    main()
