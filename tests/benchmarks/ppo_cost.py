"""What PPO costs: its memory beside SFT's, and its speed beside TRL's last PPO trainer.

    python tests/benchmarks/ppo_cost.py MODEL [--rows 4] [--length 192] [--answer 48] [--updates 3] [--trl FOLDER]

Memory: peak of the process of a PPO run with the shared base, at most 1.35 times that of an SFT run with the same
tokens in each micro-batch. Speed: answers for each CPU-second after the first update, at least those of TRL 1.12 with
its four models and the same prompts, lengths, epochs and batch; both train at the same time, a thread each, so that
they meet the same load, and each update is a pair. `--trl` is a folder that holds that release (`pip install --target
FOLDER --no-deps trl==1.12.0`).
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parent))

from ratios import ratio

from tuiwb import rundir
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.recipe import DatasetEntry, Recipe, to_plain
from tuiwb.rundir import RunDir

# CPU seconds at the end of each update, which metrics do not hold.
TIMED = """
import json, sys, time
from tuiwb.workers import callback, train
marks, end = [], callback.RunCallback.on_step_end
def on_step_end(self, *arguments, **named):
    marks.append(time.process_time())
    return end(self, *arguments, **named)
callback.RunCallback.on_step_end = on_step_end
code = train.main([sys.argv[1]])
print(json.dumps(marks))
sys.exit(code)
"""
TRL = """
import json, sys, time
spec = json.loads(sys.argv[1])
sys.path.insert(0, spec["trl"])
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

marks = []
class Clock(TrainerCallback):
    def on_step_end(self, *arguments, **named):
        marks.append(time.process_time())

tokenizer = AutoTokenizer.from_pretrained(spec["model"], padding_side="left")
load = lambda kind, **more: kind.from_pretrained(spec["model"], dtype=torch.float32, **more)
policy, reference = load(AutoModelForCausalLM), load(AutoModelForCausalLM)
reward, value = (load(AutoModelForSequenceClassification, num_labels=1) for _ in range(2))
config = PPOConfig(
    output_dir=spec["output"], per_device_train_batch_size=spec["rows"], gradient_accumulation_steps=1,
    num_mini_batches=1, num_ppo_epochs=spec["epochs"], total_episodes=spec["rows"] * spec["updates"],
    response_length=spec["answer"], local_rollout_forward_batch_size=spec["rows"], temperature=1.0, report_to="none",
    bf16=False, gradient_checkpointing=False, num_sample_generations=0, save_strategy="no", use_cpu=True,
)
rows = Dataset.from_dict({"input_ids": spec["prompts"]})
trainer = PPOTrainer(
    args=config, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward,
    value_model=value, train_dataset=rows, eval_dataset=rows, callbacks=[Clock()],
)
trainer.train()
print(json.dumps(marks))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=Path, help="folder of a small model")
    arguments.add_argument("--rows", type=int, default=4, help="examples in a micro-batch, and answers in an update")
    arguments.add_argument("--length", type=int, default=192, help="tokens of an example: prompt and answer")
    arguments.add_argument("--answer", type=int, default=48)
    arguments.add_argument("--updates", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=1)
    arguments.add_argument("--trl", type=Path, help="folder with TRL 1.12")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        print(
            f"{args.model.name}, {args.rows} rows of {args.length} tokens, answers of {args.answer}, {args.updates} "
            f"updates of {args.epochs} epochs, 1 thread, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs",
            flush=True,
        )
        sft, _ = bench.run("sft")
        with ThreadPoolExecutor(1) as beside:
            theirs = beside.submit(bench.trl) if args.trl else None
            ppo, ours = bench.run("ppo")
            print(f"peak: SFT {sft / 2**30:.2f} GiB, PPO {ppo / 2**30:.2f} GiB, {ppo / sft:.2f} times (at most 1.35)")
            print(f"speed: {len(ours) * args.rows / sum(ours):.3f} answers for each CPU-second", flush=True)
            if theirs is not None:
                spent = theirs.result()
                print(f"TRL 1.12 with four models: {len(spent) * args.rows / sum(spent):.3f}")
                print(f"answers for each CPU-second, ours over TRL's: {ratio(spent, ours)} (lower end at least 1)")


class Bench:
    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        from tuiwb.models import load_tokenizer

        tokenizer = load_tokenizer(args.model)
        words = tokenizer.encode(" the quick brown fox jumps over a lazy dog and then it rests" * args.length)
        count = args.rows * args.updates
        self.prompts = [words[row : row + args.length - args.answer] for row in range(count)]
        self.texts = [tokenizer.decode(words[row : row + args.length - 1]) for row in range(count)]
        self.asked = [tokenizer.decode(prompt) for prompt in self.prompts]

    def run(self, stage: Literal["sft", "ppo"]) -> tuple[float, list[float]]:
        """Peak bytes of the process, and the CPU-seconds of each step after the first."""
        args = self.args
        rows = self.folder / f"{stage}.jsonl"
        column, texts = ("prompt", self.asked) if stage == "ppo" else ("text", self.texts)
        rows.write_text("".join(json.dumps({column: text}) + "\n" for text in texts))
        keys: dict[str, Any] = {"max_length": args.length}
        if stage == "ppo":
            keys = {
                "max_length": args.length, "max_completion_length": args.answer, "num_ppo_epochs": args.epochs,
                "num_mini_batches": 1, "reward_model_name_or_path": str(self._reward()), "temperature": 1.0,
                "beta": 0.05,
            }  # fmt: skip
        recipe = Recipe(
            stage=stage, method="lora", model_name_or_path=str(args.model.absolute()),
            datasets=(DatasetEntry(path=str(rows)),), per_device_train_batch_size=args.rows,
            gradient_accumulation_steps=1, train_sampling_strategy="random", max_steps=args.updates, lora_r=16,
            lora_alpha=32, lora_dropout=0.0, lora_target_modules="all-linear", learning_rate=1e-4,
            lr_scheduler_type="constant", dtype="float32", attn_implementation="sdpa", use_cpu=True, logging_steps=1.0,
            save_strategy="no", optim="adamw_torch_fused", seed=1, **keys,
        )  # fmt: skip
        run = RunDir(self.folder / f"run-{stage}")
        run.path.mkdir()
        rundir.write_job(run, {"kind": "train", "input": to_plain(recipe), "parts": [stage]})
        marks = self._marks([worker_argv("tuiwb.workers.train", run.path)[0], "-c", TIMED, str(run.path)])
        result = rundir.read_result(run.part(1, stage)) or {}
        return float(result["peak_bytes"]), _between(marks)

    def trl(self) -> list[float]:
        """As `run`, of TRL."""
        args = self.args
        spec = {
            "trl": str(args.trl), "model": str(args.model), "output": str(self.folder / "trl"), "rows": args.rows,
            "updates": args.updates, "epochs": args.epochs, "answer": args.answer, "prompts": self.prompts,
        }  # fmt: skip
        return _between(self._marks([sys.executable, "-c", TRL, json.dumps(spec)]))

    def _reward(self) -> Path:
        """A reward adapter on the base; what it scores does not matter here."""
        folder = self.folder / "reward"
        code = (
            "import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[3])\n"
            "from ppo_tools import write_adapter\n"
            "write_adapter(Path(sys.argv[1]), Path(sys.argv[2]), scores=True)"
        )
        tests = Path(__file__).parents[1] / "workers"
        subprocess.run(
            [sys.executable, "-c", code, str(self.args.model.absolute()), str(folder), str(tests)],
            check=True, capture_output=True, env=self._environment(),
        )  # fmt: skip
        return folder

    def _marks(self, command: list[str]) -> list[float]:
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout[-1000:] + done.stderr[-3000:])
        return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]

    def _environment(self) -> dict[str, str]:
        home = {"TUIWB_HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CI": "1"}
        return {**os.environ, **worker_environment(), **home}


def _between(marks: list[float]) -> list[float]:
    return [end - start for start, end in itertools.pairwise(marks)]


if __name__ == "__main__":
    main()
