"""The dry fit: `python -m tuiwb.workers.measure RUN_DIR`.

Two real steps of the training on its longest examples, by the trainer that would train, and no checkpoint: what the
memory's peak was, how long a step took, and whether the first batch is what it should be.
"""

import importlib
import math
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tuiwb import rundir
from tuiwb.recipe import Recipe
from tuiwb.rundir import BeatWriter, PartDir, RunDir
from tuiwb.workers import failure
from tuiwb.workers.data import Data, load_data

STEPS = 2
_FAILED = 5
_SHOWN = 300  # characters of the first example that are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Returns 0 when both steps were done, 5 when not; the result says what was measured, or why not."""
    run = RunDir(Path((arguments or sys.argv[1:])[0]).absolute())
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    job = rundir.read_job(run)
    part = run.part(1, (job.get("parts") or ["main"])[0])
    try:
        measured = measure(msgspec.convert(job.get("input") or {}, Recipe), run, part)
    except Exception as error:
        traceback.print_exc()
        rundir.write_result(
            run, part, "failed", checkpoint=None, step=None, message=failure.sentence(error, step=None),
            error=type(error).__name__, cause=failure.cause_of(error),
        )  # fmt: skip
        return _FAILED
    rundir.write_result(run, part, "finished", checkpoint=None, step=STEPS, **measured)
    return 0


def measure(recipe: Recipe, run: RunDir, part: PartDir) -> dict[str, Any]:
    """Do the steps.

    Returns:
        `peak_bytes` of this training (on a CPU what the process grew by) and `loaded_bytes` before its first step,
        `step_s` of the second step, `first_batch`: `tokens`, `trained_tokens`, `loss`, beginning of its first example …
    """
    beats = BeatWriter(run)
    beats.beat("data", 0, None, part.number)
    data = longest(load_data(recipe, lambda done, total: beats.beat("data", done, total, part.number)), _rows(recipe))
    beats.beat("load", 0, None, part.number)
    import torch
    import transformers
    from accelerate import PartialState
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tuiwb.workers.callback import RunCallback
    from tuiwb.workers.stages import builder

    # Imported before anything is measured: the libraries are there in any training, and are no part of the plan.
    build = builder(recipe.stage or "sft")
    for library in ("peft", "torch.utils.tensorboard", "torch._dynamo"):
        importlib.import_module(library)

    class Dry(RunCallback):
        """Leaves no checkpoint, whoever asks for one, and takes the time of each step."""

        began = 0.0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.seconds: list[float] = []

        def on_step_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            super().on_step_begin(args, state, control, **kwargs)
            self.began = time.monotonic()

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            super().on_step_end(args, state, control, **kwargs)
            self.seconds.append(time.monotonic() - self.began)
            control.should_save = False

    device = PartialState(cpu=bool(recipe.use_cpu)).device
    transformers.set_seed(42 if recipe.seed is None else recipe.seed)
    before = _resident()
    callback = Dry(run, part, beats, examples=len(data.rows), mean_tokens=data.mean_tokens)
    trainer = build(two_steps(recipe), data, callback, part.path, device)
    loaded = _resident() - before
    _forget_peak()
    trainer.train()
    resident = _peak_resident() - before
    measured: dict[str, Any] = {"device": device.type, "loaded_bytes": loaded, "peak_bytes": resident}
    if device.type == "cuda":
        measured["peak_bytes"] = torch.cuda.max_memory_allocated()
        measured["peak_cuda_reserved_bytes"] = torch.cuda.max_memory_reserved()
    return {**measured, "step_s": round(callback.seconds[-1], 4), "first_batch": _first_batch(recipe, data, part)}


def two_steps(recipe: Recipe) -> Recipe:
    """The recipe for so few steps, with nothing evaluated, saved or reported."""
    return msgspec.structs.replace(
        recipe, max_steps=STEPS, num_train_epochs=None, save_strategy="no", eval_strategy="no", eval_on_start=None,
        load_best_model_at_end=None, logging_steps=1, report_to=(),
    )  # fmt: skip


def _rows(recipe: Recipe) -> int:
    return (recipe.per_device_train_batch_size or 1) * (recipe.gradient_accumulation_steps or 1) * STEPS


def longest(data: Data, count: int) -> Data:
    """The data with its `count` longest rows only, as often as it takes, and nothing to evaluate on."""
    import numpy as np

    order = np.argsort(data.lengths(), kind="stable")[::-1]
    return replace(data, rows=np.resize(data.rows[order[:count]], count), held_out={})


def _first_batch(recipe: Recipe, data: Data, part: PartDir) -> dict[str, Any]:
    """What the first step trained on."""
    logged = [record for record in rundir.read_all(part.metrics_file) if "loss" in record]
    first = logged[0] if logged else {}
    ids, _ = data.prepared.sequence(int(data.rows[0]))
    return {
        "examples": (recipe.per_device_train_batch_size or 1) * (recipe.gradient_accumulation_steps or 1),
        "longest": int(data.lengths().max()),
        "tokens": first.get("total_tokens"),
        "trained_tokens": first.get("trained_tokens"),
        "loss": first.get("loss"),
        "finite": math.isfinite(first.get("loss", math.nan)),
        "text": data.tokenizer.decode([int(one) for one in ids])[:_SHOWN],
    }


# -------------------------------------------------------------------------------------------- resident memory


def _resident() -> int:
    """Bytes that this process has in memory."""
    return _status("VmRSS")


def _peak_resident() -> int:
    """The most since `_forget_peak`."""
    return _status("VmHWM")


def _forget_peak() -> None:
    """Begin the peak of resident memory anew (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # then it counts what loading took as well


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
