"""What past trainings on this machine measured, beside their plans."""

from typing import TYPE_CHECKING

from tuiwb import rundir
from tuiwb.base import settings
from tuiwb.runs.listing import run_dirs

if TYPE_CHECKING:
    from tuiwb.memory.history import Past

SHOWN = 50


def past_here() -> "tuple[Past, ...]":
    """The newest trainings of this machine that were planned and measured, the newest first."""
    from tuiwb.memory.history import past

    here = rundir.machine_id()
    newest = sorted(run_dirs(settings.runs_root(settings.load())), key=lambda run: run.run_id, reverse=True)[:SHOWN]
    states = ((run, rundir.read_state(run) or {}) for run in newest)
    return past(run for run, state in states if (state.get("machine") or {}).get("machine_id") == here)
