"""The training worker as a process: what it leaves in the run directory, how it stops, resumes, fails and dies."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training import losses, make_run, recipe_of, start, train, write_rows

from tuiwb import rundir
from tuiwb.models import load_tokenizer
from tuiwb.recipe import DatasetEntry
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def finished(tiny_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of 15 steps, with a request to save that was there from the start."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = recipe_of(tiny_model, rows, eval_fraction=0.17, eval_strategy="steps", eval_steps=5.0)
    run = make_run(folder / "finished", recipe)
    rundir.request(run, "save")
    code = train(run, TUIWB_HOME=str(folder / "home"))
    assert code == 0, run.output_file.read_text()
    return run


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_it_learns_and_writes_a_metric_for_each_step(finished: RunDir) -> None:
    found = losses(finished)
    assert sorted(found) == list(range(1, 16))
    assert sum(found[step] for step in (13, 14, 15)) < 0.9 * sum(found[step] for step in (1, 2, 3))
    records = rundir.read_all(finished.part(1, "sft").metrics_file)
    last = [record for record in records if "loss" in record][-1]
    expected = {
        "current_steps", "total_steps", "loss", "lr", "epoch", "percentage", "elapsed_time", "remaining_time",
        "throughput", "total_tokens", "time", "grad_norm", "tokens_per_s", "trained_tokens", "step_s", "attempt",
    }  # fmt: skip
    assert expected <= last.keys()
    assert last["percentage"] == 100
    assert last["remaining_s"] == 0
    assert 0 < last["trained_tokens"] < last["total_tokens"]
    assert "\nstep 15/15  loss " in finished.output_file.read_text()
    measured = [record["eval_loss"] for record in records if "eval_loss" in record]
    assert len(measured) == 3
    assert measured[-1] < measured[0]
    assert list(finished.part(1, "sft").tensorboard.glob("events.*"))


def test_its_result_and_events(finished: RunDir) -> None:
    result = rundir.read_result(finished.part(1, "sft"))
    assert result is not None
    assert result["outcome"] == "finished"
    assert result["checkpoint"] == "parts/1-sft/checkpoint-15"
    assert result["step"] == 15
    assert result["peak_bytes"] > 100e6
    assert result["metrics"]["eval_loss"] > 0
    names = [event["event"] for event in rundir.read_events(finished)]
    assert names[:3] == ["prepared", "loaded", "training"]
    assert names[-2:] == ["saved", "finished"]
    beat = rundir.read_beat(finished)
    assert beat is not None
    assert (beat["phase"], beat["step"], beat["total_steps"]) == ("train", 15, 15)


def test_a_request_to_save_is_answered_with_a_checked_checkpoint(finished: RunDir) -> None:
    answer = json.loads((finished.control / "000001.ack.json").read_bytes())
    assert answer["checkpoint"] == "parts/1-sft/checkpoint-1"
    assert answer["step"] == 1
    assert rundir.verify_checkpoint(finished.path / answer["checkpoint"]).resumable


def test_a_checkpoint_carries_tokenizer_template_stops_and_recipe(finished: RunDir, tiny_model: Path) -> None:
    folder = finished.part(1, "sft").path / "checkpoint-15"
    assert (folder / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()
    tokenizer, base = load_tokenizer(folder), load_tokenizer(tiny_model)
    assert tokenizer.chat_template == base.chat_template
    assert dict(tokenizer.special_tokens) == dict(base.special_tokens)
    assert json.loads((folder / "generation_config.json").read_bytes())["eos_token_id"] == 2
    assert "method: lora" in (folder / "recipe.yaml").read_text()
    assert (folder / "adapter_model.safetensors").is_file()


def test_stop_is_answered_and_resuming_goes_on_exactly(finished: RunDir, tmp_path: Path) -> None:
    again = RunDir(tmp_path / "again")
    shutil.copytree(finished.path, again.path)
    part = again.part(1, "sft")
    # As a crash in the third epoch leaves it: two checkpoints, metrics beyond them, no result.
    for name in ("checkpoint-15", "tensorboard"):
        shutil.rmtree(part.path / name)
    part.result_file.unlink()
    shutil.rmtree(again.control)
    stopped = make_run(tmp_path / "stopped", recipe_of(*_inputs(finished)))
    rundir.request(stopped, "stop")
    assert train(again, stopped) == 0, again.output_file.read_text()

    assert [event["step"] for event in rundir.read_events(again) if event["event"] == "resumed"] == [10]
    new = rundir.read_all(part.metrics_file)[-12:]
    resumed = {record["current_steps"]: record for record in new if "loss" in record}
    assert sorted(step for step in resumed if step > 10) == [11, 12, 13, 14, 15]
    before = {r["current_steps"]: r for r in rundir.read_all(finished.part(1, "sft").metrics_file) if "loss" in r}
    for step in range(11, 16):
        assert resumed[step]["loss"] == before[step]["loss"]
        assert resumed[step]["grad_norm"] == before[step]["grad_norm"]
        assert resumed[step]["total_tokens"] == before[step]["total_tokens"]

    result = rundir.read_result(stopped.part(1, "sft"))
    assert result is not None
    assert (result["outcome"], result["step"]) == ("stopped", 1)
    answer = json.loads((stopped.control / "000001.ack.json").read_bytes())
    assert answer["checkpoint"] == result["checkpoint"] == "parts/1-sft/checkpoint-1"
    assert rundir.verify_checkpoint(stopped.path / answer["checkpoint"]).resumable
    assert sorted(losses(stopped)) == [1]


FULL_DISK = """
import errno, sys
from tuiwb.workers import checkpoint
from tuiwb.workers.train import main

write, failures = checkpoint.write_companions, int(sys.argv[3])

def full(folder, *rest):
    global failures
    failures -= 1
    if failures >= 0:
        raise OSError(errno.ENOSPC, "No space left on device")
    write(folder, *rest)

checkpoint.write_companions = full
first = main([sys.argv[1]])
failures = 99
sys.exit(10 * first + main([sys.argv[2]]))
"""


def test_a_full_disk_costs_a_checkpoint_but_not_the_run(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_model, rows, num_train_epochs=1.0)
    recovers, never = make_run(tmp_path / "recovers", recipe), make_run(tmp_path / "never", recipe)
    rundir.request(recovers, "stop")
    code = f"import sys; sys.argv.append('2')\n{FULL_DISK}"
    assert train(recovers, never, code=code) == 5, recovers.output_file.read_text()

    answer = json.loads((recovers.control / "000001.ack.json").read_bytes())
    assert answer["checkpoint"] is None
    assert "No space left on device" in answer["problem"]
    result = rundir.read_result(recovers.part(1, "sft"))
    assert result is not None
    assert (result["outcome"], result["checkpoint"]) == ("finished", "parts/1-sft/checkpoint-6")
    failed = [event["step"] for event in rundir.read_events(recovers) if event["event"] == "save_failed"]
    assert failed == [1, 5]
    assert [path.name for path in rundir.checkpoints(recovers.part(1, "sft"))] == ["checkpoint-6"]

    result = rundir.read_result(never.part(1, "sft"))
    assert result is not None
    assert result["outcome"] == "failed"
    assert "could not be written (No space left on device)" in result["message"]
    assert not rundir.checkpoints(never.part(1, "sft"))
    assert len(losses(never)) == 6


def test_two_processes_have_the_losses_of_one(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    keys = {"train_sampling_strategy": "sequential", "lora_dropout": 0.0, "num_train_epochs": 1.0}
    held = {"eval_fraction": 0.17, "eval_strategy": "steps", "eval_steps": 3.0}
    one = make_run(tmp_path / "one", recipe_of(tiny_model, rows, **keys, **held))
    two = make_run(tmp_path / "two", recipe_of(tiny_model, rows, **keys, **held, per_device_train_batch_size=2))
    rundir.request(two, "save")
    assert train(one) == 0, one.output_file.read_text()
    assert train(two, processes=2, OMP_NUM_THREADS="1") == 0, two.output_file.read_text()
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    records = [rundir.read_all(run.part(1, "sft").metrics_file) for run in (one, two)]
    measured = [[r["eval_loss"] for r in found if "eval_loss" in r] for found in records]
    assert measured[1] == pytest.approx(measured[0], abs=1e-5)
    counted = [[r["trained_tokens"] for r in found if "loss" in r] for found in records]
    assert counted[0] == counted[1]
    answer = json.loads((two.control / "000001.ack.json").read_bytes())
    assert rundir.verify_checkpoint(two.path / answer["checkpoint"]).valid


def test_killed_it_leaves_a_directory_that_can_be_read(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "killed", recipe_of(tiny_model, rows, num_train_epochs=4000.0, save_steps=7.0))
    process = start(run)
    part = run.part(1, "sft")
    wait_for(lambda: len(losses(run)) > 30 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert rundir.read_result(part) is None
    assert sorted(losses(run)) == list(range(1, len(losses(run)) + 1))
    assert all("loss" in record for record in rundir.read_all(part.metrics_file))
    verdict = rundir.newest_valid_checkpoint(run)
    assert verdict is not None
    assert verdict.step is not None
    assert verdict.step % 7 == 0


def test_no_trained_token_is_a_sentence_before_torch_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "alone"}]}) + "\n")
    run = make_run(tmp_path / "empty", recipe_of(tiny_model, path))
    began = time.monotonic()
    # Where torch cannot even be imported, the same sentence is said.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/torch.py").write_text("raise ImportError('hidden')")
    path_before = worker_path()
    assert train(run, PYTHONPATH=f"{tmp_path / 'hidden'}:{path_before}") == 5
    result = rundir.read_result(run.part(1, "sft"))
    assert result is not None
    assert result["outcome"] == "failed"
    assert result["cause"] == "input"
    assert "none of the 1 rows can be trained on" in result["message"]
    assert "Traceback" in run.output_file.read_text()
    assert time.monotonic() - began < 30


def worker_path() -> str:
    from tuiwb.base.worker import worker_environment

    return worker_environment().get("PYTHONPATH", "")


def test_what_is_not_trained_is_refused(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "packed", recipe_of(tiny_model, rows, packing=True, packing_strategy="wrapped"))
    assert train(run) == 5
    result = rundir.read_result(run.part(1, "sft"))
    assert result is not None
    assert result["message"].startswith("packing: packing_strategy wrapped cuts examples apart")


def test_packed_rows_with_noise_and_one_checkpoint(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    keys = {"packing": True, "per_device_train_batch_size": 2, "train_sampling_strategy": "random", "lora_dropout": 0.0}
    more = {"save_total_limit": 1, "save_steps": 1.0, "num_train_epochs": 1.0}
    plain = make_run(tmp_path / "plain", recipe_of(tiny_model, rows, **keys, **more))
    noisy = make_run(tmp_path / "noisy", recipe_of(tiny_model, rows, **keys, **more, neftune_noise_alpha=5.0))
    assert train(plain, noisy) == 0, plain.output_file.read_text()
    part = plain.part(1, "sft")
    steps = sorted(losses(plain))
    # All examples fit into so many rows of 256 tokens; each of them was trained on once.
    assert 1 < len(steps) < 6
    last = [record for record in rundir.read_all(part.metrics_file) if "loss" in record][-1]
    event = next(event for event in rundir.read_events(plain) if event["event"] == "prepared")
    assert last["total_tokens"] == event["tokens"]
    assert [path.name for path in rundir.checkpoints(part)] == [f"checkpoint-{steps[-1]}"], "the newest alone is kept"
    # NEFTune's noise on the embeddings changes what the same first batch costs.
    assert losses(noisy)[1] != pytest.approx(losses(plain)[1], abs=1e-4)


def _inputs(run: RunDir) -> tuple[Path, Path]:
    recipe = rundir.read_job(run)["input"]
    entry = DatasetEntry(**recipe["datasets"][0])
    return Path(recipe["model_name_or_path"]), Path(entry.path)
