"""Several processes through a real torchrun: its ranks are in no process group of ours, and none may be left behind."""

import dataclasses
import signal

import pytest
from run_tools import at_rest, at_step, events_of, identity, kill, light_job, marked_anywhere, until

from tuiwb import rundir, runs

pytestmark = pytest.mark.torch


@pytest.fixture
def two_ranks(start, monkeypatch):
    def begin(*, grace_s="2", **plan):
        monkeypatch.setenv("TUIWB_WORKER_STOP_GRACE_S", grace_s)
        run = start(job=dataclasses.replace(light_job(**plan), processes=2))
        at_step(run, 3)
        until(lambda: len(marked_anywhere(run)) >= 3)  # torchrun and its ranks
        return run

    return begin


def test_stop_is_agreed_saved_and_clean(two_ranks):
    # A save and an exit of torchrun that a busy machine makes slow are no reason for a signal.
    run = two_ranks(steps=10_000, save_every=0, grace_s="60")
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=100)
    assert answer["state"] == "stopped"
    assert answer["reason"] == f"saved at step {answer['step']}"
    assert rundir.read_exit(run)["signals"] == []


def test_kill_of_the_launcher_sweeps_the_ranks(two_ranks):
    run = two_ranks(steps=10_000, save_every=5)
    kill(identity(run, "launcher"))
    state = at_rest(run)
    assert state["state"] == "failed"
    assert "ended by SIGKILL from outside" in state["reason"]
    assert marked_anywhere(run) == []
    assert events_of(run, "swept")[0]["processes"] == 2


def test_kill_of_one_rank_ends_the_other(two_ranks):
    run = two_ranks(steps=10_000, save_every=5)
    ranks = [pid for pid in marked_anywhere(run) if pid != identity(run, "launcher").pid]
    kill(rundir.Identity.of(ranks[-1]))
    state = at_rest(run)
    assert state["state"] == "failed"
    assert marked_anywhere(run) == []


def test_a_rank_that_was_stopped_by_a_signal_does_not_outlive_a_cancel(two_ranks):
    run = two_ranks(steps=10_000, save_every=5)
    ranks = [pid for pid in marked_anywhere(run) if pid != identity(run, "launcher").pid]
    rundir.Identity.of(ranks[0]).send(signal.SIGSTOP)
    answer = runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=40)
    assert answer["state"] == "cancelled"
    assert marked_anywhere(run) == []
