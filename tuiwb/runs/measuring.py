"""The dry fit: two real steps of a training in a worker of its own, of which nothing stays behind."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tuiwb import rundir
from tuiwb.base.errors import InputFault, RunFault
from tuiwb.base.tasks import Task
from tuiwb.resolve import Assessment
from tuiwb.rundir import RunDir
from tuiwb.runs import lock
from tuiwb.runs.actions import ask
from tuiwb.runs.launching import launch
from tuiwb.runs.reconcile import standing
from tuiwb.runs.training import job_of

WORKER = "tuiwb.workers.measure"
_LOOK_S, _PATIENCE_S = 0.2, 30.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What two steps took.

    Attributes:
        device: `cuda`, or `cpu`, where the peak is resident memory that came on top of the libraries'.
        peak_bytes, planned_bytes: measured, and what the plan says of a batch with examples of that length.
        step_s: the second step.
        first_batch: `examples`, `longest`, `tokens`, `trained_tokens`, `loss`, `finite`, `text`.
    """

    device: str
    peak_bytes: int
    planned_bytes: int | None
    step_s: float
    first_batch: dict[str, Any]

    @property
    def off(self) -> float | None:
        """By which share of what was measured the plan is above it."""
        return None if self.planned_bytes is None else self.planned_bytes / self.peak_bytes - 1

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "peak_bytes": self.peak_bytes,
            "planned_bytes": self.planned_bytes,
            "off": None if self.off is None else round(self.off, 4),
            "step_s": self.step_s,
            "first_batch": self.first_batch,
        }


def measure(assessment: Assessment, *, task: Task | None = None) -> Measured:
    """Do two steps on the longest examples. The run that does them is removed, whatever happens.

    Args:
        task: is told how far it is; cancelling it ends the steps.

    Raises:
        InputFault: a check found an error.
        RunFault: the steps failed, such as for want of memory; the sentence says why.
        Cancelled: the task was cancelled.
    """
    if assessment.resolved.recipe.stages:
        raise InputFault("several stages are measured one by one: give each a recipe of its own", key="stages")
    job = job_of(assessment)
    stage = job.parts[0]
    run = launch(replace(job, kind="measure", name=f"measure-{job.name}", module=WORKER, parts=(stage,)))
    with _leaving_nothing(run):
        _wait(run, task or Task())
        result = rundir.read_result(run.part(1, stage)) or {}
        if result.get("outcome") != "finished":
            reason = result.get("message") or (rundir.read_state(run) or {}).get("reason") or "the worker ended"
            raise RunFault(f"two steps could not be done: {reason}")
        batch = dict(result["first_batch"])
        return Measured(
            str(result["device"]),
            int(result["peak_bytes"]),
            _planned(assessment, int(batch["longest"])),
            float(result["step_s"]),
            batch,
        )


def _planned(assessment: Assessment, longest: int) -> int | None:
    """What the plan says of a batch whose longest example has so many tokens."""
    from tuiwb.memory.search import peak_of

    plan = assessment.plan
    if plan is None:
        return None
    inputs = plan.inputs
    answer = inputs.length - (assessment.resolved.recipe.max_length or inputs.length)
    return round(peak_of(plan.step.at(inputs.batch, min(longest + answer, inputs.length))))


def _wait(run: RunDir, task: Task) -> None:
    while standing(run).state.get("state") not in rundir.RESTING:
        beat = rundir.read_beat(run) or {}
        task.step(_DOING.get(str(beat.get("phase")), "starting"))
        time.sleep(_LOOK_S)


_DOING = {"data": "preparing the data", "load": "loading the model", "train": "two steps on the longest examples"}


@contextmanager
def _leaving_nothing(run: RunDir) -> Iterator[None]:
    """End the run if it lives, and remove its folder."""
    try:
        yield
    finally:
        if standing(run).state.get("state") not in rundir.RESTING:
            ask(run.run_id, "cancel")
        if _until(lambda: standing(run).state.get("state") in rundir.RESTING and not lock.held(run)):
            shutil.rmtree(run.path, ignore_errors=True)


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(_LOOK_S)
    return condition()
