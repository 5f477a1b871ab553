"""Two processes of a stage have the numbers of one with the same batch."""

from pathlib import Path
from typing import Any

import pytest
from stage_runs import result, stage_run, steps
from training import train

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.mark.parametrize("stage", ["dpo", "reward"])
def test_two_processes_have_the_losses_of_one(stage: str, tiny_model: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"train_sampling_strategy": "sequential", "eval_fraction": 0.17}
    keys |= {"eval_strategy": "steps", "eval_steps": 3.0}
    one = stage_run("one", stage, tiny_model, tmp_path, **keys)
    two = stage_run("two", stage, tiny_model, tmp_path, **keys, per_device_train_batch_size=2)
    assert train(one) == 0, one.output_file.read_text()
    assert train(two, processes=2, OMP_NUM_THREADS="1") == 0, two.output_file.read_text()
    alone, together = steps(one), steps(two)
    assert sorted(alone) == sorted(together)
    for step in alone:
        assert together[step]["loss"] == pytest.approx(alone[step]["loss"], abs=1e-5), step
        assert together[step]["total_tokens"] == alone[step]["total_tokens"]
    assert result(two)["metrics"]["eval_loss"] == pytest.approx(result(one)["metrics"]["eval_loss"], abs=1e-5)


def test_two_processes_sample_answers_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    run = stage_run("two", "grpo", tiny_model, tmp_path, per_device_train_batch_size=2)
    assert train(run, processes=2, OMP_NUM_THREADS="1") == 0, run.output_file.read_text()
    assert sorted(steps(run)) == [1, 2, 3, 4, 5, 6]
    assert result(run)["outcome"] == "finished"
