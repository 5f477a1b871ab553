"""Whether PPO learns: a task whose reward is known, a real small model, some seeds.

    python tests/benchmarks/ppo_learns.py MODEL [--seeds 3] [--updates 30]

The reward of an answer is 1 if it begins with an s, else 0. For each seed, the mean reward of the last 3 updates must
be at least that of the first 3 plus two standard deviations of the answers' rewards in those, and the distance to the
reference (KL) must stay under its target. Each seed is a run of the training worker, in a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tuiwb import rundir
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.recipe import DatasetEntry, Recipe, to_plain
from tuiwb.rundir import RunDir

REWARD = """
def begins_with_s(completions, **rest):
    return [float(text.lstrip().lower().startswith("s")) for text in completions]
"""
OPENINGS = (
    "The weather today", "My favourite book", "In the old town", "She said that", "A good friend", "On the table",
    "When I was young", "The best way", "Last summer we", "He looked at", "After the rain", "Every morning the",
    "In this city", "The children were", "It was late", "Our neighbour has",
)  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path, help="folder of a small model")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--first-seed", type=int, default=1)
    arguments.add_argument("--updates", type=int, default=30)
    arguments.add_argument("--learning-rate", type=float, default=1e-3)
    arguments.add_argument("--threads", type=int, default=1)
    args = arguments.parse_args()
    passed = [learns(args, seed) for seed in range(args.first_seed, args.first_seed + args.seeds)]
    raise SystemExit(0 if all(passed) else 1)


def learns(args: argparse.Namespace, seed: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = recipe_of(args, folder, seed)
        run = RunDir(folder / "run")
        run.path.mkdir()
        rundir.write_job(run, {"kind": "train", "input": to_plain(recipe), "parts": ["ppo"]})
        environment = {
            **os.environ,
            **worker_environment(),
            "TUIWB_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": str(args.threads),
        }
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            worker_argv("tuiwb.workers.train", run.path),
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        records = [one for one in rundir.read_all(run.part(1, "ppo").metrics_file) if "reward" in one]
    rewards, kl = [one["reward"] for one in records], [one["objective/kl"] for one in records]
    first, last = statistics.fmean(rewards[:3]), statistics.fmean(rewards[-3:])
    deviation = statistics.fmean(one["reward_std"] for one in records[:3])
    good = last >= first + 2 * deviation and max(kl) < recipe.kl_target
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"seed {seed}: reward {first:.4f} -> {last:.4f}, wanted {first + 2 * deviation:.4f} (two deviations of "
        f"{deviation:.4f}); KL at step 0 {kl[0]}, at most {max(kl):.2f} of {recipe.kl_target:g}; "
        f"first ratio off by {max(one['val/ratio_error'] for one in records):.1e} at most; "
        f"{'holds' if good else 'DOES NOT HOLD'}; {cpu:.0f} CPU-s, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    print("  rewards " + " ".join(f"{value:.3f}" for value in rewards), flush=True)
    print("  KL      " + " ".join(f"{value:.2f}" for value in kl), flush=True)
    return good


def recipe_of(args: argparse.Namespace, folder: Path, seed: int) -> Recipe:
    (folder / "reward.py").write_text(REWARD)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in OPENINGS))
    return Recipe(
        stage="ppo",
        method="lora",
        model_name_or_path=str(args.model.absolute()),
        datasets=(DatasetEntry(path=str(prompts)),),
        reward_funcs=(f"{folder / 'reward.py'}:begins_with_s",),
        max_length=64,
        max_completion_length=2,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        num_mini_batches=2,
        num_ppo_epochs=1,
        train_sampling_strategy="random",
        max_steps=args.updates,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        warmup_steps=0.0,
        adam_epsilon=1e-5,
        max_grad_norm=1.0,
        lora_r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        lora_target_modules="all-linear",
        temperature=1.0,
        beta=0.01,
        kl_target=12.0,
        kl_horizon=10000.0,
        missing_eos_penalty=0.0,
        dtype="float32",
        attn_implementation="sdpa",
        use_cpu=True,
        logging_steps=1.0,
        save_strategy="no",
        optim="adamw_torch_fused",
        seed=seed,
    )


if __name__ == "__main__":
    sys.exit(main())
