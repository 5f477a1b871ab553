"""Run directories for the training worker, with the tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.recipe.files import to_plain
from tuiwb.rundir import RunDir

ANSWERS = ("Paris is the capital.", "The lazy dog.", "The quick brown fox jumps over the lazy dog.")


def write_rows(path: Path, count: int = 24) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {number}? " * (number % 4 + 1)},
                {"role": "assistant", "content": ANSWERS[number % 3]},
            ]
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_of(model: Path, rows: Path, **keys: Any) -> Recipe:
    """A resolved recipe for the CPU: 24 examples in batches of 4, so 6 steps an epoch."""
    values: dict[str, Any] = {
        "stage": "sft",
        "method": "lora",
        "model_name_or_path": str(model),
        "datasets": (DatasetEntry(path=str(rows)),),
        "max_length": 256,
        "train_roles": ("assistant",),
        "train_on_eos": "turn",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "per_device_eval_batch_size": 4,
        "train_sampling_strategy": "group_by_length",
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "num_train_epochs": 3.0,
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "lora_target_modules": "all-linear",
        "dtype": "float32",
        "use_cpu": True,
        "logging_steps": 1.0,
        "save_strategy": "steps",
        "save_steps": 5.0,
        "optim": "adamw_torch",
        "seed": 7,
    }
    return Recipe(**(values | keys))


def make_run(folder: Path, recipe: Recipe, part: str = "sft") -> RunDir:
    folder.mkdir(parents=True)
    run = RunDir(folder)
    rundir.write_job(run, {"kind": "train", "input": to_plain(recipe), "parts": [part]})
    return run


TRAIN_ALL = "import sys; from tuiwb.workers.train import main\nsys.exit([main([d]) for d in sys.argv[1:]][-1])"


def start(*runs: RunDir, code: str | None = None, processes: int = 1, **environment: str) -> "subprocess.Popen[bytes]":
    """One process (or one torchrun of several) that trains these runs one after the other.

    Args:
        code: what it runs instead, with the run directories as arguments.
    """
    command = worker_argv("tuiwb.workers.train", runs[0].path, processes=processes)
    if code or len(runs) > 1:
        command = [sys.executable, "-c", code or TRAIN_ALL, *(str(run.path) for run in runs)]
    with runs[0].output_file.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **worker_environment(), **environment},
            start_new_session=True,
        )


def train(*runs: RunDir, timeout: float = 300, code: str | None = None, processes: int = 1, **environment: str) -> int:
    """Train to the end; the exit code."""
    return start(*runs, code=code, processes=processes, **environment).wait(timeout)


def losses(run: RunDir) -> dict[int, float]:
    """Loss of each step, the newest attempt's."""
    records = rundir.read_all(run.part(1, "sft").metrics_file)
    return {record["current_steps"]: record["loss"] for record in records if "loss" in record}
