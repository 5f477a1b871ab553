"""The five worst faults with the real trainer and the tiny model: `python tests/benchmarks/faults.py --real`, which can
name another model.

What counts is that nothing is lost: after each of them the losses are those of a run to which nothing happened.
"""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from light_worker import cut
from real_jobs import real_job, step_of
from run_tools import at_rest, events_of, identity, kill, marked_anywhere, until
from training import losses

from tuiwb import rundir, runs
from tuiwb.rundir import Identity, RunDir

pytestmark = [pytest.mark.torch, pytest.mark.slow]

MODEL = os.environ.get("TUIWB_FAULTS_MODEL")
"""Folder of a model that is not tiny: it gets fewer steps."""

SAVE = 2 if MODEL else 10
STEPS = 4 * SAVE if MODEL else 60
WAIT_S = 400.0
Begin = Callable[..., RunDir]


@pytest.fixture
def begin(start, tiny_model, tmp_path, monkeypatch) -> Begin:
    """Launches a run of so many processes, and waits until it has saved so many times and gone on."""
    monkeypatch.setenv("TUIWB_WORKER_STOP_GRACE_S", "120")
    model = Path(MODEL) if MODEL else tiny_model
    slower = {"learning_rate": 1e-3, "per_device_train_batch_size": 2} if MODEL else {}

    def launched(processes: int = 1, *, saves: int = 1) -> RunDir:
        keys = {"max_steps": STEPS, "save_steps": float(SAVE), "lora_dropout": 0.1, **slower}
        run = start(job=real_job(model, tmp_path, processes=processes, **keys))
        if saves:
            until(lambda: step_of(run) > saves * SAVE + SAVE // 2 - 1, WAIT_S)
        return run

    return launched


def rested(run: RunDir) -> dict[str, object]:
    until(lambda: runs.standing(run).state["state"] in rundir.RESTING, WAIT_S)
    return at_rest(run)


def as_if_nothing_had_happened(run: RunDir, begin: Begin, processes: int = 1) -> None:
    """Whether the run, gone on with to its end, has the losses of one that was left alone."""
    assert marked_anywhere(run) == []
    if rested(run)["state"] != "finished":
        runs.resume(run.run_id)
    assert rested(run)["state"] == "finished"
    straight = begin(processes, saves=0)
    assert rested(straight)["state"] == "finished"
    found = losses(run)
    assert sorted(found) == list(range(1, STEPS + 1))
    assert found == losses(straight)
    assert marked_anywhere(run) == []


def ranks(run: RunDir) -> list[Identity]:
    """The processes of torchrun, the first rank first."""
    launcher = identity(run, "launcher").pid
    found = [Identity.of(pid) for pid in marked_anywhere(run) if pid != launcher]
    return sorted(found, key=lambda each: each.start_time)


def test_kill_of_the_wrapper(begin):
    run = begin()
    kill(identity(run, "wrapper"))
    until(lambda: [view for view in runs.scan() if view.run_id == run.run_id and view.supervised])
    until(lambda: rested(run)["state"] == "finished", WAIT_S)
    assert len(events_of(run, "adopted")) <= 1  # it may have finished before anybody looked
    as_if_nothing_had_happened(run, begin)


def test_kill_of_one_rank(begin):
    run = begin(2)
    kill(ranks(run)[-1])
    assert rested(run)["state"] == "failed"
    as_if_nothing_had_happened(run, begin, 2)


def test_kill_of_the_launcher(begin):
    run = begin(2)
    kill(identity(run, "launcher"))
    assert rested(run)["state"] == "failed"
    as_if_nothing_had_happened(run, begin, 2)


def test_stop_during_a_save(begin):
    run = begin(saves=0)
    worker = until(partial(identity, run, "launcher"))

    def caught() -> bool:
        """Stopped by a signal while it saves."""
        if (rundir.read_beat(run) or {}).get("phase") != "save":
            return False
        worker.send(signal.SIGSTOP)
        until(lambda: (rundir.process_status(worker.pid) or worker).state in "Tt")
        if (rundir.read_beat(run) or {}).get("phase") == "save":
            return True
        worker.send(signal.SIGCONT)
        return False

    until(caught, WAIT_S)
    asked = runs.ask(run.run_id, "stop")
    worker.send(signal.SIGCONT)
    answer = runs.answer(run, asked, wait_s=WAIT_S)
    assert answer["state"] == "stopped"
    assert rundir.newest_valid_checkpoint(run).step == answer["step"]
    assert rundir.read_exit(run)["signals"] == []
    as_if_nothing_had_happened(run, begin)


def test_truncated_checkpoint(begin):
    run = begin(saves=2)
    kill(identity(run, "launcher"))
    assert rested(run)["state"] == "failed"
    newest = rundir.newest_valid_checkpoint(run)
    cut(newest.path / "optimizer.pt")
    assert not rundir.verify_checkpoint(newest.path).valid
    before = rundir.newest_valid_checkpoint(run)
    assert before.step == newest.step - SAVE
    as_if_nothing_had_happened(run, begin)
    broken = [event["checkpoint"] for event in events_of(run, "quarantined")]
    assert rundir.read_state(run)["resume"]["step"] == before.step
    assert f"broken-{os.path.basename(newest.path)}" in broken  # noqa: PTH119
