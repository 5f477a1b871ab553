"""Real runs of a light worker, in a home of their own; whatever a test leaves alive is killed and reported."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_tools import kill_everything, light_job, marked_anywhere

from tuiwb import runs
from tuiwb.rundir import RunDir


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that a busy machine makes slow is no reason for a signal."""
    monkeypatch.setenv("TUIWB_WORKER_STOP_GRACE_S", "30")


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For workers that never answer, and for what takes longer than the grace and is waited for all the same."""
    monkeypatch.setenv("TUIWB_WORKER_STOP_GRACE_S", "0.5")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunDir]]:
    """Launches a run of the light worker; its arguments are those of `light_worker.Plan`, or a job made of them.

    At the end no process may carry the mark of a run that is at rest.
    """
    started: list[RunDir] = []

    def begin(job: runs.Job | None = None, **plan: object) -> RunDir:
        run = runs.launch(job or light_job(**plan))
        started.append(run)
        return run

    yield begin
    orphans = {run.run_id: marked_anywhere(run) for run in started if not runs.standing(run, repair=False).supervised}
    for run in started:
        kill_everything(run)
    assert not any(orphans.values()), orphans
