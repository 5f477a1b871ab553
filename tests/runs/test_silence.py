"""A process of a run that is there and does nothing, or is gone while the others are there."""

import os
import signal

import pytest
from run_tools import at_rest, at_step, events_of, identity, let_go, marked_anywhere, until


def test_a_process_that_a_signal_stopped_is_named_and_may_go_on(start):
    run = start(steps=30, hold_at=8)
    at_step(run, 8)
    worker = identity(run, "launcher")
    worker.send(signal.SIGSTOP)
    alarm = until(lambda: next((event for event in events_of(run, "alarm") if event["rule"] == "rank_silent"), None))
    assert f"process {worker.pid}" in alarm["message"]
    assert alarm["fix"] == f"kill -CONT {worker.pid} lets it go on"
    worker.send(signal.SIGCONT)
    let_go(run)
    assert at_rest(run)["state"] == "finished"


@pytest.mark.torch
def test_kill_of_a_worker_of_the_data_loader_fails_the_run_and_leaves_nothing(start):
    run = start(steps=100_000, step_s=0.05, loader=True)
    at_step(run, 3)
    launcher = identity(run, "launcher").pid
    (loader,) = until(lambda: [pid for pid in marked_anywhere(run) if pid != launcher])
    os.kill(loader, signal.SIGKILL)
    state = at_rest(run)
    assert state["state"] == "failed"
    assert "DataLoader worker" in state["reason"]
    assert marked_anywhere(run) == []
