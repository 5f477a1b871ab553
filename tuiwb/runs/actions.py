"""What can be done to a run: ask it for something, go on with it, run it again, put it away."""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tuiwb import rundir
from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, RunFault, UsageFault, reason_of
from tuiwb.rundir import RunDir
from tuiwb.runs import attempts, ballast, launching, listing, lock
from tuiwb.runs.job import from_document
from tuiwb.runs.reconcile import Standing, standing

if TYPE_CHECKING:
    from tuiwb.recipe import Recipe

Verb = Literal["save", "stop", "pause", "cancel"]


def ask(run_id: str, verb: Verb, *, by: str = "user") -> rundir.Request:
    """Ask a live run to save, to stop or pause (it saves first), or to end at once without saving.

    The wrapper sees to it that it happens; nobody needs to wait. `answer` waits.

    Args:
        run_id: see `find`.

    Raises:
        UsageFault: the run is at rest.
        EnvironmentFault: it is another machine's, or the request cannot be written.
    """
    run = listing.find(run_id)
    stands = _ours(run, verb)
    state = str(stands.state.get("state"))
    if state in rundir.RESTING:
        raise UsageFault(f"{run.run_id} is {state}, so there is nothing to {verb}")
    return _request(run, verb, by)


def answer(run: RunDir, asked: rundir.Request, *, wait_s: float) -> dict[str, Any] | None:
    """Wait for what came of a request.

    Returns:
        for save, and where there was a `problem`: the acknowledgement; otherwise the final state (`state`, `reason`)
        with the acknowledgement's fields; None if `wait_s` was not enough.
    """
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found = rundir.acknowledgement(run, asked)
        stands = standing(run).state
        if stands.get("state") in rundir.RESTING:
            return {**(found or {}), "state": stands["state"], "reason": stands.get("reason", "")}
        if found is not None and found.get("by") != "wrapper" and (asked.verb == "save" or found.get("problem")):
            return found
        time.sleep(0.1)
    return None


def hold(run_id: str) -> RunDir:
    """Keep a run that waits from starting, until `resume`.

    Raises:
        UsageFault: it does not wait.
        EnvironmentFault: as `ask`.
    """
    run = listing.find(run_id)
    state = str(_ours(run, "hold").state.get("state"))
    if state != "queued":
        raise UsageFault(f"{run.run_id} is {state}; only a run that waits can be held")
    _request(run, "hold", "user")
    return run


def resume(run_id: str, *, step: int | None = None) -> RunDir:
    """Start a new attempt on the run's directory, from its newest whole checkpoint. Broken ones are put aside. A run
    that waits is let go: it is held no longer, and does not wait for other runs any more.

    Args:
        step: go on from the checkpoint of this step instead; later ones are put aside (`aside-checkpoint-N`).

    Raises:
        UsageFault: the run is live, or has finished.
        EnvironmentFault: it is another machine's, or there is no room.
        RunFault: its wrapper did not start.
    """
    run = listing.find(run_id)
    if _ours(run, "resume").state.get("state") == "queued":
        _request(run, "release", "user")
        return run
    held = lock.take(run)
    if held is None:
        raise UsageFault(f"{run.run_id} is live already; `tuiwb runs show {run.run_id}` tells how it is doing")
    try:
        attempt = _prepare(run, step)
    except BaseException:
        os.close(held)
        raise
    launching.start_wrapper(run, held)
    rundir.append_event(run, "resumed", by="user", attempt=attempt)
    return run


def clone(run_id: str, settings: Mapping[str, str] | None = None) -> RunDir:
    """Launch a run again as a new one: the very same job or, with changes, its recipe resolved anew.

    Args:
        settings: recipe keys and their new values, as `tuiwb train --set` takes them.

    Raises:
        UsageFault: a change to something that is no training.
        InputFault: a change that is none, or the changed recipe cannot be trained.
        EnvironmentFault, RunFault: as `launch`.
    """
    run = listing.find(run_id)
    document = rundir.read_job(run)
    if "kind" not in document:
        raise RunFault("job.yaml cannot be read, so the run cannot be cloned", file=run.job_file)
    if not settings:
        return launching.launch(from_document(document))
    from tuiwb import recipe, resolve
    from tuiwb.runs.training import train

    return train(resolve.assess(recipe.with_settings(recipe_of(run.run_id), settings)))


def recipe_of(run_id: str) -> "Recipe":
    """The recipe of a training as its user wrote it, before anything was filled in.

    Raises:
        UsageFault: it is no training, or has none.
    """
    from tuiwb import recipe

    run = listing.find(run_id)
    document = rundir.read_job(run)
    if document.get("kind") != "train" or not document.get("source"):
        raise UsageFault(f"{run.run_id} has no recipe that could be changed")
    return recipe.loads(json.dumps(document["source"]), source=f"the recipe of {run.run_id}")


def annotate(run_id: str, *, notes: str | None = None, tags: Sequence[str] | None = None) -> RunDir:
    """Say something else of a run than what its recipe said. None leaves what is there.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    run = listing.find(run_id)
    before = {**rundir.read_job(run), **rundir.read_labels(run)}
    try:
        rundir.write_labels(
            run,
            notes=str(before.get("notes") or "") if notes is None else notes,
            tags=list(before.get("tags") or ()) if tags is None else list(dict.fromkeys(tags)),
        )
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=run.labels_file) from error
    return run


def delete(run_id: str) -> RunDir:
    """Put a run at rest into the trash, from which `restore` brings it back.

    Returns:
        the run in the trash.

    Raises:
        UsageFault: the run is live.
        EnvironmentFault: it cannot be moved.
    """
    run = listing.find(run_id)
    state = str(_ours(run, "delete").state.get("state"))
    held = lock.take(run) if state in rundir.RESTING else None
    if held is None:
        raise UsageFault(f"{run.run_id} is {state}; stop or cancel it before you delete it")
    try:
        trash = paths.private_folder(listing.root() / listing.TRASH)
        return _move(run, RunDir(trash / run.run_id))
    finally:
        os.close(held)


def restore(run_id: str) -> RunDir:
    """Bring a run back from the trash.

    Args:
        run_id: an id or a unique part of one; `last` is the run that was deleted last.
    """
    # Moving a folder changes it, which nothing else does to one in the trash.
    run = listing.choose(run_id, sorted(_trash(), key=lambda each: each.path.stat().st_ctime_ns))
    return _move(run, RunDir(listing.root() / run.run_id))


def purge(run_id: str) -> RunDir:
    """Remove a run from the trash for good.

    Args:
        run_id: as for `restore`.
    """
    run = listing.choose(run_id, _trash())
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise EnvironmentFault(f"cannot be removed ({reason_of(error)})", file=run.path) from error
    return run


def _trash() -> list[RunDir]:
    runs = listing.run_dirs(listing.root() / listing.TRASH)
    if not runs:
        raise UsageFault("the trash is empty")
    return runs


def _request(run: RunDir, verb: str, by: str) -> rundir.Request:
    try:
        try:
            return rundir.request(run, verb, by=by)
        except OSError:
            ballast.drop(run)  # on a full disk an end must still be asked for
            return rundir.request(run, verb, by=by)
    except OSError as error:
        raise EnvironmentFault(f"cannot be asked ({reason_of(error)})", file=run.control) from error


def _ours(run: RunDir, verb: str) -> Standing:
    stands = standing(run)
    if stands.foreign:
        host = (stands.state.get("machine") or {}).get("host", "another machine")
        raise EnvironmentFault(f"{run.run_id} belongs to {host}; log in there to {verb} it")
    return stands


def _prepare(run: RunDir, step: int | None) -> int:
    """Make a run at rest ready for its next attempt.

    Returns:
        the number of that attempt.
    """
    state = rundir.read_state(run) or {}
    if state.get("state") == "finished":
        raise UsageFault(f"{run.run_id} has finished; `tuiwb runs clone {run.run_id}` runs it again")
    job = rundir.read_job(run)
    if not job.get("argv"):
        raise RunFault("job.yaml cannot be read, so the run cannot go on", file=run.job_file)
    try:
        if step is not None:
            attempts.go_back(run, step)
        return attempts.begin(run, "user")
    except OSError as error:
        raise EnvironmentFault(f"the run cannot be resumed ({reason_of(error)})", file=run.path) from error


def _move(run: RunDir, target: RunDir) -> RunDir:
    try:
        run.path.rename(target.path)
        atomic.sync_folder(target.path.parent)
    except OSError as error:
        raise EnvironmentFault(f"cannot be moved ({reason_of(error)})", file=run.path) from error
    return target
