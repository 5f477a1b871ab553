"""What is handed over trains the same: tuiwb, `trl <stage> --config` and the Python script, loss by loss."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stage_runs import stage_recipe, steps
from training import make_run, train, write_rows

from tuiwb import resolve
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve.handover import hand_over

pytestmark = [pytest.mark.slow, pytest.mark.torch]

SHARED: dict[str, Any] = {"save_strategy": "epoch", "report_to": "none", "bf16": False, "learning_rate": 1e-2}
# An order that TRL can take as well: it groups no pairs by length, and the export says so.
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "sft-full": ("sft", {"method": "full"}),
    "dpo": ("dpo", {"train_sampling_strategy": "random"}),
    "kto": ("kto", {"train_sampling_strategy": "sequential"}),
    "reward": ("reward", {"train_sampling_strategy": "random"}),
    "grpo": ("grpo", {}),
    "rloo": ("rloo", {}),
}
# Beside the loss; where answers are sampled, they are the same ones.
SAME = {"grad_norm", "reward", "kl"}


def run_there(folder: Path, command: list[str]) -> dict[int, dict[str, float]]:
    """Run what was handed over in its folder; the numbers of each step."""
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (state,) = folder.glob("output/checkpoint-*/trainer_state.json")
    history = json.loads(state.read_text())["log_history"]
    return {entry["step"]: entry for entry in history if "loss" in entry}


def recipe_for(stage: str, model: Path, folder: Path, **keys: Any) -> Recipe:
    if stage == "sft":
        rows = DatasetEntry(path=str(write_rows(folder / "rows.jsonl")))
        shared = {"num_train_epochs": 1.0, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
        shared |= {"max_length": 128, "use_cpu": True, "lora_r": 4, "method": "lora"}
        return Recipe(stage="sft", model_name_or_path=str(model), datasets=(rows,), **(shared | SHARED | keys))
    return stage_recipe(stage, model, folder, save_steps=None, **(SHARED | keys))


@pytest.mark.parametrize("name", STAGES)
def test_three_ways_have_the_same_losses(name: str, tmp_path: Path, tiny_model: Path) -> None:
    stage, keys = STAGES[name]
    assessment = resolve.assess(recipe_for(stage, tiny_model, tmp_path, **keys))
    run = make_run(tmp_path / "run", assessment.resolved.recipe, stage)
    assert train(run) == 0, run.output_file.read_text()[-2000:]
    ours = steps(run)
    trl = hand_over(assessment, tmp_path / "trl", "trl")
    script = hand_over(assessment, tmp_path / "script", "script")
    theirs = run_there(trl.folder, [str(Path(sys.executable).parent / "trl"), stage, "--config", "trl.yaml"])
    written = run_there(script.folder, [sys.executable, "train.py"])
    assert len(ours) == 6
    # The loss of rloo is nothing at every step: advantages of a group add up to it.
    telling = [record["reward" if stage == "rloo" else "loss"] for record in ours.values()]
    assert max(telling) - min(telling) > 1e-3, "it learns, so that equal numbers say something"
    for other in (theirs, written):
        assert other.keys() == ours.keys()
        for step, entry in other.items():
            assert entry["loss"] == pytest.approx(ours[step]["loss"], rel=1e-6, abs=1e-6), step
            for key in SAME & entry.keys():
                assert entry[key] == pytest.approx(ours[step][key], rel=1e-4, abs=1e-6), (step, key)
    assert not trl.notes, "in what it differs"


def test_an_order_that_trl_cannot_take_is_said(tmp_path: Path, tiny_model: Path) -> None:
    grouped = resolve.assess(stage_recipe("dpo", tiny_model, tmp_path, report_to="none", bf16=False))
    assert "train_sampling_strategy: random" in hand_over(grouped, tmp_path / "grouped", "trl").notes[0]
