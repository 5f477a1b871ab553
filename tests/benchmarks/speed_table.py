"""One table of what trains how fast on this machine's CPU, on the same rows, targets, rank, optimizer and steps.

    python tests/benchmarks/speed_table.py MODEL DATA.json [--rows 400] [--sides ours tuned trl llamafactory]
        [--stage dpo|reward] [--llamafactory PYTHON] [--in-step]

The sides: `llamafactory` as it comes (in the interpreter that has it), `trl` as it comes, `tuned` (TRL with the best
settings found by hand here: no checkpointing, grouped by length, and bfloat16 or, as `tuned32`, float32), `ours` (the
preset sft-lora as it is resolved here) and `qlora` (that with method: qlora), each also with 32 at its end: computed in
float32 whatever this CPU has units for. Trained tokens a CPU-second, counted from
the first step to the last without imports, loading and saving; the loss on 40 other rows afterwards, in float32, by one
and the same code. With --in-step the first two sides train side by side, one step at a time in the order A B B A, so
that both meet the same load: the ratio with its interval.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from ratios import ratio

from tuiwb import models, rundir
from tuiwb.base.worker import worker_environment
from tuiwb.hardware import host
from tuiwb.recipe import load, to_plain, with_settings
from tuiwb.resolve import resolve

CHILD = Path(__file__).parent / "train_child.py"
HELD_OUT = 40
LEAST = {("ours", "tuned"): 1.10, ("ours", "tuned32"): 1.10, ("qlora", "ours"): 0.9}
AS_IT_COMES = {"trl", "llamafactory"}
RATES = {"sft": 2e-4, "dpo": 1e-5, "reward": 1e-4}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path, help="folder of a small model")
    arguments.add_argument("data", type=Path, help="an alpaca file; dpo and reward pair its answers with others")
    arguments.add_argument("--rows", type=int, default=400, help="rows to train on, once")
    arguments.add_argument("--in-step", action="store_true", help="compare the sides step by step")
    arguments.add_argument("--sides", nargs="+", default=["llamafactory", "trl", "tuned32", "tuned", "ours", "qlora"])
    arguments.add_argument("--stage", choices=list(RATES), default="sft")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--max-length", type=int, default=512)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--llamafactory", help="a Python with LLaMA-Factory 0.9.5")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Table(args, Path(folder))
        print(
            f"{args.model.name}, stage {args.stage}, LoRA r 16 on all linear layers, AdamW, {args.rows} rows once, "
            f"batch {args.batch}, max_length {args.max_length}, {args.threads} thread(s), bfloat16 units: "
            f"{host().bf16_units}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs",
            flush=True,
        )
        if args.in_step:
            table.compare(args.sides)
            return
        print(f"{'side':14} steps  trained  CPU-s   tokens/CPU-s  rows/CPU-s  held-out loss  wall s", flush=True)
        for side in args.sides:
            if side == "llamafactory" and not args.llamafactory:
                continue
            table.row(side)


class Table:
    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.number = 0
        rows = json.loads(args.data.read_text())
        # At equal distances; those to measure on lie between those to train on.
        step = max(len(rows) // (args.rows + HELD_OUT), 1)
        chosen = rows[::step][: args.rows + HELD_OUT]
        every = len(chosen) // HELD_OUT
        held = chosen[::every][:HELD_OUT]
        self.rows = [row for row in chosen if not any(row is one for one in held)][: args.rows]
        self.held_out = self._write("held.jsonl", held, "sft")
        self.file = self._write("rows.jsonl", self.rows, args.stage)

    def _write(self, name: str, rows: list[dict[str, Any]], stage: str) -> Path:
        path = self.folder / name
        with path.open("w") as file:
            for number, row in enumerate(rows):
                question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
                asked = [{"role": "user", "content": question}]
                answer = [{"role": "assistant", "content": row["output"]}]
                other = [{"role": "assistant", "content": rows[number - 1]["output"]}]
                pair = {"prompt": asked, "chosen": answer, "rejected": other}
                file.write(json.dumps({"messages": asked + answer} if stage == "sft" else pair) + "\n")
        return path

    def row(self, side: str) -> None:
        began = time.monotonic()
        found = self.run(side)
        seconds = time.monotonic() - began
        loss = self._loss(found)
        speed = found["trained_tokens"] / found["cpu_s"]
        print(
            f"{side:14} {len(found['losses']):5}  {found['trained_tokens']:7}  {found['cpu_s']:6.1f}  {speed:12.1f}  "
            f"{self.args.rows / found['cpu_s']:10.3f}  {loss:13.4f}  {seconds:6.0f}",
            flush=True,
        )

    def _loss(self, found: dict[str, Any]) -> float:
        """Of what was trained, on the rows that were held out; of pairs none is measured."""
        if self.args.stage != "sft":
            return float("nan")
        asked = {"side": "measure", "adapter": found["adapter"], "data": str(self.held_out)}
        return float(self._start(asked).end()["held_out_loss"])

    def compare(self, sides: Sequence[str]) -> None:
        """All at once, each waiting while another computes. The first step of each warms up and does not count."""
        running = [self._start(self._spec(side), paced=True) for side in sides]
        times: list[list[float]] = [[] for _ in sides]
        numbers = range(len(sides))
        steps = self.args.rows // self.args.batch
        for step in range(steps):
            for one in numbers if step % 2 else reversed(numbers):
                times[one].append(running[one].step())
            newest = [round(spent[-1], 2) for spent in times]
            print(f"step {step + 1} of {steps}: {newest}", file=sys.stderr, flush=True)
        found = [one.end() for one in running]
        for one, other in itertools.combinations(numbers, 2):
            if AS_IT_COMES & {sides[one], sides[other]}:
                continue  # it draws the rows in an order of its own: the table below compares them
            # Both take the same rows in the same order, so a step of one is a step of the other.
            per_step = ratio(times[other][1:], times[one][1:])
            least = LEAST.get((sides[one], sides[other]), 1.0) if self.args.stage == "sft" else 1.0
            whole = sum(times[other][1:]) / sum(times[one][1:])
            losses = zip(found[one]["losses"], found[other]["losses"], strict=True)
            apart = max(abs(mine - theirs) for mine, theirs in losses)
            print(
                f"{sides[one]} / {sides[other]}: {per_step} (lower end at least {least}), {whole:.3f} of the sums; "
                f"trained tokens per CPU-second, {steps - 1} steps of each; losses differ by at most {apart:.1e}",
                flush=True,
            )
        print(f"{'side':10} trained  CPU-s   tokens/CPU-s  rows/CPU-s  held-out loss", flush=True)
        for side, seconds, one in zip(sides, times, found, strict=True):
            trained, spent = one["trained_tokens"], sum(seconds)
            print(
                f"{side:10} {trained:7}  {spent:6.1f}  {trained / spent:12.1f}  {self.args.rows / spent:10.3f}  "
                f"{self._loss(one):13.4f}   CPU-s of each step {[round(value, 2) for value in seconds]}",
                flush=True,
            )

    def run(self, side: str) -> dict[str, Any]:
        return self._start(self._spec(side)).end()

    def _spec(self, side: str) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "side": "script",
            "data": str(self.file),
            "stage": self.args.stage,
            "steps": self.args.rows // self.args.batch,
            "batch": self.args.batch,
            "learning_rate": RATES[self.args.stage],
            "grouped": self.args.stage == "sft",
            "schedule": "cosine",
            "warmup": 0.03,
        }
        if side.removesuffix("32") in ("ours", "qlora"):
            spec["side"] = "ours"
            spec["recipe"] = side
        elif side == "trl":
            spec["side"] = "defaults"
        elif side == "llamafactory":
            spec["side"] = side
        spec["bf16"] = side == "tuned" and host().bf16_units
        return spec

    def _start(self, spec: dict[str, Any], *, paced: bool = False) -> "Child":
        self.number += 1
        spec |= {
            "model": str(self.args.model),
            "output": str(self.folder / f"output-{self.number}"),
            "run": str(self.folder / f"run-{self.number}"),
            "max_length": self.args.max_length,
        }
        python, environment = sys.executable, dict(os.environ)
        if spec["side"] == "ours":
            run = rundir.RunDir(Path(str(spec["run"])))
            run.path.mkdir()
            recipe = to_plain(self._recipe(spec))
            rundir.write_job(run, {"kind": "train", "input": recipe, "parts": [self.args.stage]})
            environment |= worker_environment()
        elif spec["side"] == "llamafactory":
            python = self.args.llamafactory
            spec["llamafactory"] = self._llamafactory(spec)
        file = self.folder / f"spec-{self.number}.json"
        file.write_text(json.dumps(spec))
        environment |= {
            "OMP_NUM_THREADS": str(self.args.threads),
            "TUIWB_HOME": str(self.folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "DISABLE_VERSION_CHECK": "1",
            "CI": "1",
        }
        return Child(python, file, environment, paced)

    def _recipe(self, spec: dict[str, Any]) -> Any:
        """The preset as it is resolved on this machine, for the same rows, steps and batch."""
        settings = {
            "model_name_or_path": str(self.args.model),
            "datasets.0.path": str(self.file),
            "max_length": str(self.args.max_length),
            "per_device_train_batch_size": str(self.args.batch),
            "gradient_accumulation_steps": "1",
            "max_steps": str(spec["steps"]),
            "learning_rate": str(spec["learning_rate"]),
            "eval_fraction": "0",
            "save_strategy": "no",
        }
        if spec["recipe"].startswith("qlora"):
            settings["method"] = "qlora"
        if spec["recipe"].endswith("32"):
            settings["bf16"] = "false"
        if self.args.stage != "sft":
            settings |= {"stage": self.args.stage, "train_sampling_strategy": "random"}
        stated = load("sft-lora")
        if self.args.stage != "sft":
            import msgspec

            stated = msgspec.structs.replace(stated, train_roles=None, train_on_eos=None)
        stated = with_settings(stated, settings)
        return resolve(stated, model=models.open_model(str(self.args.model)), host=host(), gpus=[]).recipe

    def _llamafactory(self, spec: dict[str, Any]) -> dict[str, Any]:
        """What its own documentation gives for LoRA, and the same rows, rank, targets and steps."""
        folder = self.folder / "llamafactory"
        folder.mkdir(exist_ok=True)
        (folder / "rows.json").write_text(json.dumps(self.rows))
        (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
        return {
            "stage": "sft",
            "do_train": True,
            "model_name_or_path": str(self.args.model),
            "finetuning_type": "lora",
            "lora_target": "all",
            "lora_rank": 16,
            "lora_alpha": 32,
            "dataset_dir": str(folder),
            "dataset": "rows",
            "template": "chatml",
            "cutoff_len": self.args.max_length,
            "output_dir": spec["output"],
            "overwrite_cache": True,
            "per_device_train_batch_size": self.args.batch,
            "gradient_accumulation_steps": 1,
            "learning_rate": spec["learning_rate"],
            "max_steps": spec["steps"],
            "lr_scheduler_type": "cosine",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "bf16": True,
            "use_cpu": True,
        }


class Child:
    """A training in a process of its own."""

    def __init__(self, python: str, file: Path, environment: dict[str, str], paced: bool) -> None:
        self._asks = self._answers = None
        inside: tuple[int, ...] = ()
        if paced:
            (go, ask), (answer, tell) = os.pipe(), os.pipe()
            inside = (go, tell)
            file.write_text(json.dumps(json.loads(file.read_text()) | {"pace": inside}))
            self._asks, self._answers = os.fdopen(ask, "w"), os.fdopen(answer)
        self._errors = file.with_suffix(".log")
        self._output = file.with_suffix(".out")
        with self._errors.open("w") as errors, self._output.open("w") as output:
            self._process = subprocess.Popen(
                [python, str(CHILD), str(file)], env=environment, stdout=output, stderr=errors, pass_fds=inside
            )
        for fd in inside:
            os.close(fd)

    def step(self) -> float:
        """Let it do a step; its CPU-seconds."""
        assert self._asks is not None
        assert self._answers is not None
        self._asks.write("go\n")
        self._asks.flush()
        if not (line := self._answers.readline()):
            self.end()
        return float(line)

    def end(self) -> dict[str, Any]:
        """Wait for its end; what it measured."""
        if self._process.wait():
            raise SystemExit(self._errors.read_text()[-6000:])
        found: dict[str, Any] = json.loads(self._output.read_text().splitlines()[-1])
        return found


if __name__ == "__main__":
    main()
