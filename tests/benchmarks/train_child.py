"""One training for `train_speed.py`, in a process of its own: `train_child.py SPEC.json` prints one JSON document.

`side` is `ours` (the worker, on a run directory), `script` (what a user of TRL writes, with the same settings),
`defaults` (that script with TRL's own defaults), `llamafactory` (its own trainer, in an interpreter that has it;
nothing of tuiwb is imported there) or `measure` (the loss of a trained adapter on other rows, float32). With `pace`, a
pair of file descriptors, it waits for a line before each step and answers each with its CPU-seconds.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    started = time.process_time()
    sides = {"ours": ours, "llamafactory": llamafactory, "measure": measure}
    measured = sides.get(spec["side"], script)(spec)
    print(json.dumps({"process_cpu_s": time.process_time() - started, **measured}))


def ours(spec: dict[str, Any]) -> dict[str, Any]:
    from tuiwb import rundir
    from tuiwb.workers import callback, train

    inside = Watch(spec)
    told = 0.0
    # Time between the first and the last call, and the time that our callback itself takes.
    for name in [name for name in vars(callback.RunCallback) if name.startswith("on_")]:
        original = getattr(callback.RunCallback, name)

        def timed(self: Any, *args: Any, _original: Any = original, _name: str = name, **kwargs: Any) -> None:
            nonlocal told
            if _name == "on_train_begin":
                inside.start()
            if _name == "on_step_begin":
                inside.wait()
            before = time.thread_time()
            _original(self, *args, **kwargs)
            if _name not in ("on_train_begin", "on_train_end", "on_save"):
                told += time.thread_time() - before
            if _name == "on_step_end":
                inside.tell()
            if _name == "on_train_end":
                inside.stop()

        setattr(callback.RunCallback, name, timed)
    code = train.main([spec["run"]])
    part = rundir.RunDir(Path(spec["run"])).part(1, spec.get("stage", "sft"))
    steps = [record for record in rundir.read_all(part.metrics_file) if "loss" in record]
    assert code == 0, Path(spec["run"])
    return inside.read() | {
        "adapter": str(Path(spec["run"], (rundir.read_result(part) or {}).get("checkpoint") or "")),
        "losses": [record["loss"] for record in steps],
        # Of texts that are scored, every token counts.
        "trained_tokens": steps[-1]["total_tokens" if spec.get("stage") == "reward" else "trained_tokens"],
        "callback_ms": 1000 * told / len(steps),
    }


def script(spec: dict[str, Any]) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

    inside = Watch(spec)
    trained = 0

    stage = spec.get("stage", "sft")
    of_stage = {"sft": (SFTConfig, SFTTrainer), "dpo": (DPOConfig, DPOTrainer), "reward": (RewardConfig, RewardTrainer)}
    config, kind = of_stage[stage]

    class Counting(kind):  # type: ignore[misc, valid-type]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal trained
            if stage == "sft":
                trained += int((inputs["labels"][:, 1:] != -100).sum())
            else:
                trained += int(inputs["completion_mask" if stage == "dpo" else "attention_mask"].sum())
            return super().training_step(model, inputs, *args, **kwargs)

    rows = [json.loads(line) for line in Path(spec["data"]).read_text().splitlines()]
    if stage == "sft":
        rows = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    shared = {
        "output_dir": spec["output"],
        "max_steps": spec["steps"],
        "per_device_train_batch_size": spec["batch"],
        "max_length": spec["max_length"],
        "learning_rate": spec["learning_rate"],
        "logging_steps": 1,
        "seed": 42,
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    if spec["side"] == "script":
        half = bool(spec.get("bf16"))
        shared |= {
            "bf16": half,
            "gradient_checkpointing": False,
            "lr_scheduler_type": spec.get("schedule", "constant"),
            "warmup_steps": spec.get("warmup", 0),
            "train_sampling_strategy": "group_by_length" if spec["grouped"] else "random",
            "model_init_kwargs": {
                "dtype": torch.bfloat16 if half else torch.float32,
                "attn_implementation": "sdpa",
            },
        }
    task = "SEQ_CLS" if stage == "reward" else "CAUSAL_LM"
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type=task)
    trainer = Counting(
        model=spec["model"],
        args=config(**shared),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        peft_config=lora,
        callbacks=[watching(inside)],
    )
    trainer.train()
    losses = [logs["loss"] for logs in trainer.state.log_history if "loss" in logs]
    trainer.save_model(spec["output"])
    return inside.read() | {"losses": losses, "trained_tokens": trained, "adapter": spec["output"]}


def llamafactory(spec: dict[str, Any]) -> dict[str, Any]:
    import transformers
    from llamafactory.train.tuner import run_exp

    inside = Watch(spec)
    trained = 0
    original = transformers.Trainer.training_step

    def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal trained
        trained += int((inputs["labels"][:, 1:] != -100).sum())
        return original(self, model, inputs, *args, **kwargs)

    transformers.Trainer.training_step = training_step
    run_exp(spec["llamafactory"], callbacks=[watching(inside)])
    state = json.loads(Path(spec["output"], "trainer_state.json").read_text())
    losses = [logs["loss"] for logs in state["log_history"] if "loss" in logs]
    return inside.read() | {"losses": losses, "trained_tokens": trained, "adapter": spec["output"]}


def watching(inside: "Watch") -> Any:
    """A callback that tells of a trainer's begin, steps and end."""
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            inside.start()

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            inside.wait()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            inside.tell()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            inside.stop()

    return Watching()


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Mean loss of the answers' tokens; the same for all sides: rendered and masked by tuiwb, one row at a time."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings, prepare

    tokenizer = models.load_tokenizer(Path(spec["model"]))
    settings = PrepareSettings(max_length=spec["max_length"])
    prepared = prepare([Path(spec["data"])], tokenizer, tokenizer.template(), settings)
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(model, spec["adapter"]).eval()
    total, count = 0.0, 0
    for row in range(len(prepared.rows)):
        ids, mask = prepared.sequence(row)
        wanted = torch.tensor(ids.astype("int64"))[None]
        labels = torch.where(torch.tensor(mask)[None], wanted, -100)
        trained = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            total += float(model(input_ids=wanted, labels=labels, use_cache=False).loss) * trained
        count += trained
    return {"held_out_loss": total / count, "held_out_tokens": count}


class Watch:
    """CPU-seconds of all threads between two moments, and of each step where another process sets the pace."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._at = self._spent = self._step = 0.0
        self._asks, self._answers = (
            (os.fdopen(fd, mode) for fd, mode in zip(spec["pace"], "rw", strict=True))
            if (spec.get("pace"))
            else (None, None)
        )

    def start(self) -> None:
        self._at = time.process_time()

    def stop(self) -> None:
        self._spent = time.process_time() - self._at

    def wait(self) -> None:
        if self._asks is not None:
            self._asks.readline()
            self._step = time.process_time()

    def tell(self) -> None:
        if self._answers is not None:
            self._answers.write(f"{time.process_time() - self._step}\n")
            self._answers.flush()

    def read(self) -> dict[str, Any]:
        return {"cpu_s": self._spent}


if __name__ == "__main__":
    main()
