"""From what was trained to an export run."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuiwb import models
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault
from tuiwb.base.units import size
from tuiwb.export.spec import PART, Dtype, Spec
from tuiwb.rundir import RunDir
from tuiwb.runs.job import Job
from tuiwb.runs.launching import launch as launch_job

if TYPE_CHECKING:
    from tuiwb.chat import Lane

WORKER = "tuiwb.workers.merge"
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# What they learned are positions before a text, not changes of weights.
_NO_WEIGHTS = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")


def spec_of(lane: "Lane", output: Path, dtype: Dtype | None = None) -> Spec:
    """What makes one model of a base and an adapter.

    Args:
        lane: the tuned one of a `chat.Target`.
        output: folder that does not exist yet.
        dtype: of the merged weights; None takes that of the base.

    Raises:
        InputFault: there is nothing to merge, or it cannot be merged.
        UsageFault: there is something at `output`.
        EnvironmentFault: there is no room for it.
    """
    if lane.adapter is None:
        raise InputFault("it is a whole model already, so there is nothing to merge", file=lane.model)
    _refuse_adapter(Path(lane.adapter))
    base = models.open_model(lane.model)
    if base.kind == "gguf":
        raise InputFault("the base is a GGUF file; an adapter is merged into a folder of weights", file=lane.model)
    if base.quantization:
        raise InputFault(
            f"the base's own files are {base.quantization}, in which what was learned would be rounded away; merge "
            "into the model that they were made from",
            file=lane.model,
        )
    if os.path.lexists(output):
        raise UsageFault("there is something already; name a new folder", file=output, key="--output")
    chosen = dtype or _own(base.dtype)
    _refuse_full(output, (base.parameters or 0) * _BYTES[chosen])
    return Spec(
        model=lane.model,
        adapter=lane.adapter,
        output=str(output.absolute()),
        dtype=chosen,
        template=lane.template,
        stop_ids=lane.stop_ids,
        quantization=lane.quantization,
    )


def launch(spec: Spec, *, name: str = "") -> RunDir:
    """Start merging; the run outlives this process.

    Raises:
        EnvironmentFault, RunFault: as `runs.launch`.
    """
    document: dict[str, Any] = msgspec.to_builtins(spec)
    return launch_job(
        Job(
            kind="export", name=name or f"merge-{Path(spec.output).name}", module=WORKER, input=document,
            parts=(PART,), gpus=(),
        )
    )  # fmt: skip


def _refuse_adapter(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_bytes())
    if config.get("peft_type") in _NO_WEIGHTS:
        raise InputFault("what this adapter learned are positions before a text, which no weight can hold", file=folder)
    if config.get("task_type") == "SEQ_CLS":
        raise InputFault("this adapter makes a reward model, whose head no merged model would have", file=folder)


def _own(dtype: str | None) -> Dtype:
    return dtype if dtype in ("float32", "bfloat16", "float16") else "bfloat16"  # type: ignore[return-value]


def _refuse_full(output: Path, needed: int) -> None:
    there = next(folder for folder in output.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise EnvironmentFault(f"the merged model takes {size(needed)} and {size(free)} are free", file=there)
