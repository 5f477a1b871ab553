"""A run whose folder is deleted while it lives: nobody could stop it any more, so it must end by itself."""

import contextlib
import dataclasses
import os
import shutil

import pytest
from run_tools import at_rest, at_step, identity, let_go, light_job, marked_anywhere, state_of, until

from tuiwb import rundir, runs
from tuiwb.base.errors import UsageFault
from tuiwb.rundir import RunDir
from tuiwb.runs import lock


def test_a_run_whose_folder_was_deleted_ends(start):
    run = start(steps=30, hold_at=5, children=1)
    at_step(run, 5)
    wrapper = identity(run, "wrapper")
    shutil.rmtree(run.path, ignore_errors=True)  # a file may come while it goes
    until(lambda: not wrapper.alive())
    assert marked_anywhere(run) == []
    assert not run.job_file.exists()


def test_a_run_that_waits_and_whose_folder_was_deleted_ends(start):
    run = start(dataclasses.replace(light_job(), held=True))
    until(lambda: state_of(run) == "queued")
    wrapper = identity(run, "wrapper")
    shutil.rmtree(run.path, ignore_errors=True)
    until(lambda: not wrapper.alive())


def test_a_folder_that_was_only_moved_is_not_gone(start):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    with pytest.raises(UsageFault, match="stop or cancel it"):
        runs.delete(run.run_id)
    wrapper = identity(run, "wrapper")
    ticks = rundir.process_status(wrapper.pid).cpu_ticks
    elsewhere = run.path.rename(run.path.with_name("elsewhere"))
    until(lambda: rundir.process_status(wrapper.pid).cpu_ticks > ticks)  # it has looked again

    def back() -> bool:
        shutil.rmtree(run.path, ignore_errors=True)  # something may have been written under the old name meanwhile
        with contextlib.suppress(OSError):
            elsewhere.rename(run.path)
        return not elsewhere.exists()

    until(back)
    let_go(run)
    assert at_rest(run)["state"] == "finished"


def test_what_counts_as_gone(tmp_path):
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    rundir.write_job(run, {"kind": "train"})
    handle = lock.take(run)
    assert not lock.gone(run, handle)
    moved = run.path.rename(tmp_path / "moved")
    assert not lock.gone(run, handle)
    moved.rename(run.path)
    run.lock_file.rename(run.path / ".nfs000000000001")  # as NFS does with a file that is open
    assert not lock.gone(run, handle)
    run.job_file.unlink()
    assert lock.gone(run, handle)
    shutil.rmtree(run.path)
    assert lock.gone(run, handle)
    os.close(handle)
    assert not lock.gone(run, handle)  # what cannot be told is not gone
