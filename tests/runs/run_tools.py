"""What the tests of runs share: waiting for a condition, killing, and looking for what was left behind."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tuiwb import rundir, runs
from tuiwb.rundir import Identity, RunDir
from tuiwb.runs import Job, processes

HERE = Path(__file__).resolve().parent
SEARCH_PATH = f"{HERE.parent.parent}:{HERE}"

T = TypeVar("T")


def light_job(**plan: Any) -> Job:
    """A job of the light worker, without GPUs; see `light_worker.Plan`."""
    search = {"PYTHONPATH": SEARCH_PATH}
    return Job(kind="train", name="light", module="light_worker", input=plan, gpus=(), environment=search)


def until(condition: Callable[[], T], wait_s: float = 45.0) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + wait_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {wait_s} s: {getattr(condition, '__doc__', None) or condition}")
        time.sleep(0.01)


def state_of(run: RunDir) -> str:
    return str((rundir.read_state(run) or {}).get("state"))


def at_step(run: RunDir, step: int) -> None:
    """Wait until the worker has logged this step."""
    until(lambda: any(value["current_steps"] >= step for value in metrics_of(run)))


def at_rest(run: RunDir, wait_s: float = 45.0) -> dict[str, Any]:
    """Wait for the end of the run.

    Returns:
        its state.json.
    """

    def rested() -> dict[str, Any] | None:
        found = dict(runs.standing(run).state)
        return found if found["state"] in rundir.RESTING else None

    return until(rested, wait_s)


def metrics_of(run: RunDir) -> list[dict[str, Any]]:
    return rundir.read_all(run.part(1, "main").metrics_file)


def losses(run: RunDir) -> dict[int, float]:
    """The loss of each step; where a step was done twice, that of the later attempt."""
    return {value["current_steps"]: value["loss"] for value in metrics_of(run)}


def events_of(run: RunDir, name: str) -> list[dict[str, Any]]:
    return [event for event in rundir.read_events(run) if event["event"] == name]


def checkpoint(run: RunDir, step: int) -> Path:
    return run.part(1, "main").path / f"checkpoint-{step}"


def let_go(run: RunDir) -> None:
    """Let a worker go on that holds at a step."""
    (run.path / "go").touch()


def identity(run: RunDir, who: str) -> Identity:
    """The wrapper or the launcher."""

    def known() -> Identity | None:
        return Identity.from_json((rundir.read_state(run) or {}).get(who))

    return until(known)


def kill(process: Identity, number: int = signal.SIGKILL) -> None:
    """Send the signal; after SIGKILL wait until the process is gone."""
    process.send(number)
    if number == signal.SIGKILL:
        until(lambda: not process.alive())


def marked_anywhere(run: RunDir) -> list[int]:
    """Processes that carry the run's mark, whoever their parent is."""
    return sorted(processes.marked(run.run_id, processes.table()))


def kill_everything(run: RunDir) -> None:
    """Nothing of a run survives its test, whatever went wrong in it."""
    for who in ("wrapper", "launcher"):
        if process := Identity.from_json((rundir.read_state(run) or {}).get(who)):
            process.send(signal.SIGKILL)
    for pid in marked_anywhere(run):
        os.kill(pid, signal.SIGKILL)
