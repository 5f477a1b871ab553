"""One training for `train_speed.py`, in a process of its own: `train_child.py SPEC.json` prints one JSON document.

`side` is `ours` (the worker, on a run directory), `script` (what a user of TRL writes, with the same settings) or
`defaults` (that script with TRL's own defaults).
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    started = time.process_time()
    measured = ours(spec) if spec["side"] == "ours" else script(spec)
    print(json.dumps({"process_cpu_s": time.process_time() - started, **measured}))


def ours(spec: dict[str, Any]) -> dict[str, Any]:
    from tuiwb import rundir
    from tuiwb.workers import callback, train

    inside = Watch()
    told = 0.0
    # Time between the first and the last call, and the time that our callback itself takes.
    for name in [name for name in vars(callback.RunCallback) if name.startswith("on_")]:
        original = getattr(callback.RunCallback, name)

        def timed(self: Any, *args: Any, _original: Any = original, _name: str = name, **kwargs: Any) -> None:
            nonlocal told
            if _name == "on_train_begin":
                inside.start()
            before = time.thread_time()
            _original(self, *args, **kwargs)
            if _name not in ("on_train_begin", "on_train_end", "on_save"):
                told += time.thread_time() - before
            if _name == "on_train_end":
                inside.stop()

        setattr(callback.RunCallback, name, timed)
    code = train.main([spec["run"]])
    records = rundir.read_all(rundir.RunDir(Path(spec["run"])).part(1, "sft").metrics_file)
    steps = [record for record in records if "loss" in record]
    assert code == 0, Path(spec["run"])
    return inside.read() | {
        "losses": [record["loss"] for record in steps],
        "trained_tokens": steps[-1]["trained_tokens"],
        "callback_ms": 1000 * told / len(steps),
    }


def script(spec: dict[str, Any]) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    inside = Watch()
    trained = 0

    class Watching(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            inside.start()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            inside.stop()

    class Counting(SFTTrainer):
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal trained
            trained += int((inputs["labels"][:, 1:] != -100).sum())
            return super().training_step(model, inputs, *args, **kwargs)

    rows = [json.loads(line) for line in Path(spec["data"]).read_text().splitlines()]
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
        shared |= {
            "bf16": False,
            "gradient_checkpointing": False,
            "lr_scheduler_type": "constant",
            "train_sampling_strategy": "group_by_length" if spec["grouped"] else "random",
            "model_init_kwargs": {"dtype": torch.float32, "attn_implementation": "sdpa"},
        }
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = Counting(
        model=spec["model"],
        args=SFTConfig(**shared),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        peft_config=lora,
        callbacks=[Watching()],
    )
    trainer.train()
    losses = [logs["loss"] for logs in trainer.state.log_history if "loss" in logs]
    return inside.read() | {"losses": losses, "trained_tokens": trained}


class Watch:
    """CPU-seconds of all threads between two moments."""

    def __init__(self) -> None:
        self._at = self._spent = 0.0

    def start(self) -> None:
        self._at = time.process_time()

    def stop(self) -> None:
        self._spent = time.process_time() - self._at

    def read(self) -> dict[str, Any]:
        return {"cpu_s": self._spent}


if __name__ == "__main__":
    main()
