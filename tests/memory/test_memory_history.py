"""Past runs beside their plans, read from their directories."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.memory import history, plan
from tuiwb.models.info import ModelInfo
from tuiwb.rundir import RunDir


def run_of(root: Path, name: str, result: dict[str, Any], **job: Any) -> RunDir:
    """A training that has ended, as its files tell."""
    run = RunDir(root / name)
    part = run.part(1, "sft")
    part.path.mkdir(parents=True)
    document = {
        "kind": "train", "parts": ["sft"], "input": {"method": "lora"},
        "plan": {"peak_bytes": 900, "parameters": {"total": 1_000_000}}, **job,
    }  # fmt: skip
    run.job_file.write_text(json.dumps(document))
    part.result_file.write_text(json.dumps(result))
    part.metrics_file.write_text(json.dumps({"current_steps": 1, "tokens_per_s": 50.0}) + "\n")
    return run


def test_a_run_that_ended_is_held_against_its_plan(tmp_path: Path) -> None:
    on_gpu = run_of(tmp_path, "a", {"outcome": "finished", "peak_cuda_bytes": 1000, "peak_rss_bytes": 5})
    on_cpu = run_of(tmp_path, "b", {"outcome": "stopped", "peak_rss_bytes": 600})
    first, second = history.past([on_gpu, on_cpu])
    assert (first.device, first.planned_bytes, first.measured_bytes) == ("cuda", 900, 1000)
    assert first.off == pytest.approx(-0.1)
    assert (second.device, second.off) == ("cpu", pytest.approx(0.5))
    # two operations a weight forward, two for the gradient of its input; the base is frozen
    assert first.flops_per_s == pytest.approx(50 * 4 * 1_000_000)


def test_what_failed_or_was_not_planned_or_trained_says_nothing(tmp_path: Path) -> None:
    whole = {"outcome": "finished", "peak_rss_bytes": 600}
    runs = [
        run_of(tmp_path, "failed", {**whole, "outcome": "failed"}),
        run_of(tmp_path, "unplanned", whole, plan=None),
        run_of(tmp_path, "chat", whole, kind="eval"),
        RunDir(tmp_path / "nothing"),
    ]
    assert history.past(runs) == ()


def test_the_time_is_told_by_what_past_runs_reached(llama: ModelInfo, make_recipe: Any) -> None:
    reached = (1e12, 2e12)
    made = plan(make_recipe(max_steps=10), llama, reached=reached)
    assert made.time_s is not None
    low, high = made.time_s
    assert high == pytest.approx(2 * low)
    assert any(one.name == "speed" for one in made.assumptions)
    assert plan(make_recipe(max_steps=10), llama).time_s is None
