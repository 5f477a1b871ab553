"""What a run must survive or say plainly: other data at a resume, a log every few steps, an end nobody wrote down."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training import make_run, recipe_of, train, write_rows

from tuiwb import rundir
from tuiwb.rundir import BeatWriter, RunDir


@pytest.mark.torch
def test_resumed_after_its_end_or_on_other_data(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    keys: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2.0, "save_steps": 2.0, "eval_fraction": 0.17}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "learning_rate": 10.0}
    recipe = recipe_of(tiny_model, rows, num_train_epochs=1.0, method="full", **keys, **best)
    run = make_run(tmp_path / "first", recipe)
    assert train(run) == 0, run.output_file.read_text()
    first = rundir.read_result(run.part(1, "sft"))
    assert first is not None
    # With this learning rate the first checkpoint is better than the last.
    assert first["checkpoint"] != f"parts/1-sft/checkpoint-{first['step']}"

    unwritten, other = RunDir(tmp_path / "unwritten"), RunDir(tmp_path / "other")
    for copy in (unwritten, other):
        shutil.copytree(run.path, copy.path)
        copy.part(1, "sft").result_file.unlink()
    job = rundir.read_job(other)
    job["input"]["datasets"][0]["path"] = str(write_rows(tmp_path / "fewer.jsonl", 20))
    rundir.write_job(other, job)
    assert train(unwritten, other) == 5

    found = rundir.read_result(unwritten.part(1, "sft"))
    assert found is not None
    assert (found["outcome"], Path(found["checkpoint"]).name) == ("finished", Path(first["checkpoint"]).name)
    assert found["metrics"]["eval_loss"] == first["metrics"]["eval_loss"]
    failed = rundir.read_result(other.part(1, "sft"))
    assert failed is not None
    assert failed["cause"] == "input"
    assert "not those that this run began with" in failed["message"]
    assert rundir.newest_valid_checkpoint(other) is not None


SHORT_OF_MEMORY = """
import sys, torch
from tuiwb.workers import sft
from tuiwb.workers.train import main

first = main([sys.argv[1]])
assert first == 5, first
compute = sft.Trainer.compute_loss
def wants_too_much(self, *arguments, **named):
    torch.empty(1 << 60, dtype=torch.uint8)
    return compute(self, *arguments, **named)
sft.Trainer.compute_loss = wants_too_much
sys.exit(main([sys.argv[2]]))
"""
"""A run as it is, then one whose first step asks for more memory than any machine has."""


def must_explain_memory(run: RunDir) -> None:
    part = run.part(1, "sft")
    result = rundir.read_result(part)
    assert result is not None
    assert (result["outcome"], result["cause"], result.get("checkpoint")) == ("failed", "out_of_memory", None)
    wanted = "out of memory in step 1: gradient_checkpointing=true saves 3.0 GiB and computes each layer twice"
    assert result["message"] == wanted
    assert [event["event"] for event in rundir.read_events(run)][-1] == "failed"
    assert not list(part.path.glob("checkpoint-*")), "nothing half done is left"


@pytest.mark.torch
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tiny_model: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"method": "full", "learning_rate": 1e30, "save_steps": 1.0, "max_grad_norm": 1e9}
    rows = write_rows(tmp_path / "rows.jsonl")
    run = make_run(tmp_path / "nan", recipe_of(tiny_model, rows, **keys))
    short = make_run(tmp_path / "short", recipe_of(tiny_model, rows, save_steps=1.0))
    remedies = [{"change": "gradient_checkpointing=true", "saves_bytes": 3 << 30, "cost": "computes each layer twice"}]
    rundir.write_job(short, rundir.read_job(short) | {"plan": {"remedies": remedies}})
    assert train(run, short, code=SHORT_OF_MEMORY) == 5
    must_explain_memory(short)
    part = run.part(1, "sft")
    result = rundir.read_result(part)
    assert result is not None
    assert result["outcome"] == "failed"
    records = [record for record in rundir.read_all(part.metrics_file) if "loss" in record]
    last = records[-1]["current_steps"]
    assert not math.isfinite(records[-1]["loss"])
    assert all(math.isfinite(record["loss"]) for record in records[:-1])
    assert result["message"].startswith(f"the loss is nan in step {last}")
    assert "learning_rate" in result["message"]
    assert not (part.path / f"checkpoint-{last}").exists()


@pytest.mark.torch
def test_speed_counts_the_time_of_all_steps_of_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuiwb.workers import callback as module

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 0.0))
    monkeypatch.setattr(module, "in_force", lambda *_: {})  # which asks a trainer, and here is none
    run = RunDir(tmp_path)
    part = run.part(1, "sft")
    told = module.RunCallback(run, part, BeatWriter(run), examples=100, mean_tokens=10.0)
    told.counter = SimpleNamespace(take_tokens=lambda: (400, 40))
    args = SimpleNamespace(fp16=False, train_batch_size=1, gradient_accumulation_steps=1, world_size=1)
    state = SimpleNamespace(
        is_world_process_zero=True, global_step=0, max_steps=100, num_train_epochs=1, eval_steps=0, epoch=0.0
    )
    control = SimpleNamespace(should_training_stop=False, should_save=False, should_evaluate=False)
    told.on_train_begin(args, state, control)
    for step in range(1, 5):
        told.on_step_begin(args, state, control)
        clock.now += 2.0
        state.global_step = step
        told.on_step_end(args, state, control)
        if step == 2:  # neither an evaluation nor a save is time of training
            told.on_prediction_step(args, state, control)
            clock.now += 30.0
            told.on_evaluate(args, state, control)
            told.saving(state)
            clock.now += 50.0
            told.on_save(args, state, control)
    told.on_log(args, state, control, logs={"loss": 1.0})
    told.on_train_end(args, state, control)
    (record,) = (json.loads(line) for line in part.metrics_file.read_text().splitlines())
    assert (record["step_s"], record["tokens_per_s"]) == (2.0, 50.0)
