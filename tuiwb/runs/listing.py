"""The runs there are, and how each stands."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.base import settings
from tuiwb.base.errors import UsageFault
from tuiwb.rundir import Identity, RunDir
from tuiwb.runs import processes
from tuiwb.runs.reconcile import Standing, standing
from tuiwb.runs.views import CheckpointView, RunView

TRASH = ".trash"

_NOT_METRICS = rundir.BOOKKEEPING - {"epoch", "total_tokens", "trained_tokens", "throughput"}
_LINES = 8
"""So far back a metric is looked for: evaluations have lines of their own, which lack the loss of the step before."""


def root() -> Path:
    """The folder of the runs. It may not exist yet."""
    return settings.runs_root().absolute()


def run_dirs(folder: Path | None = None) -> list[RunDir]:
    """All complete run directories, oldest first."""
    found = []
    try:
        with os.scandir(folder or root()) as entries:
            for entry in entries:
                if entry.name[:1] != "." and (created := _created(entry.path)) is not None:
                    found.append((entry.name[:15], created, entry.path))
    except OSError:
        return []
    return [RunDir(Path(path)) for _, _, path in sorted(found)]


def _created(path: str) -> float | None:
    """When a run was launched; None for what is no complete run directory. Paths as text: thousands are asked for."""
    try:
        os.stat(f"{path}/state.json")  # noqa: PTH116
        return os.stat(f"{path}/job.yaml").st_mtime  # noqa: PTH116
    except OSError:
        return None


def scan(*, repair: bool = True) -> list[RunView]:
    """All runs, newest first. Runs whose wrapper was killed are adopted, ends that were never written are written.

    Args:
        repair: False only looks.
    """
    found = []
    for run in reversed(run_dirs()):
        stamp = _stamp(run)
        known = _at_rest.get(run.path)
        if known is None or known[0] != stamp:
            seen = _view(run, standing(run, repair=repair))
            known = (stamp, seen)
            if seen.state in rundir.RESTING:
                _at_rest[run.path] = known
        found.append(known[1])
    return found


_at_rest: dict[Path, tuple[tuple[int, ...], RunView]] = {}
"""What was last seen of the runs at rest, which is read again only when their state or their labels have changed: who
watches many runs looks at all of them every second."""


def _stamp(run: RunDir) -> tuple[int, ...]:
    stamp: list[int] = []
    for name in ("state.json", "labels.json"):
        try:
            status = os.stat(f"{run.path}/{name}")  # noqa: PTH116
            stamp += (status.st_ino, status.st_mtime_ns)
        except OSError:
            stamp += (0, 0)
    return tuple(stamp)


def show(run_id: str) -> RunView:
    """One run with its checkpoints (each looked at), alarms and processes.

    Args:
        run_id: see `find`.

    Raises:
        UsageFault: no run, or several, are meant.
    """
    return view(find(run_id))


def view(run: RunDir) -> RunView:
    """As `show`, of a run that was found already."""
    stands = standing(run)
    events = rundir.read_events(run)
    return _view(
        run,
        stands,
        checkpoints=tuple(_checkpoints(run, events)),
        alarms=tuple(event for event in events if event.get("event") == "alarm"),
        pids=_pids(run, stands),
    )


def find(run_id: str) -> RunDir:
    """The run that is meant.

    Args:
        run_id: an id, the beginning of one, any part that only one has, or `last`.

    Raises:
        UsageFault: no run, or several, are meant.
    """
    return choose(run_id, run_dirs())


def choose(run_id: str, runs: list[RunDir]) -> RunDir:
    """As `find`, among these runs, oldest first."""
    if not runs:
        raise UsageFault("there are no runs yet; `tuiwb train RECIPE` starts one")
    if run_id == "last":
        return runs[-1]
    for fits in (str.__eq__, str.startswith, str.__contains__):
        found = [run for run in runs if fits(run.run_id, run_id)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(run.run_id for run in found[-3:])
            raise UsageFault(f"`{run_id}` fits {len(found)} runs, such as {names}; write more of the id")
    raise UsageFault(f"there is no run `{run_id}`; `tuiwb runs list` shows them")


def _view(run: RunDir, stands: Standing, **details: Any) -> RunView:
    job, state, labels = rundir.read_job(run), stands.state, rundir.read_labels(run)
    beat = rundir.read_beat(run) or {}
    part = _part_of(run, beat)
    machine = state.get("machine") or {}
    lines = rundir.last_lines(part.metrics_file, _LINES) if part else []
    metrics = {key: value for line in lines for key, value in line.items()}
    ours = beat.get("attempt") == state.get("attempt")
    return RunView(
        run=run,
        run_id=run.run_id,
        kind=str(job.get("kind", "")),
        name=str(job.get("name", "")),
        state=str(state.get("state", "lost")),
        reason=str(state.get("reason") or ""),
        supervised=stands.supervised,
        attempt=int(state.get("attempt", 1)),
        host=str(machine.get("host", "")),
        step=_step(beat, metrics),
        total_steps=_total(beat, metrics) or job.get("total_steps"),
        part=part.path.name if part else "",
        phase=str(beat.get("phase", "")) if ours else "",
        beat_age_s=beat.get("age_s"),
        created=float(job.get("created") or 0),
        updated=float(state.get("time") or 0),
        tags=tuple(labels.get("tags", job.get("tags")) or ()),
        notes=str(labels.get("notes", job.get("notes")) or ""),
        alarms_now=tuple(state.get("alarms") or ()) if state.get("state") not in rundir.RESTING else (),
        metrics={key: value for key, value in metrics.items() if key not in _NOT_METRICS},
        **details,
    )


def _step(beat: Mapping[str, Any], metrics: Mapping[str, Any]) -> int | None:
    """Beats are not written for each step, metrics not for each; whichever is further tells it."""
    beaten = beat.get("step") if beat.get("phase") in rundir.STEPPING else None
    known = [value for value in (beaten, metrics.get("current_steps")) if isinstance(value, int)]
    return max(known, default=None)


def _total(beat: Mapping[str, Any], metrics: Mapping[str, Any]) -> int | None:
    beaten = beat.get("total_steps") if beat.get("phase") in rundir.STEPPING else None
    return beaten or metrics.get("total_steps")


def _part_of(run: RunDir, beat: Mapping[str, Any]) -> rundir.PartDir | None:
    """The part at work, or the last one."""
    parts = run.parts()
    return next((part for part in parts if part.number == beat.get("part")), parts[-1] if parts else None)


def _checkpoints(run: RunDir, events: Sequence[Mapping[str, Any]]) -> list[CheckpointView]:
    found = []
    saved = {(event.get("part"), event.get("step")): event for event in events if event.get("event") == "saved"}
    for part in run.parts():
        for path in rundir.checkpoints(part):
            verdict = rundir.verify_checkpoint(path)
            told = saved.get((part.name, verdict.step)) or {}
            found.append(
                CheckpointView(
                    part=part.number,
                    step=verdict.step,
                    path=str(path),
                    valid=verdict.valid,
                    resumable=verdict.resumable,
                    bytes=verdict.bytes,
                    problem=verdict.problem,
                    loss=told.get("loss"),
                    eval_loss=told.get("eval_loss"),
                )
            )
    return found


def _pids(run: RunDir, stands: Standing) -> dict[str, Any]:
    if stands.foreign:
        return {"wrapper": None, "launcher": None, "workers": []}
    wrapper = Identity.from_json(stands.state.get("wrapper"))
    launcher = Identity.from_json(stands.state.get("launcher"))
    alive = launcher is not None and launcher.alive()
    below = [launcher.pid] if launcher is not None and alive else []
    workers = [process.pid for process in processes.members(run.run_id, below=below) if process != launcher]
    return {
        "wrapper": wrapper.pid if wrapper is not None and wrapper.alive() else None,
        "launcher": launcher.pid if launcher is not None and alive else None,
        "workers": workers,
    }
