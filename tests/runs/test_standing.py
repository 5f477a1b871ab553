"""What a run is taken for whose end nobody wrote down: lost, interrupted, another machine's, finished; and whom not to
take for its process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_tools import at_rest, at_step, identity, kill, let_go, state_of, until

from tuiwb import rundir, runs
from tuiwb.base.errors import EnvironmentFault, UsageFault
from tuiwb.rundir import Identity, RunDir


def test_another_boot_means_interrupted(start):
    run = _killed(start)
    _rewrite(run, boot_id="another-boot")
    state = at_rest(run)
    assert (state["state"], state["reason"]) == ("interrupted", "the machine was restarted")
    runs.resume(run.run_id)
    assert at_rest(run)["state"] == "finished"


def test_another_machines_run_is_shown_and_never_touched(start):
    run = _killed(start)
    _rewrite(run, machine_id="another:machine", boot_id="another-boot", host="far")
    before = run.state_file.read_bytes()
    view = runs.show(run.run_id)
    assert (view.state, view.supervised, view.host, view.step) == ("running", None, "far", 13)
    assert view.beat_age_s is not None
    for act in (lambda: runs.ask(run.run_id, "stop"), lambda: runs.resume(run.run_id), lambda: runs.delete(run.run_id)):
        with pytest.raises(EnvironmentFault, match="belongs to far"):
            act()
    assert run.state_file.read_bytes() == before
    assert rundir.pending_requests(run) == []


def test_a_process_number_that_came_back_is_not_our_process(start):
    run = start(steps=30, hold_at=13)
    at_step(run, 13)
    kill(identity(run, "wrapper"))
    kill(identity(run, "launcher"))
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        state = rundir.read_state(run)
        for who in ("wrapper", "launcher"):
            state[who] = {**state[who], "pid": stranger.pid}
        run.state_file.write_text(json.dumps(state))
        assert at_rest(run)["state"] == "lost"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK), reason="the next process number is root's")
def test_a_process_number_that_was_forced_back():
    def child():
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    first = child()
    was = Identity.of(first.pid)
    first.kill()
    first.wait()

    def again():
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(was.pid - 1))
        found = child()
        if found.pid == was.pid:
            return found
        found.kill()
        return found.wait() and None

    # Start times are told in hundredths of a second, and no number comes back as fast as here.
    until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") > was.start_time + 2)
    second = until(again)
    try:
        assert Identity.of(second.pid).pid == was.pid
        assert not was.alive()
        assert not was.send(signal.SIGKILL)
        with pytest.raises(ProcessLookupError):
            was.open_pidfd()
        assert second.poll() is None
    finally:
        second.kill()
        second.wait()


def test_a_clock_that_jumps_changes_no_age(start, monkeypatch):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert runs.view(run).beat_age_s < 60
    let_go(run)
    assert at_rest(run)["state"] == "finished"


def test_a_state_that_cannot_be_read_is_kept(start):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    run.state_file.write_text("{ torn")
    let_go(run)
    until(lambda: state_of(run) == "finished")
    assert [path.read_text() for path in run.path.glob("state.json.broken-*")] == ["{ torn"]


def test_what_nobody_saw_is_lost_not_failed(start):
    run = start(steps=30, hold_at=13)
    at_step(run, 13)
    kill(identity(run, "wrapper"))
    kill(identity(run, "launcher"))
    state = at_rest(run)
    assert state["state"] == "lost"
    assert state["reason"] == "nobody saw how it ended; its newest whole checkpoint is step 10"
    assert rundir.read_exit(run)["state"] == "lost"


def test_a_run_that_finished_unwatched_has_finished(start):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    worker = identity(run, "launcher")
    kill(identity(run, "wrapper"))
    let_go(run)
    until(lambda: not worker.alive())
    assert at_rest(run)["state"] == "finished"
    with pytest.raises(UsageFault):
        runs.ask(run.run_id, "save")


def _killed(start) -> RunDir:
    """A run in its middle, of which nothing is alive any more and nobody wrote down why."""
    run = start(steps=30, hold_at=13)
    at_step(run, 13)
    until(lambda: state_of(run) == "running")
    kill(identity(run, "wrapper"))
    kill(identity(run, "launcher"))
    return run


def _rewrite(run: RunDir, **machine: str) -> None:
    """As if the run had been started elsewhere, or before a restart."""
    state = rundir.read_state(run)
    state["machine"] |= machine
    for who in ("wrapper", "launcher"):
        state[who] |= {key: value for key, value in machine.items() if key in state[who]}
    run.state_file.write_text(json.dumps(state))
