"""Trained tokens per CPU-second of the training worker, against scripts that a user of TRL would write.

    python tests/benchmarks/train_speed.py MODEL DATA.json [--pairs 5] [--rows 16] [--max-length 512]

Three figures: the worker against a plain TRL script with the same settings (at least 0.95, and the same losses to 1e-4
for 20 steps); the sft-lora preset's settings against that script with TRL's defaults (at least 3); and what our
callback and writers cost a step (at most 5 ms). Each training is a process; CPU-seconds are counted from the first step
to the last, without imports, loading and saving. Both sides see the same rows once, taken at equal distances from DATA,
an alpaca file.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from ratios import ratio

from tuiwb import models, rundir
from tuiwb.base.worker import worker_environment
from tuiwb.hardware import host
from tuiwb.recipe import DatasetEntry, Recipe, load, to_plain, with_settings
from tuiwb.resolve import resolve

CHILD = Path(__file__).parent / "train_child.py"
LOSS_STEPS = 20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path, help="folder of a small model")
    arguments.add_argument("data", type=Path, help="an alpaca file")
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--rows", type=int, default=16, help="rows to train on, once")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--max-length", type=int, default=512)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--only", choices=["losses", "same", "defaults"])
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        print(
            f"{args.model.name}, LoRA r 16 on all linear layers, {args.rows} rows once, batch {args.batch}, "
            f"max_length {args.max_length}, bfloat16 units: {host().bf16_units}, "
            f"{args.threads} thread(s), {platform.processor() or platform.machine()}, "
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs",
            flush=True,
        )
        if args.only in (None, "losses"):
            bench.losses()
        if args.only in (None, "same"):
            bench.against("script", 0.95)
        if args.only in (None, "defaults"):
            bench.against("defaults", 3.0)


class Bench:
    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.number = 0
        self.rows = self._write("rows.jsonl", args.rows)

    def _write(self, name: str, count: int) -> Path:
        """Rows at equal distances from the data, as messages."""
        rows = json.loads(self.args.data.read_text())
        rows = rows[:: max(len(rows) // count, 1)][:count]
        path = self.folder / name
        with path.open("w") as file:
            for row in rows:
                question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
                turns = [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]
                file.write(json.dumps({"messages": turns}) + "\n")
        return path

    def losses(self) -> None:
        """The same losses, step by step; short rows one at a time, so that 20 steps take minutes."""
        small = {"steps": LOSS_STEPS, "batch": 1, "max_length": 128}
        # An epoch at most: both sides sort the rows of a second one by numbers of their own.
        self.rows = self._write("few.jsonl", LOSS_STEPS)
        ours, theirs = self.run("ours", **small)["losses"], self.run("script", **small)["losses"]
        worst = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
        self.rows = self._write("rows.jsonl", self.args.rows)
        print(f"losses of {LOSS_STEPS} steps: largest difference {worst:.1e} (at most 1e-4)", flush=True)

    def against(self, side: str, least: float) -> None:
        """Pairs in the order A B B A, after a warm-up of each."""
        mine = "ours" if side == "script" else "preset"
        speeds: dict[str, list[float]] = {mine: [], side: []}
        costs = []
        for number in range(self.args.pairs + 1):
            order = [mine, side] if number % 2 else [side, mine]
            for one in order:
                measured = self.run(one)
                if number:
                    speeds[one].append(measured["trained_tokens"] / measured["cpu_s"])
                    costs += [measured["callback_ms"]] if one == mine else []
        found = ratio(speeds[mine], speeds[side])
        name = "worker / a TRL script with the same settings"
        if side == "defaults":
            name = "sft-lora preset / that script with TRL's defaults"
        print(f"{name}: {found} (lower end at least {least})")
        print(f"  trained tokens per CPU-second: {[round(value, 1) for value in speeds[mine]]}")
        print(f"  against {[round(value, 1) for value in speeds[side]]}")
        print(f"  callback and writers: {sum(costs) / len(costs):.2f} ms of CPU a step (at most 5)", flush=True)

    def run(self, side: str, **changes: int) -> dict[str, Any]:
        self.number += 1
        sizes = {
            "steps": self.args.rows // self.args.batch,
            "batch": self.args.batch,
            "max_length": self.args.max_length,
        } | changes
        spec = {
            "side": side,
            "model": str(self.args.model),
            "data": str(self.rows),
            "output": str(self.folder / f"output-{self.number}"),
            "run": str(self.folder / f"run-{self.number}"),
            "learning_rate": 2e-4,
            "grouped": True,
            **sizes,
        }
        if side in ("ours", "preset"):
            spec["side"] = "ours"
            recipe = self._same(sizes) if side == "ours" else self._preset(sizes)
            run = rundir.RunDir(Path(str(spec["run"])))
            run.path.mkdir()
            rundir.write_job(run, {"kind": "train", "input": to_plain(recipe), "parts": ["sft"]})
        file = self.folder / f"spec-{self.number}.json"
        file.write_text(json.dumps(spec))
        environment = {
            **os.environ,
            **(worker_environment() if spec["side"] == "ours" else {}),  # a script is started by hand
            "OMP_NUM_THREADS": str(self.args.threads),
            "TUIWB_HOME": str(self.folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "CI": "1",  # TRL reports no use of itself
        }
        done = subprocess.run(
            [sys.executable, str(CHILD), str(file)], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def _preset(self, sizes: dict[str, int]) -> Recipe:
        """The sft-lora preset as it is resolved on this machine, for the same rows, steps and batch."""
        settings = {
            "model_name_or_path": str(self.args.model),
            "datasets.0.path": str(self.rows),
            "max_length": str(sizes["max_length"]),
            "per_device_train_batch_size": str(sizes["batch"]),
            "gradient_accumulation_steps": "1",
            "max_steps": str(sizes["steps"]),
            "eval_fraction": "0",
            "save_strategy": "no",
        }
        stated = with_settings(load("sft-lora"), settings)
        return resolve(stated, model=models.open_model(str(self.args.model)), host=host(), gpus=[]).recipe

    def _same(self, sizes: dict[str, int]) -> Recipe:
        """What the plain script says, in a recipe's keys."""
        return Recipe(
            stage="sft",
            method="lora",
            model_name_or_path=str(self.args.model),
            datasets=(DatasetEntry(path=str(self.rows)),),
            max_length=sizes["max_length"],
            train_roles=("assistant",),
            train_on_eos="turn",
            per_device_train_batch_size=sizes["batch"],
            gradient_accumulation_steps=1,
            train_sampling_strategy="group_by_length",
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            max_steps=sizes["steps"],
            optim="adamw_torch_fused",
            lora_r=16,
            lora_alpha=32,
            lora_dropout=0.0,
            lora_target_modules="all-linear",
            dtype="float32",
            attn_implementation="sdpa",
            use_cpu=True,
            logging_steps=1.0,
            save_strategy="no",
            seed=42,
        )


if __name__ == "__main__":
    main()
