"""What a run's state really is, when its state.json may be older than the truth.

exit.json of this attempt    at rest, as it says
lock held                    supervised
another machine's            shown from its beat; never touched from here
its process lives, it waits  unsupervised: a new wrapper adopts it, or waits on
the machine was restarted    interrupted
else                         finished if result and checkpoint say so, otherwise lost
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tuiwb import rundir
from tuiwb.base.errors import TuiwbError
from tuiwb.base.log import logger
from tuiwb.rundir import Identity, RunDir
from tuiwb.runs import lock, processes
from tuiwb.runs.ending import write_end
from tuiwb.runs.verdict import Evidence, Verdict, gather, judge


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands.

    Attributes:
        state: its state.json as it should read.
        supervised: whether a wrapper holds it; None for another machine's run.
    """

    state: Mapping[str, Any]
    supervised: bool | None = False
    foreign: bool = False


def standing(run: RunDir, *, repair: bool = True) -> Standing:
    """Look at a run and, where its end was never written, write it; where its wrapper was killed, start a new one.

    Args:
        repair: False only looks; a run whose end was not written then reads `lost` or `interrupted` all the same.
    """
    state = rundir.read_state(run)
    if state is None:
        return Standing({"state": "lost", "reason": "its state.json cannot be read", "attempt": 1})
    if state.get("state") in rundir.RESTING:
        return Standing(state, foreign=_foreign(state))
    if found := rundir.ended(run, state):
        return Standing({**state, "state": found["state"], "reason": found.get("reason") or None})
    if _foreign(state):
        return Standing(state, None, foreign=True)
    if lock.held(run):
        return Standing(state, supervised=True)
    return _settle(run) if repair else _unheld(run, state)[0]


def _settle(run: RunDir) -> Standing:
    """Under the lock: adopt, or write the end. Somebody else may have been faster."""
    try:
        held = lock.take(run, wait_s=0.0)
    except OSError:
        return _unheld(run, rundir.read_state(run) or {})[0]
    state = rundir.read_state(run) or {}
    if held is None or state.get("state") in rundir.RESTING or rundir.ended(run, state):
        if held is not None:
            os.close(held)
        return standing(run, repair=False)
    found, verdict = _unheld(run, state)
    if verdict is None:
        from tuiwb.runs import launching  # a wrapper looks at other runs too, and need not load what launching needs

        try:
            launching.start_wrapper(run, held, adopt=state.get("state") != "queued")
        except TuiwbError as error:
            logger("runs").warning("%s could not be adopted: %s", run.run_id, error)
            return found
        return Standing(rundir.read_state(run) or state, supervised=True)
    try:
        set_state = partial(rundir.write_state, run)
        write_end(run, verdict, int(state.get("attempt", 1)), by="reconcile", set_state=set_state)
    except OSError as error:
        logger("runs").warning("the end of %s could not be written: %s", run.run_id, error)
    finally:
        os.close(held)
    return found


def _unheld(run: RunDir, state: Mapping[str, Any]) -> tuple[Standing, Verdict | None]:
    """A run of this machine without a wrapper: how it stands, and its end if it has come to one."""
    machine = state.get("machine") or {}
    if machine.get("boot_id") == rundir.boot_id():
        launcher = Identity.from_json(state.get("launcher"))
        alive = (launcher is not None and launcher.alive()) or processes.members(run.run_id)
        if alive or state.get("state") == "queued":  # who waits has no process but its wrapper, and waits on
            return Standing(state, supervised=False), None
    verdict = judge(Evidence(seen=False, **gather(run, state)))
    if verdict.state == "lost" and machine.get("boot_id") != rundir.boot_id():
        verdict = Verdict("interrupted", "the machine was restarted")
    return Standing({**state, "state": verdict.state, "reason": verdict.reason or None}), verdict


def _foreign(state: Mapping[str, Any]) -> bool:
    """Whether the run belongs to another machine. The same boot is the same machine, whatever its name is now."""
    machine = state.get("machine") or {}
    known = {machine.get("machine_id"), machine.get("boot_id")}
    return bool(machine) and not known & {rundir.machine_id(), rundir.boot_id()}
