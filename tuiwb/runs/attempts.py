"""The next attempt of a run that has come to rest, asked for by the user or by the retries that its job allows."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.base.errors import UsageFault
from tuiwb.rundir import RunDir
from tuiwb.runs import ballast
from tuiwb.runs.verdict import Verdict

HOPELESS = frozenset({"out_of_memory", "disk_full", "import", "environment"})
"""Causes of a failure that the next attempt would meet again."""

RETRY_S = 5.0
"""Between a failure and the first attempt after it; twice as long before each one after that."""


def fresh(number: int) -> dict[str, Any]:
    """The fields of state.json with which an attempt begins: those of the one before are taken out."""
    return {
        "attempt": number,
        "machine": {"machine_id": rundir.machine_id(), "boot_id": rundir.boot_id(), "host": rundir.host_name()},
        "reason": None,
        "wrapper": None,
        "launcher": None,
        "adopted": None,
        "leases": None,
        "held": None,
        "released": None,
        "queued_since": None,
        "cause": None,
        "alarms": None,
        "resume": None,
        "retried": None,
        "wait_s": None,
    }


def begin(run: RunDir, by: str, **fields: Any) -> int:
    """Put broken checkpoints aside, answer what the last attempt left open, and write the state of the next one. Needs
    the lock.

    Args:
        by: user or wrapper.
        fields: of the new state.

    Returns:
        its number.

    Raises:
        OSError: there is no room.
    """
    state = rundir.read_state(run) or {}
    for path, problem in rundir.quarantine_broken(run):
        rundir.append_event(run, "quarantined", by=by, checkpoint=path.name, problem=problem)
    try:
        for old in rundir.pending_requests(run):
            rundir.acknowledge(run, old, problem="the attempt that it was meant for has ended")
        ballast.load(run)
        number = int(state.get("attempt", 1)) + 1
        rundir.write_state(run, "starting", **{**fresh(number), "resume": _resume_fields(run), **fields})
    except OSError:
        ballast.drop(run)
        raise
    return number


def go_back(run: RunDir, step: int) -> None:
    """Put the checkpoints after a step aside, so that the next attempt goes on from the one of that step.

    Raises:
        UsageFault: there is no whole checkpoint of that step that can be resumed.
        OSError: one cannot be renamed.
    """
    for part in reversed(run.parts()):
        by_step = {path.name: path for path in rundir.checkpoints(part)}
        wanted = by_step.get(f"checkpoint-{step}")
        if wanted is None:
            continue
        verdict = rundir.verify_checkpoint(wanted)
        if not verdict.resumable:
            raise UsageFault(f"checkpoint-{step} cannot be resumed: {verdict.problem or 'it holds weights only'}")
        for path in rundir.checkpoints(part):
            if int(path.name.rpartition("-")[2]) > step:
                path.rename(_free(path.with_name(f"aside-{path.name}")))
        return
    raise UsageFault(f"there is no checkpoint of step {step}; `tuiwb runs show {run.run_id}` lists them")


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def retry(run: RunDir, job: Mapping[str, Any], state: Mapping[str, Any], verdict: Verdict) -> bool:
    """Begin the next attempt if the job allows one more and this failure may be no lasting one.

    Returns:
        whether there is one: the failed attempt then has no end of its own, and the run is live.
    """
    used = int(state.get("retried") or 0)
    if verdict.state != "failed" or verdict.cause in HOPELESS or used >= int(job.get("retries") or 0):
        return False
    wait_s = RETRY_S * 2**used
    try:
        begin(run, "wrapper", retried=used + 1, wait_s=wait_s, reason=f"tried again after: {verdict.reason}")
    except OSError:
        return False
    rundir.append_event(run, "retried", by="wrapper", after=verdict.reason, retry=used + 1, wait_s=wait_s)
    return True


def _resume_fields(run: RunDir) -> Mapping[str, Any] | None:
    point = rundir.resume_point(run)
    if point is None:
        return None
    part, checkpoint = point
    return {
        "part": part.number,
        "checkpoint": os.path.relpath(checkpoint.path, run.path),
        "step": checkpoint.step,
    }
