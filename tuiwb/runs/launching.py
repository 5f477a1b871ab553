"""From a job to a live run: the run directory, and the wrapper that owns it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tuiwb import rundir
from tuiwb.base import atomic, paths, settings
from tuiwb.base.errors import EnvironmentFault, RunFault, reason_of
from tuiwb.rundir import RunDir
from tuiwb.runs import attempts, ballast, ladder, lock, worker
from tuiwb.runs.job import Job, to_document

BUILDING = ".new-"
"""Prefix of a run directory whose launch is not complete. Its name goes on with the launching process's number."""


def launch(job: Job, *, wait_s: float = 15.0) -> RunDir:
    """Create the run and start its wrapper, detached: it outlives this process and its terminal.

    Args:
        wait_s: how long to wait for the wrapper to take over.

    Returns:
        the run, whose state is then at least `starting`.

    Raises:
        EnvironmentFault: the run cannot be created (no space, no permission); nothing is left behind.
        RunFault: the wrapper did not start.
    """
    chosen = settings.load()
    root = paths.private_folder(settings.runs_root(chosen).absolute())
    run = RunDir(root / rundir.new_run_id(job.name, job.kind))
    building = RunDir(root / f"{BUILDING}{os.getpid()}-{run.run_id}")
    _sweep_incomplete(root)
    argv = worker.worker_argv(job.module, run.path, processes=job.processes, chosen=chosen)
    environment = {**worker.worker_environment(chosen=chosen), **job.environment}
    document = to_document(job, run.run_id, argv, environment, ladder.patience(chosen.worker.stop_grace_s))
    document["alarms"] = {
        "command": chosen.alarms.command,
        "webhook": bool(chosen.alarms.webhook),
        "silent_steps": chosen.alarms.silent_steps,
        "silent_s": chosen.alarms.silent_s,
    }
    held = None
    try:
        building.path.mkdir(mode=0o700)
        for folder in (building.control, building.parts_folder):
            folder.mkdir(mode=0o700)
        building.output_file.touch(mode=0o600)
        held = lock.take(building)
        ballast.load(building)
        rundir.write_job(building, document)
        rundir.write_state(building, "starting", **attempts.fresh(1))
        if not rundir.append_event(building, "created", by="user", kind=job.kind):
            raise OSError(28, "No space left on device")
        building.path.rename(run.path)
        atomic.sync_folder(root)
    except OSError as error:
        shutil.rmtree(building.path, ignore_errors=True)
        if held is not None:
            os.close(held)
        raise EnvironmentFault(
            f"a run cannot be created here ({reason_of(error)}); make room, or set places.runs to another folder",
            file=root,
        ) from error
    assert held is not None  # nobody else knows the folder yet
    start_wrapper(run, held, wait_s=wait_s)
    return run


def start_wrapper(run: RunDir, held: int, *, adopt: bool = False, wait_s: float = 15.0) -> None:
    """Start a wrapper and hand it the lock.

    Args:
        held: descriptor of the run's lock; closed here, whatever happens.
        adopt: watch the processes that are there instead of starting the worker.

    Raises:
        RunFault: it did not take over in time.
    """
    argv = [sys.executable, "-m", "tuiwb.runs.wrapper", str(run.path), "--lock", str(held)]
    before = rundir.read_state(run) or {}
    try:
        with run.output_file.open("ab") as output:
            # This first process forks and ends at once; its child is the wrapper.
            subprocess.run(
                [*argv, "--adopt"] if adopt else argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(held,),
                start_new_session=True,
                env=_wrapper_environment(),
                cwd="/",
                check=False,
            )
    except OSError as error:
        raise RunFault(f"its wrapper cannot be started ({reason_of(error)})", file=run.path) from error
    finally:
        os.close(held)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        state = rundir.read_state(run) or {}
        if state.get("seq", 0) > before.get("seq", 0) or rundir.ended(run, state):
            return
        if not lock.held(run):
            break
        time.sleep(0.01)
    raise RunFault("its wrapper did not start; output.log in this folder says why", file=run.path)


def _wrapper_environment() -> dict[str, str]:
    """Ours, without the marks of a run that we may be part of: the new run is nobody's descendant."""
    environment = {key: value for key, value in os.environ.items() if key not in (rundir.MARK, rundir.ATTEMPT)}
    if search := worker.search_path(other=False):
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{search}:{inherited}" if inherited else str(search)
    return environment


def _sweep_incomplete(root: Path) -> None:
    """Remove what launches left that were killed halfway."""
    for folder in root.glob(f"{BUILDING}*"):
        number = folder.name.removeprefix(BUILDING).partition("-")[0]
        if number.isdigit() and rundir.process_status(int(number)) is None:
            shutil.rmtree(folder, ignore_errors=True)
