"""What may go wrong, done on purpose to real processes: each fault with its right end, no orphan and nothing lost."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from light_worker import cut
from run_tools import (
    HERE,
    at_rest,
    at_step,
    checkpoint,
    events_of,
    identity,
    kill,
    let_go,
    losses,
    marked_anywhere,
    metrics_of,
    state_of,
    until,
)

from tuiwb import rundir, runs
from tuiwb.base.errors import UsageFault
from tuiwb.rundir import RunDir
from tuiwb.runs import lock
from tuiwb.runs.wrapper import BUSY

LAUNCHER = f"""
import os, signal, sys, time
sys.path.insert(0, {str(HERE)!r})
from run_tools import light_job
from tuiwb import runs
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
print(runs.launch(light_job(steps=30, hold_at=5)).path, flush=True)
time.sleep(600)
"""

WORKBENCH = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from run_tools import light_job
from tuiwb import runs
from tuiwb.cli.workbench import run
runs.launch(light_job(steps=30, hold_at=5))
run(None, screen="runs")
"""


@pytest.fixture
def launched():
    """Starts a process that launches a run and then lives on; gives the process and the run."""
    processes = []

    def begin(**how):
        process = subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True, **how)
        processes.append(process)
        return process, RunDir(Path(process.stdout.readline().strip()))

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_kill_of_the_process_that_launched(launched):
    process, run = launched()
    at_step(run, 5)
    process.kill()
    process.wait()
    let_go(run)
    assert at_rest(run)["state"] == "finished"
    assert len(metrics_of(run)) == 30
    assert marked_anywhere(run) == []


def test_kill_of_the_workbench_that_launched_and_watches():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", WORKBENCH])
    try:
        drawn = b""

        def shown() -> bool:
            nonlocal drawn
            drawn += os.read(terminal, 1 << 16)
            return b"step 5" in drawn

        until(shown)
        (run,) = runs.run_dirs()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    let_go(run)
    assert at_rest(run)["state"] == "finished"
    assert len(metrics_of(run)) == 30
    assert marked_anywhere(run) == []


def test_hang_up_and_a_closed_terminal(launched):
    master, slave = pty.openpty()
    process, run = launched(stdin=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    at_step(run, 5)
    os.killpg(process.pid, signal.SIGHUP)
    for who in ("wrapper", "launcher"):
        assert os.getsid(identity(run, who).pid) != os.getsid(os.getpid())
    identity(run, "wrapper").send(signal.SIGHUP)
    identity(run, "wrapper").send(signal.SIGINT)
    os.close(master)
    process.wait(30)
    let_go(run)
    assert at_rest(run)["state"] == "finished"
    assert identity(run, "launcher").alive() is False
    assert marked_anywhere(run) == []


def test_kill_of_the_wrapper_the_run_is_adopted_and_finishes(start):
    run = start(steps=30, hold_at=5, children=1)
    at_step(run, 5)
    worker, first = identity(run, "launcher"), identity(run, "wrapper")
    kill(first)
    assert worker.alive()
    assert not lock.held(run)
    assert runs.standing(run, repair=False).supervised is False
    assert until(lambda: [view for view in runs.scan() if view.supervised and view.state == "running"])
    assert identity(run, "wrapper") != first
    assert identity(run, "launcher") == worker
    assert len(events_of(run, "adopted")) == 1
    let_go(run)
    assert at_rest(run)["state"] == "finished"
    assert len(metrics_of(run)) == 30
    assert marked_anywhere(run) == []


def test_an_adopted_run_still_stops_with_its_checkpoint(start):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    kill(identity(run, "wrapper"))
    answer = runs.answer(run, runs.ask(run.run_id, "pause"), wait_s=60)
    assert (answer["state"], answer["step"]) == ("paused", 5)


def test_kill_of_the_wrapper_before_it_had_noted_the_worker(start):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    kill(identity(run, "wrapper"))
    state = rundir.read_state(run)
    del state["launcher"]
    run.state_file.write_text(json.dumps(state))
    until(lambda: runs.view(run).state == "running")
    let_go(run)
    assert at_rest(run)["state"] == "finished"


def test_kill_of_wrapper_and_worker_is_lost_and_can_go_on(start):
    straight, run = start(steps=30), start(steps=30, hold_at=13, children=1)
    at_step(run, 13)
    kill(identity(run, "wrapper"))
    kill(identity(run, "launcher"))
    orphan = marked_anywhere(run)
    assert len(orphan) == 1
    state = at_rest(run)  # what is left of it is adopted, and swept as its launcher is gone
    assert state["state"] == "failed"
    assert marked_anywhere(run) == []
    runs.resume(run.run_id)
    assert at_rest(run)["state"] == "finished"
    at_rest(straight)
    assert losses(run) == losses(straight)


def test_kill_of_the_worker(start):
    straight, run = start(steps=30), start(steps=30, hold_at=13, children=2)
    at_step(run, 13)
    kill(identity(run, "launcher"))
    state = at_rest(run)
    assert state["state"] == "failed"
    assert state["reason"] == "ended by SIGKILL from outside; its newest whole checkpoint is step 10"
    assert len(metrics_of(run)) == 13  # all that had been logged
    runs.resume(run.run_id)
    assert at_rest(run)["state"] == "finished"
    at_rest(straight)
    assert losses(run) == losses(straight)


@pytest.mark.usefixtures("short_waits")
def test_stop_before_the_first_step(start):
    run = start(steps=30, load_s=600)
    until(lambda: state_of(run) == "running")
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert (answer["state"], answer["reason"]) == ("stopped", "before the first step")
    assert "problem" not in answer


def test_sigterm_from_outside_before_the_first_step(start):
    run = start(steps=30, load_s=600)
    until(lambda: state_of(run) == "running")
    identity(run, "launcher").send(signal.SIGTERM)
    state = at_rest(run)
    assert state["state"] == "stopped"
    assert state["reason"] == "ended by SIGTERM from outside; before the first step"


def test_sigterm_to_the_wrapper_asks_the_run_to_stop(start):
    run = start(steps=30, hold_at=7)
    at_step(run, 7)
    identity(run, "wrapper").send(signal.SIGTERM)
    state = at_rest(run)
    assert (state["state"], state["reason"]) == ("stopped", "saved at step 7")


@pytest.mark.usefixtures("short_waits")
def test_stop_during_a_save_that_takes_longer_than_the_grace(start):
    run = start(steps=30, save_every=5, save_s=0.6)
    until(lambda: (rundir.read_beat(run) or {}).get("phase") == "save")
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert answer["state"] == "stopped"
    assert answer["reason"].startswith("saved at step ")
    assert rundir.read_exit(run)["signals"] == []
    assert events_of(run, "quarantined") == []


@pytest.mark.usefixtures("short_waits")
def test_stop_during_an_evaluation_that_takes_longer_than_the_grace(start):
    run = start(steps=30, save_every=0, eval_every=5, eval_s=1.5)
    until(lambda: (rundir.read_beat(run) or {}).get("phase") == "eval")
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert (answer["state"], answer["reason"]) == ("stopped", "saved at step 5")
    assert rundir.read_exit(run)["signals"] == []


def test_a_save_that_was_cut_off_is_put_aside_and_not_resumed_from(start):
    run = start(steps=30, save_every=5, save_s=0.2)
    until(lambda: checkpoint(run, 10).is_dir())
    kill(identity(run, "launcher"))
    state = at_rest(run)
    assert state["state"] == "failed"
    assert "step 5" in state["reason"]
    assert checkpoint(run, 10).with_name("broken-checkpoint-10").is_dir()
    runs.resume(run.run_id)
    assert at_rest(run)["state"] == "finished"
    assert sorted(losses(run)) == list(range(1, 31))


def test_a_truncated_checkpoint_is_skipped(start):
    straight, run = start(steps=30), start(steps=30, hold_at=13)
    at_step(run, 13)
    kill(identity(run, "launcher"))
    at_rest(run)
    cut(checkpoint(run, 10) / "adapter_model.safetensors")
    assert [found.valid for found in runs.view(run).checkpoints] == [True, False]
    runs.resume(run.run_id)
    assert rundir.read_state(run)["resume"]["step"] == 5
    assert at_rest(run)["state"] == "finished"
    at_rest(straight)
    assert losses(run) == losses(straight)
    assert events_of(run, "quarantined")[0]["checkpoint"] == "broken-checkpoint-10"


def test_a_stop_whose_checkpoint_is_broken_does_not_claim_it(start):
    run = start(steps=30, hold_at=7, cut_checkpoint=7)
    at_step(run, 7)
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert answer["state"] == "stopped"
    assert "checkpoint-7 is broken" in answer["reason"]
    assert "its newest whole checkpoint is step 5" in answer["reason"]


def test_a_torn_metrics_line_costs_that_line_only(start):
    run = start(steps=30, hold_at=13)
    at_step(run, 13)
    kill(identity(run, "launcher"))
    at_rest(run)
    file = run.part(1, "main").metrics_file
    os.truncate(file, file.stat().st_size - 20)
    assert len(metrics_of(run)) == 12
    runs.resume(run.run_id)
    assert at_rest(run)["state"] == "finished"
    tail = rundir.JsonlTail(file)
    assert {value["current_steps"] for value in tail.read()} == set(range(1, 31))
    assert tail.skipped == 1


def test_two_wrappers_for_one_run(start):
    run = start(steps=30, hold_at=5)
    at_step(run, 5)
    second = subprocess.run([sys.executable, "-m", "tuiwb.runs.wrapper", str(run.path)], check=False)
    assert second.returncode == BUSY
    let_go(run)
    assert at_rest(run)["state"] == "finished"
    assert len(metrics_of(run)) == 30
    assert len(events_of(run, "started")) == 1


def test_two_resume_one_run_at_once(start):
    run = start(steps=30, hold_at=13)
    at_step(run, 13)
    kill(identity(run, "launcher"))
    at_rest(run)
    outcomes = []

    def resume():
        try:
            outcomes.append(runs.resume(run.run_id))
        except UsageFault as fault:
            outcomes.append(fault)

    threads = [threading.Thread(target=resume) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RunDir", "UsageFault"]
    assert at_rest(run)["state"] == "finished"
    assert len(events_of(run, "started")) == 2


def test_a_wrapper_started_by_hand_on_an_ended_run_does_nothing(start):
    run = start(steps=3)
    at_rest(run)
    until(lambda: not lock.held(run))
    subprocess.run([sys.executable, "-m", "tuiwb.runs.wrapper", str(run.path)], check=True)
    until(lambda: not lock.held(run))
    assert len(events_of(run, "started")) == 1
