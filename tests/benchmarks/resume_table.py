"""Whether a run that crashed goes on as if it never had, for every stage, by one process and by two.

    python tests/benchmarks/resume_table.py [--stages sft dpo …] [--processes 1 2]

A tiny model is trained for 6 steps with a checkpoint after the third; a copy that ends there, as a crash leaves it, is
resumed. Every number of the steps after it must be the same to the last digit: loss, gradient norm, tokens, and where
the stage has them rewards, their distance and what was sampled. Dropout is on where rows are learned from.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "workers"))

from ppo_tools import ppo_recipe, write_prompts
from stage_runs import cut_short, stage_recipe, steps
from tiny import make_tiny_model
from training import make_run, recipe_of, write_rows

from tuiwb.base.worker import worker_environment
from tuiwb.recipe import Launch, Recipe

STAGES = ("sft", "pretrain", "reward", "dpo", "orpo", "kto", "grpo", "rloo", "ppo")
# What a clock, and not the training, decides.
TIMES = ("time", "elapsed_time", "remaining_time", "throughput", "tokens_per_s", "step_s", "attempt", "elapsed_s",
         "remaining_s")  # fmt: skip
ALL = """
import sys
from tuiwb.workers.train import clear_away, main
for folder in sys.argv[1:]:
    main([folder])
    clear_away()
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    arguments.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    args = arguments.parse_args()
    print(f"{'stage':10} processes  steps the same  what was compared", flush=True)
    bad = 0
    for processes in args.processes:
        with tempfile.TemporaryDirectory() as folder:
            bad += table(args.stages, processes, Path(folder))
    raise SystemExit(bad)


def table(stages: list[str], processes: int, folder: Path) -> int:
    """All stages one after the other in the same processes; how many do not go on exactly."""
    model = make_tiny_model(folder / "tiny")
    runs = {stage: make_run(folder / stage, recipe_for(stage, model, folder, processes), stage) for stage in stages}
    train([run.path for run in runs.values()], processes, folder)
    again = {stage: cut_short(run, folder) for stage, run in runs.items()}
    train([run.path for run in again.values()], processes, folder)
    bad = 0
    for stage in stages:
        before, after = steps(runs[stage]), steps(again[stage])
        wrong, compared = [], set()
        for step in (4, 5, 6):
            for name, value in before.get(step, {}).items():
                if name not in TIMES and not name.endswith("time"):
                    compared.add(name)
                    if after.get(step, {}).get(name) != value:
                        wrong.append(f"step {step} {name}: {value} and {after.get(step, {}).get(name)}")
        same = sum(not any(one.startswith(f"step {step} ") for one in wrong) for step in (4, 5, 6) if step in before)
        print(
            f"{stage:10} {processes:9}  {same} of 3          {len(compared)}: {', '.join(sorted(compared))}", flush=True
        )
        for one in wrong[:5]:
            print(f"{'':10} {one}", flush=True)
        bad += same < 3
    return bad


def recipe_for(stage: str, model: Path, folder: Path, processes: int) -> Recipe:
    """6 steps of 4 examples, of PPO 6 updates of 6 answers."""
    keys: dict[str, Any] = {"max_steps": 6, "save_steps": 3.0, "lora_dropout": 0.1, "num_train_epochs": 2.0}
    if stage in ("grpo", "rloo"):
        keys |= {"lora_dropout": 0.0, "num_train_epochs": 1.0}
    if processes > 1:
        keys |= {"launch": Launch(processes=processes, sharding="ddp"), "per_device_train_batch_size": 2}
    if stage == "ppo":
        # All that is carried from one update to the next is used: a limit of the distance, a penalty that follows it.
        keys |= {"lora_dropout": 0.0, "max_steps": None, "num_train_epochs": 3.0, "num_mini_batches": 1}
        keys |= {"per_device_train_batch_size": 6 // processes, "learning_rate": 1e-2}
        keys |= {"kl_target": 0.05, "reward_funcs": ("regex:[a-m ]$",)}
        return ppo_recipe(model, write_prompts(folder / "prompts.jsonl"), **keys)
    if stage in ("sft", "pretrain"):
        return recipe_of(model, write_rows(folder / f"{stage}.jsonl"), stage=stage, **keys)
    return stage_recipe(stage, model, folder, **keys)


def train(runs: list[Path], processes: int, folder: Path) -> None:
    program = folder / "all.py"
    program.write_text(ALL)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, **worker_environment(), "OMP_NUM_THREADS": "1", "TUIWB_HOME": str(folder / "home")}
    with (folder / "log").open("a") as log:
        subprocess.run([*command, str(program), *map(str, runs)], env=environment, stdout=log, stderr=log, check=False)
    if not all((run / "parts").exists() for run in runs):
        raise SystemExit((folder / "log").read_text()[-3000:])


if __name__ == "__main__":
    main()
