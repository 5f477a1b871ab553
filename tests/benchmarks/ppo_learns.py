"""Whether PPO learns: a task whose reward is known, a real small model, some seeds, and the preset as it is.

    python tests/benchmarks/ppo_learns.py MODEL [--seeds 3] [--updates 30] [--set KEY=VALUE]… [--runs FOLDER]

The reward of an answer is the share of its words that begin with a capital letter. For each seed, the mean reward of
the last 3 updates must be at least that of the first 3 plus two standard deviations of the answers' rewards in those,
and the distance to the reference (KL, summed over an answer) must stay under its target in every update. The recipe is
the preset `ppo-lora` with short answers and small batches; each seed is a run of the training worker, in a process of
its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tuiwb import hardware, models, rundir
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.recipe import Recipe, load, to_plain, with_settings
from tuiwb.resolve import resolve
from tuiwb.rundir import RunDir

REWARD = """
def capitals(completions, **rest):
    return [sum(word[0].isupper() for word in text.split()) / max(len(text.split()), 1) for text in completions]
"""
OPENINGS = (
    "The weather today", "My favourite book", "In the old town", "She said that", "A good friend", "On the table",
    "When I was young", "The best way", "Last summer we", "He looked at", "After the rain", "Every morning the",
    "In this city", "The children were", "It was late", "Our neighbour has",
)  # fmt: skip
# What makes an update short; the way of learning is the preset's.
SMALL = {
    "max_length": "32",
    "max_completion_length": "8",
    "per_device_train_batch_size": "16",
    "gradient_accumulation_steps": "1",
    # Thirty updates are few: faster than the preset, to the end.
    "learning_rate": "5e-4",
    "lr_scheduler_type": "constant",
    # Answers are cut at their length here, all of them.
    "missing_eos_penalty": "0",
    "save_strategy": "no",
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path, help="folder of a small model")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--first-seed", type=int, default=1)
    arguments.add_argument("--updates", type=int, default=30)
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of a key")
    arguments.add_argument("--runs", type=Path, help="keep the runs here")
    arguments.add_argument("--threads", type=int, default=1)
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.runs or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        passed = [learns(args, folder, seed) for seed in range(args.first_seed, args.first_seed + args.seeds)]
    raise SystemExit(0 if all(passed) else 1)


def learns(args: argparse.Namespace, folder: Path, seed: int) -> bool:
    recipe = recipe_of(args, folder, seed)
    run = RunDir(folder / f"seed-{seed}")
    run.path.mkdir()
    rundir.write_job(run, {"kind": "train", "input": to_plain(recipe), "parts": ["ppo"]})
    environment = {
        **os.environ,
        **worker_environment(),
        "TUIWB_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": str(args.threads),
    }
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with run.output_file.open("wb") as output:
        command = worker_argv("tuiwb.workers.train", run.path)
        done = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise SystemExit(run.output_file.read_text()[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    records = [one for one in rundir.read_all(run.part(1, "ppo").metrics_file) if "reward" in one]
    rewards, kl = [one["reward"] for one in records], [one["objective/kl"] for one in records]
    first, last = statistics.fmean(rewards[:3]), statistics.fmean(rewards[-3:])
    deviation = statistics.fmean(one["reward_std"] for one in records[:3])
    good = last >= first + 2 * deviation and max(kl) < (recipe.kl_target or 0.0)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"seed {seed}: reward {first:.4f} -> {last:.4f}, wanted {first + 2 * deviation:.4f} (two deviations of "
        f"{deviation:.4f}); KL in update 1 {kl[0]}, at most {max(kl):.2f} of {recipe.kl_target:g}; "
        f"moved back {sum(one['policy/taken_back'] for one in records):.0f} times, "
        f"{sum(one['policy/refused'] for one in records) / len(records):.0%} of the policy's steps refused; "
        f"first ratio off by {max(one['val/ratio_error'] for one in records):.1e} at most; "
        f"{'holds' if good else 'DOES NOT HOLD'}; {cpu:.0f} CPU-s, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    print("  rewards " + " ".join(f"{value:.3f}" for value in rewards), flush=True)
    print("  KL      " + " ".join(f"{value:.2f}" for value in kl), flush=True)
    print("  beta    " + " ".join(f"{one['objective/beta']:.3f}" for one in records), flush=True)
    return good


def recipe_of(args: argparse.Namespace, folder: Path, seed: int) -> Recipe:
    (folder / "reward.py").write_text(REWARD)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in OPENINGS))
    model = str(args.model.absolute())
    stated = dict(one.split("=", 1) for one in args.set)
    asked = {
        **SMALL,
        "model_name_or_path": model,
        "datasets.0.path": str(prompts),
        "reward_funcs": f"{folder / 'reward.py'}:capitals",
        "max_steps": str(args.updates),
        "seed": str(seed),
        **stated,
    }
    recipe = with_settings(load("ppo-lora"), asked)
    return resolve(recipe, model=models.open_model(model), host=hardware.host(), gpus=()).recipe


if __name__ == "__main__":
    main()
