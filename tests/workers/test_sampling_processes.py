"""The stages that sample answers, on one process and on two: resumed exactly, and of PPO the numbers of one."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ppo_tools import ppo_recipe, write_prompts
from stage_runs import cut_short, result, stage_run, steps
from training import make_run, train

from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.rundir import RunDir

pytestmark = [pytest.mark.torch, pytest.mark.slow]

# Answers that the prompts decide, because sampled ones are drawn by each process for itself.
TOLD = """
import sys
import torch
from tuiwb.workers import ppo_rollout, train

def told(self, prompts):
    answers = [[20 + (sum(ids) * (place + 3)) % 50 for place in range(1 + sum(ids) % 6)] for ids in prompts]
    return answers, torch.zeros(len(prompts), dtype=torch.bool, device=self._device)

ppo_rollout.Sampler._sample = told
sys.exit(train.main(sys.argv[1:]))
"""
SAME = ("loss", "grad_norm", "reward", "total_tokens", "kl", "objective/kl", "objective/beta", "policy/refused")


def ppo_run(name: str, model: Path, folder: Path, processes: int, **keys: Any) -> RunDir:
    """Six updates of six answers each, with a limit of the distance that they come to."""
    prompts = write_prompts(folder / "prompts.jsonl")
    values: dict[str, Any] = {
        "per_device_train_batch_size": 6 // processes,
        "num_mini_batches": 1,
        "num_train_epochs": 3.0,
        "save_steps": 3.0,
        "kl_target": 0.05,
        "learning_rate": 1e-2,
    }
    return make_run(folder / name, ppo_recipe(model, prompts, **(values | keys)), "ppo")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("stage", ["grpo", "rloo", "ppo"])
def test_a_resumed_run_has_the_numbers_of_the_whole(
    stage: str, processes: int, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if stage == "ppo":
        # One process answers in ways that all have the length of the other reward.
        keys: dict[str, Any] = {"reward_funcs": ("regex:[a-m ]$",)} if processes == 1 else {}
        run = ppo_run(stage, tiny_model, tmp_path, processes, **keys)
    else:
        run = stage_run(stage, stage, tiny_model, tmp_path, per_device_train_batch_size=4 // processes)
    assert train(run, processes=processes, OMP_NUM_THREADS="1") == 0, run.output_file.read_text()
    again = cut_short(run, tmp_path)
    assert train(again, processes=processes, OMP_NUM_THREADS="1") == 0, again.output_file.read_text()
    whole, resumed = steps(run), steps(again)
    with capsys.disabled():
        print(f"\n{stage}, {processes} processes: " + "  ".join(
            f"{step}: {whole[step]['loss']:.9f} {resumed[step]['loss']:.9f}" for step in (4, 5, 6)
        ))  # fmt: skip
    for step in (4, 5, 6):
        for name in SAME:
            assert resumed[step].get(name) == whole[step].get(name), (step, name)
    if stage == "ppo":
        assert whole[1]["objective/kl"] == 0
        assert max(one["objective/kl"] for one in whole.values()) < 0.05
        assert sum(one["policy/refused"] + one["policy/taken_back"] for one in whole.values()) > 0


def test_two_processes_of_ppo_learn_as_one_does(tiny_model: Path, tmp_path: Path) -> None:
    """And one that takes a minibatch in two parts as one that keeps the first forward pass of a whole one."""
    script = tmp_path / "told.py"
    script.write_text(TOLD)
    keys: dict[str, Any] = {"train_sampling_strategy": "sequential", "kl_target": 50.0}
    runs = {
        "whole": ppo_run("whole", tiny_model, tmp_path, 1, **keys),
        "parts": ppo_run("parts", tiny_model, tmp_path, 2, gradient_accumulation_steps=2, **keys),
        "two": ppo_run("two", tiny_model, tmp_path, 2, **keys),
    }
    for name, run in runs.items():
        command = worker_argv("tuiwb.workers.train", run.path, processes=2 if name == "two" else 1)
        command[-3:-1] = [str(script)]
        environment = {**os.environ, **worker_environment(), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert result(run)["outcome"] == "finished"
    whole = steps(runs["whole"])
    for other in (steps(runs["parts"]), steps(runs["two"])):
        assert sorted(other) == list(range(1, 7))
        for step in other:
            for name in ("loss", "grad_norm", "reward", "objective/kl", "policy/approxkl_avg", "loss/value_avg"):
                assert other[step][name] == pytest.approx(whole[step][name], abs=2e-5), (step, name)
            assert other[step]["total_tokens"] == whole[step]["total_tokens"]
