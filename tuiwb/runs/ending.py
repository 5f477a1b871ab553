"""Writing down how an attempt ended, on whatever disk there is."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import RunDir
from tuiwb.runs import ballast
from tuiwb.runs.verdict import Verdict

PATIENCE_S = 60.0
"""How long the end of a run is tried to be written."""

_ENDS = {"stop": "stopped", "pause": "paused", "cancel": "cancelled"}


def write_end(
    run: RunDir,
    verdict: Verdict,
    attempt: int,
    *,
    by: str,
    set_state: Callable[..., object],
    patience_s: float = 0.0,
    **details: Any,
) -> None:
    """Events and answers first, then exit.json, then the state: whoever sees the run at rest finds all of it. The
    ballast goes before, so that there is room on a full disk. Needs the lock.

    Args:
        by: who saw the end: wrapper or reconcile.
        set_state: writes the state, as `rundir.write_state` does for this run.
        patience_s: how long to try to write exit.json.
        details: what else exit.json says.

    Raises:
        OSError: from `set_state`.
    """
    ballast.drop(run)
    told = {"attempt": attempt, "state": verdict.state, "reason": verdict.reason}
    rundir.append_event(run, "ended", by=by, **told)
    for left in rundir.pending_requests(run):
        _answer_for_the_dead(run, left, verdict.state)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            rundir.write_exit(run, **told, cause=verdict.cause, **details)
            break
        except OSError:
            if time.monotonic() > deadline or not run.path.exists():
                break
            time.sleep(0.1)
    set_state(verdict.state, **_at_rest(verdict))


def _at_rest(verdict: Verdict) -> Mapping[str, Any]:
    """The fields of a state in which nothing is held any more."""
    gone: Sequence[str] = ("adopted", "leases", "held", "released", "queued_since", "alarms")
    return {"reason": verdict.reason or None, "cause": verdict.cause or None, **dict.fromkeys(gone)}


def _answer_for_the_dead(run: RunDir, asked: rundir.Request, state: str) -> None:
    # A stop before there was anything to save came to what was asked for.
    done = state == _ENDS.get(asked.verb)
    problem: dict[str, Any] = {} if done else {"problem": "the run has ended"}
    try:
        rundir.acknowledge(run, asked, by="wrapper", **problem)
    except OSError:
        return
