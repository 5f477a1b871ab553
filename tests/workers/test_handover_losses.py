"""What is handed over trains the same: tuiwb, `trl <stage> --config` and the Python script, loss by loss."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stage_runs import stage_recipe, steps
from training import losses, make_run, train, write_rows

from tuiwb import resolve
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve.handover import hand_over

pytestmark = [pytest.mark.slow, pytest.mark.torch]


def run_there(folder: Path, command: list[str]) -> dict[int, float]:
    """Run what was handed over in its folder; the loss of each step."""
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (state,) = folder.glob("output/checkpoint-*/trainer_state.json")
    history = json.loads(state.read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


@pytest.mark.parametrize("keys", [{"method": "lora"}, {"method": "full"}], ids=lambda keys: str(keys["method"]))
def test_three_ways_have_the_same_losses(tmp_path: Path, tiny_model: Path, keys: dict[str, Any]) -> None:
    rows = DatasetEntry(path=str(write_rows(tmp_path / "rows.jsonl")))
    recipe = Recipe(
        stage="sft", model_name_or_path=str(tiny_model), datasets=(rows,),
        num_train_epochs=1.0, per_device_train_batch_size=4, gradient_accumulation_steps=1, learning_rate=1e-2,
        max_length=128, save_strategy="epoch", use_cpu=True, bf16=False, lora_r=4, report_to="none", **keys,
    )  # fmt: skip
    assessment = resolve.assess(recipe)
    run = make_run(tmp_path / "run", assessment.resolved.recipe)
    assert train(run) == 0, run.output_file.read_text()[-2000:]
    ours = losses(run)
    trl = hand_over(assessment, tmp_path / "trl", "trl")
    script = hand_over(assessment, tmp_path / "script", "script")
    theirs = run_there(trl.folder, [str(Path(sys.executable).parent / "trl"), "sft", "--config", "trl.yaml"])
    written = run_there(script.folder, [sys.executable, "train.py"])
    assert len(ours) == 6
    assert max(ours.values()) - min(ours.values()) > 0.1, "it learns, so that equal losses say something"
    for other in (theirs, written):
        assert other.keys() == ours.keys()
        for step, loss in other.items():
            assert loss == pytest.approx(ours[step], abs=2e-3), step


def test_pairs_have_them_too(tmp_path: Path, tiny_model: Path) -> None:
    """In an order that TRL can take as well: it groups no pairs by length, and the export says so."""
    grouped = resolve.assess(stage_recipe("dpo", tiny_model, tmp_path, report_to="none", bf16=False))
    assert "train_sampling_strategy: random" in hand_over(grouped, tmp_path / "grouped", "trl").notes[0]
    stated = stage_recipe("dpo", tiny_model, tmp_path, train_sampling_strategy="random", save_strategy="epoch",
                          save_steps=None, learning_rate=1e-2, bf16=False, report_to="none")  # fmt: skip
    assessment = resolve.assess(stated)
    run = make_run(tmp_path / "run", assessment.resolved.recipe, "dpo")
    assert train(run) == 0, run.output_file.read_text()[-2000:]
    ours = {step: record["loss"] for step, record in steps(run).items()}
    trl = hand_over(assessment, tmp_path / "trl", "trl")
    script = hand_over(assessment, tmp_path / "script", "script")
    assert not trl.notes
    theirs = run_there(trl.folder, [str(Path(sys.executable).parent / "trl"), "dpo", "--config", "trl.yaml"])
    written = run_there(script.folder, [sys.executable, "train.py"])
    assert len(ours) == 6
    assert max(ours.values()) - min(ours.values()) > 0.1, "it learns, so that equal losses say something"
    for other in (theirs, written):
        assert other.keys() == ours.keys()
        for step, loss in other.items():
            assert loss == pytest.approx(ours[step], abs=1e-5), step
