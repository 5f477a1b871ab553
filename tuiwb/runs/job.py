"""What is to be run: the content of job.yaml."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiwb.runs import provenance


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run, as it is launched.

    Attributes:
        kind: train, measure, eval, convert, export or generate.
        name: for people; becomes part of the run's id.
        module: the worker, such as `tuiwb.workers.train`.
        input: what the worker reads: for train, the resolved recipe in plain values.
        source: the recipe as the user wrote it, in plain values, so that a clone is resolved anew.
        reasons: why the resolved recipe has a value, by key.
        fingerprints: of the inputs: model, data, template.
        plan: the memory plan, as `tuiwb plan --json` prints it.
        parts: names of the parts in their order; the run has finished when the last of them has.
        total_steps: of all parts, when known before the start.
        processes: training processes on this machine.
        gpus: numbers of the GPUs to take; None takes as many free ones as there are processes, an empty tuple none. The
            worker sees its GPUs, and only those, through CUDA_VISIBLE_DEVICES, which its wrapper sets.
        after: ids of the runs that must have ended well before.
        priority: of those that wait for the same GPUs, the higher goes first.
        held: waits until it is let go.
        retries: so many times a failure that may not last is answered with a new attempt.
        folder: working folder of the worker, against which relative paths of the recipe count.
        environment: variables to add for the worker. It is written into job.yaml, so never a secret.
    """

    kind: str
    name: str
    module: str
    input: Mapping[str, Any]
    source: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None
    parts: tuple[str, ...] = ("main",)
    total_steps: int | None = None
    processes: int = 1
    gpus: tuple[int, ...] | None = None
    folder: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    priority: int = 0
    held: bool = False
    retries: int = 0
    tags: tuple[str, ...] = ()
    notes: str = ""


def to_document(
    job: Job, run_id: str, argv: list[str], environment: Mapping[str, str], stop: Mapping[str, float]
) -> dict[str, Any]:
    """job.yaml: the job with what is known at launch: id, command, versions, git state."""
    return {
        "run_id": run_id,
        "kind": job.kind,
        "name": job.name,
        "tags": list(job.tags),
        "notes": job.notes,
        "created": time.time(),
        "module": job.module,
        "argv": argv,
        "folder": str(job.folder),
        "environment": dict(environment),
        "parts": list(job.parts),
        "total_steps": job.total_steps,
        "processes": job.processes,
        "gpus": None if job.gpus is None else list(job.gpus),
        "after": list(job.after),
        "priority": job.priority,
        "held": job.held,
        "retries": job.retries,
        "stop": dict(stop),
        "input": dict(job.input),
        "source": dict(job.source),
        "reasons": dict(job.reasons),
        "fingerprints": dict(job.fingerprints),
        "plan": None if job.plan is None else dict(job.plan),
        "versions": provenance.versions(),
        "git": provenance.git_state(job.folder),
    }


def from_document(document: Mapping[str, Any]) -> Job:
    """The job that a job.yaml was made of, to launch it again."""
    gpus = document.get("gpus")
    return Job(
        kind=str(document["kind"]),
        name=str(document["name"]),
        module=str(document["module"]),
        input=document.get("input") or {},
        source=document.get("source") or {},
        reasons=document.get("reasons") or {},
        fingerprints=document.get("fingerprints") or {},
        plan=document.get("plan"),
        parts=tuple(document.get("parts") or ("main",)),
        total_steps=document.get("total_steps"),
        processes=int(document.get("processes") or 1),
        gpus=None if gpus is None else tuple(gpus),
        folder=Path(document.get("folder") or Path.cwd()),
        environment=document.get("environment") or {},
        priority=int(document.get("priority") or 0),
        retries=int(document.get("retries") or 0),
        tags=tuple(document.get("tags") or ()),
        notes=str(document.get("notes") or ""),
    )
