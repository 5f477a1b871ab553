"""A run as it is shown: what its files and the machine say about it now."""

from dataclasses import dataclass, field
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import RunDir


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """One checkpoint: `path` is absolute, `bytes` its size on disk, `problem` why it is not valid, `loss` and
    `eval_loss` the newest ones when it was saved."""

    part: int
    step: int | None
    path: str
    valid: bool
    resumable: bool
    bytes: int
    problem: str | None = None
    loss: float | None = None
    eval_loss: float | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """One run.

    Attributes:
        state: queued, starting, running, saving, stopping, paused, stopped, finished, failed, cancelled, interrupted
            or lost.
        reason: one sentence on the state, "" when it speaks for itself.
        supervised: whether a wrapper holds the run; False for a run at rest; None for another machine's.
        host: name of the machine it ran on last.
        step, total_steps: of the part at work; None when not known.
        phase: of the newest beat, "" without one.
        beat_age_s: seconds since the worker was last heard of; None when never.
        created, updated: unix times of the launch and of the last change of state.
        metrics: the newest value of each metric.
        alarms_now: the alarms that hold, each with `rule`, `severity` and `message`.
        checkpoints, alarms, pids: only from `show`; `alarms` are all that were ever told, as events.
    """

    run: RunDir
    run_id: str
    kind: str
    name: str
    state: str
    reason: str
    supervised: bool | None
    attempt: int
    host: str
    step: int | None
    total_steps: int | None
    part: str = ""
    phase: str = ""
    beat_age_s: float | None = field(default=None, compare=False)  # it changes by itself
    created: float = 0.0
    updated: float = 0.0
    tags: tuple[str, ...] = ()
    notes: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    alarms_now: tuple[dict[str, Any], ...] = ()
    checkpoints: tuple[CheckpointView, ...] = ()
    alarms: tuple[dict[str, Any], ...] = ()
    pids: dict[str, Any] = field(default_factory=lambda: {"wrapper": None, "launcher": None, "workers": []})

    @property
    def active(self) -> bool:
        """Whether it has, or should have, a wrapper."""
        return self.state in ("queued", "starting", "running", "saving", "stopping")

    def to_json(self) -> dict[str, Any]:
        """As `tuiwb runs show --json` prints it."""
        checkpoints = [
            {
                "part": found.part,
                "step": found.step,
                "path": found.path,
                "valid": found.valid,
                "resumable": found.resumable,
                "bytes": found.bytes,
                "problem": found.problem,
                "loss": rundir.strict(found.loss),
                "eval_loss": rundir.strict(found.eval_loss),
            }
            for found in self.checkpoints
        ]
        return {
            "run_id": self.run_id,
            "run_dir": str(self.run.path),
            "kind": self.kind,
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "supervised": self.supervised,
            "attempt": self.attempt,
            "host": self.host,
            "part": self.part,
            "phase": self.phase,
            "step": self.step,
            "total_steps": self.total_steps,
            "beat_age_s": self.beat_age_s,
            "created": self.created,
            "updated": self.updated,
            "tags": list(self.tags),
            "notes": self.notes,
            "metrics": self.metrics,
            "checkpoints": checkpoints,
            "alarms": list(self.alarms),
            "alarms_now": list(self.alarms_now),
            "pids": self.pids,
        }
