"""How a run ended, told from the evidence: the worker's result, what was asked and acknowledged, and the checkpoints,
each looked at. The return code is the weakest witness: torchrun returns 1 after a perfect stop."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import CheckpointVerdict, RunDir
from tuiwb.runs import causes
from tuiwb.runs.causes import Cause

_POLITE = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_FULL_BYTES = 1 << 20
_WHY = {"disk": "the disk is nearly full"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the end of an attempt.

    Attributes:
        asked: stop, pause or cancel, if the run was asked to end.
        why: for what reason, where it was not the user who asked.
        helped: the signals with which the wrapper helped, in their order: terminate, kill.
        finished: whether every part says finished.
        result: of the last part that ended in this attempt.
        named: the checkpoint that the result or the acknowledgement names, looked at.
        newest: the newest whole checkpoint.
        resumes: the step of the checkpoint from which the next attempt would go on; None where there is none.
        began: whether a step was completed in this attempt.
        returncode: negative for a signal; None when nobody saw it.
        seen: whether somebody watched the end.
    """

    asked: str | None = None
    why: str = ""
    helped: tuple[str, ...] = ()
    finished: bool = False
    result: Mapping[str, Any] = field(default_factory=dict)
    named: CheckpointVerdict | None = None
    newest: CheckpointVerdict | None = None
    resumes: int | None = None
    began: bool = False
    returncode: int | None = None
    seen: bool = True
    cause: Cause | None = None
    host_memory: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of an attempt. `cause`: a code of `causes`, "" without one."""

    state: str
    reason: str
    cause: str = ""


def judge(evidence: Evidence) -> Verdict:
    """The state in which an attempt came to rest, with its reason."""
    named = evidence.named
    if evidence.finished:
        if named is None or named.valid:
            return Verdict("finished", "")
        return Verdict("failed", f"it says that it finished, but {named.path.name} is broken: {named.problem}")
    if evidence.asked == "cancel":
        return Verdict("cancelled", "")
    outcome = evidence.result.get("outcome")
    if outcome == "failed":
        return _failed(evidence)
    if evidence.asked in ("stop", "pause"):
        state = "paused" if evidence.asked == "pause" else "stopped"
        return Verdict(state, f"{evidence.why}; {_where(evidence)}" if evidence.why else _where(evidence))
    if outcome == "stopped":
        return Verdict("stopped", _where(evidence))
    return _unasked(evidence)


def gather(run: RunDir, state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the evidence that the run's files hold, as arguments of `Evidence`."""
    job = rundir.read_job(run)
    attempt = state.get("attempt", 1)
    expected = job.get("parts") or ["main"]
    results = [(part, rundir.read_result(part) or {}) for part in run.parts()]
    done = {part.number for part, result in results if result.get("outcome") == "finished"}
    current = [result for _, result in results if result.get("attempt") == attempt]
    result = current[-1] if current else {}
    resume = state.get("resume") or {}
    beat = rundir.read_beat(run) or {}
    ours = beat.get("attempt") == attempt and beat.get("phase") in rundir.STEPPING
    asked, point = _asked(run, attempt), rundir.resume_point(run)
    return {
        "asked": asked.verb if asked else None,
        "why": _WHY.get(str(asked.fields.get("by")), "") if asked else "",
        "finished": done >= set(range(1, len(expected) + 1)),
        "result": result,
        "named": _named(run, result) if result.get("checkpoint") else None,
        "newest": rundir.newest_valid_checkpoint(run),
        "resumes": None if point is None else point[1].step,
        "began": ours and int(beat.get("step") or 0) > int(resume.get("step") or 0),
        "cause": causes.of_output(run.output_file, int(state.get("output_from") or 0)) or _disk(run),
    }


def _asked(run: RunDir, attempt: int) -> rundir.Request | None:
    """What the attempt was asked to come to: a cancel counts more than a stop, the later of the others more than the
    earlier, and what was answered with a problem does not count."""
    ends = [
        asked
        for asked in rundir.all_requests(run)
        if asked.attempt == attempt
        and asked.verb in ("stop", "pause", "cancel")
        and not (rundir.acknowledgement(run, asked) or {}).get("problem")
    ]
    cancel = next((asked for asked in ends if asked.verb == "cancel"), None)
    return cancel or (ends[-1] if ends else None)


def _named(run: RunDir, result: Mapping[str, Any]) -> CheckpointVerdict:
    return rundir.verify_checkpoint(run.path / str(result["checkpoint"]))


def _disk(run: RunDir) -> Cause | None:
    """A full disk keeps even the error from being written."""
    try:
        room = os.statvfs(run.path)
    except OSError:
        return None
    return Cause("disk_full", "the disk is full") if room.f_bavail * room.f_frsize < _FULL_BYTES else None


def _failed(evidence: Evidence) -> Verdict:
    message = str(evidence.result.get("message") or "")
    cause = causes.recognise(message) or evidence.cause
    told = str(evidence.result.get("cause") or "error")
    if told != "error" and (cause is None or cause.code == "error"):
        cause = Cause(told, message)
    return Verdict("failed", message or (cause.sentence if cause else "the worker failed"), cause.code if cause else "")


def _unasked(evidence: Evidence) -> Verdict:
    code = evidence.returncode
    if code is not None and code > 128:
        code = 128 - code  # a shell or launcher that passes the signal on
    cause = evidence.cause
    if code is None and not evidence.seen:
        words = "nobody saw how it ended"
        return Verdict("lost", f"{words}; {cause.sentence}" if cause else f"{words}; {_newest(evidence)}")
    if evidence.host_memory and code in (-signal.SIGKILL, None, 1):
        return Verdict("failed", "out of host memory: the kernel killed a process of the run", "host_memory")
    if code is not None and code < 0:
        name = _signal_name(-code)
        if -code in _POLITE:
            return Verdict("stopped", f"ended by {name} from outside; {_where(evidence)}", "signal")
        return Verdict("failed", f"ended by {name} from outside; {_newest(evidence)}", "signal")
    if cause is not None and cause.code == "signal":
        return Verdict("stopped", f"ended by a signal from outside; {_where(evidence)}", "signal")
    if cause is not None:
        return Verdict("failed", cause.sentence, cause.code)
    if code is None:
        return Verdict("failed", f"the worker ended without a result; {_newest(evidence)}")
    return Verdict("failed", f"the worker ended with exit code {code} and without a result; {_newest(evidence)}")


def _where(evidence: Evidence) -> str:
    """What a stopped run can go on from."""
    named = evidence.named
    if evidence.result.get("outcome") == "stopped" and evidence.result.get("message"):
        return str(evidence.result["message"])  # a worker that goes on without checkpoints says so itself
    if named is not None and named.valid and named.step is None:
        return "saved"
    if named is not None and named.valid:
        saved = f"saved at step {named.step:,}"
        on = "nothing to go on from" if evidence.resumes is None else f"it goes on from step {evidence.resumes:,}"
        return saved if named.resumable else f"{saved}, the weights alone; {on}"
    if named is not None:
        return f"{named.path.name} is broken: {named.problem}; {_newest(evidence)}"
    if not evidence.began:
        # A later attempt may have been stopped before it did anything, on what the earlier ones have saved.
        return "before the first step" + (f"; {_newest(evidence)}" if evidence.newest is not None else "")
    helped = {"terminate": "SIGTERM", "kill": "SIGKILL"}
    how = f"ended by {helped[evidence.helped[-1]]} as it did not answer" if evidence.helped else "it saved nothing"
    return f"{how}; {_newest(evidence)}"


def _newest(evidence: Evidence) -> str:
    newest = evidence.newest
    if newest is None:
        return "it has no checkpoint"
    return (
        "it has a whole checkpoint" if newest.step is None else f"its newest whole checkpoint is step {newest.step:,}"
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
