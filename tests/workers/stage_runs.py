"""Run directories of all stages, with the tiny model and rows made for them."""

import json
import shutil
from pathlib import Path
from typing import Any

from training import ANSWERS, make_run, recipe_of

from tuiwb import rundir
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.rundir import RunDir

REWARD_FILE = """
def short(prompts, completions, answer, **rest):
    assert len(prompts) == len(completions) == len(answer)
    assert all(turns[0]["role"] == "user" for turns in prompts)
    return [1.0 / (1 + len(text)) for text in completions]


def broken(prompts, completions, **rest):
    raise ValueError("no such score")
"""
PAIRED, JUDGED, ASKED = ("reward", "dpo", "orpo"), ("kto",), ("grpo", "rloo")
DROPPED = {"train_roles": None, "train_on_eos": None}


def write_pairs(path: Path, count: int = 24) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {number}? " * (number % 4 + 1)}],
            "chosen": [{"role": "assistant", "content": ANSWERS[number % 3]}],
            "rejected": [{"role": "assistant", "content": "No. " * (number % 5 + 1)}],
        }
        for number in range(count)
    ]
    return _write(path, rows)


def write_judged(path: Path, count: int = 24, *, label: bool | None = None) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {number}? " * (number % 4 + 1)}],
            "completion": [{"role": "assistant", "content": ANSWERS[number % 3] if number % 2 else "No. No."}],
            "label": bool(number % 2) if label is None else label,
        }
        for number in range(count)
    ]
    return _write(path, rows)


def write_asked(path: Path, count: int = 24) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {number}? " * (number % 4 + 1)}],
            "answer": str(number),
        }
        for number in range(count)
    ]
    return _write(path, rows)


def stage_recipe(stage: str, model: Path, folder: Path, **keys: Any) -> Recipe:
    """A resolved recipe of a stage for the CPU: 6 steps, a checkpoint after the third and at the end."""
    write = {"kto": write_judged, "grpo": write_asked, "rloo": write_asked}.get(stage, write_pairs)
    rows = folder / f"{stage}.jsonl"
    if not rows.exists():
        write(rows)
    values: dict[str, Any] = {"stage": stage, "num_train_epochs": 1.0, "save_steps": 3.0, "lora_dropout": 0.0}
    form = "prompt_only" if stage in ASKED else None
    values |= {"datasets": (DatasetEntry(path=str(rows), format=form),), "learning_rate": 1e-3}
    if stage in ("dpo", "kto", "orpo"):
        values["beta"] = 0.1
    if stage in ASKED:
        file = folder / "rewards.py"
        file.write_text(REWARD_FILE)
        values |= {
            "train_sampling_strategy": "random",
            "num_generations": 2,
            "gradient_accumulation_steps": 2,
            "max_completion_length": 6,
            "temperature": 1.0,
            "beta": 0.05,
            "reward_funcs": (f"{file}:short", "length:4"),
        }
    return recipe_of(model, rows, **(DROPPED | values | keys))


def stage_run(name: str, stage: str, model: Path, folder: Path, **keys: Any) -> RunDir:
    return make_run(folder / name, stage_recipe(stage, model, folder, **keys), stage)


def records(run: RunDir) -> list[dict[str, Any]]:
    (part,) = run.parts()
    return rundir.read_all(part.metrics_file)


def steps(run: RunDir) -> dict[int, dict[str, Any]]:
    """What was written at each step, the newest attempt's."""
    return {record["current_steps"]: record for record in records(run) if "loss" in record}


def result(run: RunDir) -> dict[str, Any]:
    (part,) = run.parts()
    found = rundir.read_result(part)
    assert found is not None, run.output_file.read_text()
    return found


def cut_short(run: RunDir, folder: Path) -> RunDir:
    """A copy as a crash after the third step's checkpoint leaves it."""
    copy = RunDir(folder / f"{run.path.name}-again")
    shutil.copytree(run.path, copy.path)
    (part,) = copy.parts()
    for path in (*part.path.glob("checkpoint-*"), part.tensorboard):
        if path.name != "checkpoint-3":
            shutil.rmtree(path)
    part.result_file.unlink()
    kept = [line for line in part.metrics_file.read_text().splitlines() if json.loads(line)["current_steps"] <= 3]
    part.metrics_file.write_text("".join(f"{line}\n" for line in kept))
    return copy


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
