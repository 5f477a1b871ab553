"""A disk that fills at the worst moments: start, metric, checkpoint, end. Needs a small tmpfs."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_jobs import real_job, step_of
from run_tools import (
    at_rest,
    at_step,
    checkpoint,
    events_of,
    identity,
    kill,
    let_go,
    light_job,
    losses,
    metrics_of,
    until,
)

from tuiwb import rundir, runs
from tuiwb.base.errors import EnvironmentFault

MIB = 1 << 20


class Disk:
    """A file system of 8 MiB for the runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, *, leave: int = 0) -> None:
        """Use up all space but `leave` bytes."""
        self.free()
        handle = os.open(self.path / ".filler", os.O_WRONLY | os.O_CREAT)
        try:
            until(lambda: self._filled(handle, leave))
        finally:
            os.close(handle)

    def _filled(self, handle: int, leave: int) -> bool:
        room = os.statvfs(self.path)
        try:
            os.posix_fallocate(handle, 0, room.f_bavail * room.f_frsize - leave)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False  # the run has written in between, and there is less room than there was
        return True

    def free(self) -> None:
        (self.path / ".filler").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    monkeypatch.setenv("TUIWB_PLACES_RUNS", str(path))
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("leave", [0, 4096, 16 * 1024, MIB // 2])
def test_at_the_start_nothing_is_left_behind(disk, leave):
    disk.fill(leave=leave)
    with pytest.raises(EnvironmentFault, match="cannot be created here \\(No space left on device\\); make room"):
        runs.launch(light_job())
    assert [path.name for path in disk.path.iterdir()] == [".filler"]


def test_at_a_metric_the_run_goes_on_and_no_metric_is_lost(disk, start):
    run = start(steps=10_000, save_every=0, hold_at=5)
    at_step(run, 5)
    (run.path / "wait").touch()
    disk.fill()
    worker = identity(run, "launcher")
    ticks = _ticks(worker)
    (run.path / "wait").rename(run.path / "go")  # a rename needs no space
    until(lambda: _ticks(worker) > ticks + 5)
    assert worker.alive()
    disk.free()
    at_step(run, 50)
    assert [value["current_steps"] for value in metrics_of(run)][:50] == list(range(1, 51))
    runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)


def test_at_a_checkpoint(disk, start):
    run = start(steps=30, save_every=5, weight_bytes=MIB, hold_at=7)
    at_step(run, 7)
    # A wrapper that looks at the disk in time pauses the run instead.
    wrapper, worker = identity(run, "wrapper"), identity(run, "launcher")
    wrapper.send(signal.SIGSTOP)
    disk.fill(leave=MIB // 2)
    let_go(run)
    until(lambda: not worker.alive())
    wrapper.send(signal.SIGCONT)
    state = at_rest(run)
    assert state["state"] == "failed"
    assert state["reason"] in ("the disk is full", "[Errno 28] No space left on device")
    assert rundir.read_exit(run)["cause"] == "disk_full"
    assert rundir.newest_valid_checkpoint(run).step == 5
    assert not checkpoint(run, 10).exists()
    disk.fill()
    with pytest.raises(EnvironmentFault, match="cannot be resumed"):
        runs.resume(run.run_id)
    assert runs.view(run).state == "failed"
    disk.free()
    runs.resume(run.run_id)
    at_step(run, 12)
    assert sorted(losses(run))[:12] == list(range(1, 13))
    runs.ask(run.run_id, "cancel")
    at_rest(run)


def test_at_the_end_the_ballast_makes_room(disk, start):
    run = start(steps=30, hold_at=7)
    at_step(run, 7)
    disk.fill()
    kill(identity(run, "launcher"))
    state = at_rest(run)
    assert (state["state"], state["cause"]) == ("failed", "signal")
    assert rundir.read_exit(run)["state"] == "failed"
    assert events_of(run, "ended")
    assert len(metrics_of(run)) == 7


def test_an_end_can_be_asked_for(disk, start):
    run = start(steps=30, hold_at=7)
    at_step(run, 7)
    disk.fill()
    assert runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)["state"] == "cancelled"


def _ticks(process: rundir.Identity) -> int:
    status = rundir.process_status(process.pid)
    return status.cpu_ticks if status else 0


def test_a_stop_that_cannot_save_does_not_end_the_run(disk, start):
    run = start(steps=10_000, save_every=0, weight_bytes=MIB, hold_at=7)
    at_step(run, 7)
    disk.fill(leave=MIB // 2)
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert "No space left on device" in answer["problem"]
    at_step(run, 100)
    until(lambda: runs.view(run).state == "running")
    disk.free()
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert (answer["state"], answer["reason"]) == ("stopped", f"saved at step {answer['step']}")
    assert rundir.read_exit(run)["signals"] == []


def test_a_disk_on_which_the_next_checkpoint_would_not_fit_pauses_the_run(disk, start):
    # Five of 1 MiB and the ballast: one more would fit into 8 MiB, but without any room to spare.
    run = start(steps=100_000, save_every=5, weight_bytes=MIB, hold_at=27)
    state = at_rest(run)
    assert state["state"] == "paused"
    assert state["reason"].startswith("the disk is nearly full; saved at step")
    alarm = next(event for event in events_of(run, "alarm") if event["rule"] == "disk")
    assert "a checkpoint needs 1.0 MiB" in alarm["message"]
    assert events_of(run, "asked")[0]["by"] == "disk"


@pytest.mark.torch
def test_where_a_whole_checkpoint_does_not_fit_the_weights_are_saved(disk, start, tiny_model, tmp_path):
    long = {"method": "full", "num_train_epochs": 10_000.0, "save_strategy": "no", "save_total_limit": 1}
    # Few lines are logged: those of a hundred steps a second would fill what is left before anybody looks.
    long["logging_steps"] = 200
    run = start(job=real_job(tiny_model, tmp_path, **long))
    until(lambda: step_of(run) > 3, 200)
    first = runs.answer(run, runs.ask(run.run_id, "save"), wait_s=100)
    whole = rundir.verify_checkpoint(run.path / first["checkpoint"])
    assert whole.resumable
    worker = identity(run, "launcher")
    worker.send(signal.SIGSTOP)
    disk.fill(leave=2 * whole.bytes // 3)
    worker.send(signal.SIGCONT)
    state = at_rest(run, 200)
    saved = rundir.newest_valid_checkpoint(run)
    assert (state["state"], saved.resumable) == ("paused", False)
    assert state["reason"] == (
        f"the disk is nearly full; saved at step {saved.step:,}, the weights alone; it goes on from step {whole.step:,}"
    )
    assert saved.step > whole.step
    assert rundir.resume_point(run)[1].step == whole.step
