"""A run from launch to its end, and what can be asked of it, on real processes."""

import os
import subprocess
import sys

import pytest
from run_tools import (
    at_rest,
    at_step,
    checkpoint,
    events_of,
    identity,
    let_go,
    light_job,
    losses,
    marked_anywhere,
    metrics_of,
    state_of,
    until,
)

from tuiwb import rundir, runs
from tuiwb.base.errors import RunFault, UsageFault
from tuiwb.runs import lock


def test_a_run_finishes_and_leaves_nothing_behind(start):
    run = start(steps=12, save_every=5, children=2)
    state = at_rest(run)
    assert state["state"] == "finished"
    assert [value["current_steps"] for value in metrics_of(run)] == list(range(1, 13))
    assert marked_anywhere(run) == []
    assert not identity(run, "wrapper").alive() or until(lambda: not identity(run, "wrapper").alive())
    assert not lock.held(run)
    assert not run.ballast_file.exists()
    ending = rundir.read_exit(run)
    assert (ending["state"], ending["returncode"], ending["attempt"]) == ("finished", 0, 1)
    assert [event["processes"] for event in events_of(run, "swept")] == [2]
    view = runs.show("last")
    assert (view.state, view.step, view.total_steps, view.supervised) == ("finished", 12, 12, False)
    assert [(found.step, found.valid) for found in view.checkpoints] == [(5, True), (10, True), (12, True)]
    assert view.pids == {"wrapper": None, "launcher": None, "workers": []}
    assert view.metrics["loss"] == losses(run)[12]


def test_starting_is_written_before_the_worker_exists(start):
    run = start(steps=3)
    at_rest(run)
    job, state = rundir.read_job(run), rundir.read_state(run)
    created = events_of(run, "created")[0]["time"]
    assert created < events_of(run, "started")[0]["time"]
    assert job["run_id"] == run.run_id
    assert job["argv"][-2:] == ["light_worker", str(run.path)]
    assert job["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert state["seq"] >= 3


def test_save_now_is_acknowledged_with_a_checkpoint_and_the_run_goes_on(start):
    run = start(steps=10_000, save_every=0)
    at_step(run, 3)
    asked = runs.ask(run.run_id, "save")
    answer = runs.answer(run, asked, wait_s=60)
    saved = rundir.verify_checkpoint(run.path / answer["checkpoint"])
    assert saved.valid
    assert saved.step == answer["step"]
    at_step(run, answer["step"] + 5)
    told = until(lambda: events_of(run, "acknowledged"))[0]
    assert (told["verb"], told["valid"]) == ("save", True)
    runs.ask(run.run_id, "cancel")
    at_rest(run)


def test_stop_saves_and_says_where(start):
    run = start(steps=10_000, save_every=0)
    at_step(run, 3)
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert answer["state"] == "stopped"
    assert answer["reason"] == f"saved at step {answer['step']}"
    assert rundir.newest_valid_checkpoint(run).step == answer["step"]
    assert rundir.read_exit(run)["signals"] == []


def test_pause_and_resume_is_exact(start):
    straight = start(steps=30)
    paused = start(steps=30, hold_at=13)
    at_step(paused, 13)
    assert runs.answer(paused, runs.ask(paused.run_id, "pause"), wait_s=60)["state"] == "paused"
    let_go(paused)
    runs.resume(paused.run_id)
    assert at_rest(paused)["state"] == "finished"
    at_rest(straight)
    assert losses(paused) == losses(straight)
    assert runs.view(paused).attempt == 2
    assert rundir.read_state(paused)["resume"] == {"part": 1, "checkpoint": "parts/1-main/checkpoint-13", "step": 13}


def test_cancel_ends_at_once_without_saving(start):
    run = start(steps=10_000, save_every=0, children=2)
    at_step(run, 2)
    answer = runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)
    assert answer["state"] == "cancelled"
    assert runs.view(run).checkpoints == ()


@pytest.mark.parametrize(("plan", "signals"), [({}, ["terminate"]), ({"stubborn": True}, ["terminate", "kill"])])
@pytest.mark.usefixtures("short_waits")
def test_a_deaf_worker_meets_the_next_rungs(start, plan, signals):
    run = start(steps=10_000, save_every=4, deaf=True, hold_at=9, children=1, **plan)
    at_step(run, 9)
    answer = runs.answer(run, runs.ask(run.run_id, "stop"), wait_s=60)
    assert answer["state"] == "stopped"
    assert "did not answer; its newest whole checkpoint is step 8" in answer["reason"]
    assert rundir.read_exit(run)["signals"] == signals


def test_a_cancel_overtakes_a_stop(start):
    run = start(steps=10_000, deaf=True, hold_at=3)
    at_step(run, 3)
    runs.ask(run.run_id, "stop")
    until(lambda: state_of(run) == "stopping")
    assert runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)["state"] == "cancelled"


def test_an_error_of_the_worker_is_the_reason(start):
    run = start(steps=20, save_every=5, fail_at=8)
    state = at_rest(run)
    assert (state["state"], state["reason"]) == ("failed", "the loss went away")
    with pytest.raises(UsageFault, match="is failed, so there is nothing to stop"):
        runs.ask(run.run_id, "stop")


def test_a_return_code_alone_is_no_verdict(start):
    mute = start(steps=3, mute=True)
    loud = start(steps=3, exit_code=1)
    assert at_rest(mute)["state"] == "failed"
    assert "exit code 0 and without a result" in at_rest(mute)["reason"]
    assert at_rest(loud)["state"] == "finished"


def test_a_worker_that_cannot_start_is_said_plainly(monkeypatch):
    monkeypatch.setenv("TUIWB_WORKER_PYTHON", "/nowhere/python")
    run = runs.launch(light_job(steps=3))
    state = at_rest(run)
    assert state["state"] == "failed"
    assert state["reason"] == "the worker cannot be started: /nowhere/python: No such file or directory"


def test_a_clone_is_a_run_of_its_own(start):
    first = start(steps=6)
    at_rest(first)
    second = runs.clone(first.run_id)
    assert at_rest(second)["state"] == "finished"
    assert second != first
    assert losses(second) == losses(first)


def test_a_finished_run_is_not_resumed(start):
    run = start(steps=3)
    at_rest(run)
    with pytest.raises(UsageFault, match="has finished"):
        runs.resume(run.run_id)
    assert runs.view(run).state == "finished"
    assert not lock.held(run)


def test_delete_restore_and_purge(start):
    run = start(steps=10_000)
    at_step(run, 1)
    with pytest.raises(UsageFault, match="stop or cancel it"):
        runs.delete(run.run_id)
    runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)
    trashed = runs.delete(run.run_id)
    assert runs.scan() == []
    assert runs.restore("last") == run
    assert [view.run_id for view in runs.scan()] == [run.run_id]
    runs.delete(run.run_id)
    assert runs.purge(run.run_id) == trashed
    assert not trashed.path.exists()
    with pytest.raises(UsageFault, match="the trash is empty"):
        runs.restore("last")


def test_an_id_may_be_short_but_must_be_clear(start):
    one, two = start(steps=3), start(steps=3)
    assert runs.find("last") == two
    assert runs.find(one.run_id[-6:]) == one
    assert runs.find(two.run_id) == two
    with pytest.raises(UsageFault, match="fits 2 runs"):
        runs.find(one.run_id[:4])
    with pytest.raises(UsageFault, match="there is no run"):
        runs.find("nothing-like-it")


def test_tail_gives_all_metrics_and_ends_with_the_run(start):
    run = start(steps=15)
    records = list(runs.tail(run))
    assert [r.value["current_steps"] for r in records if r.source == "metrics"] == list(range(1, 16))
    assert [r.value["event"] for r in records if r.source == "events"][-1] == "ended"
    assert "training from step 0" in list(runs.tail_log(run))


def test_the_wrapper_is_light_and_knows_nothing_of_training(start):
    heavy = "import sys, tuiwb.runs.wrapper; print({'torch', 'textual', 'msgspec', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", heavy], text=True).strip() == "set()"
    run = start(steps=10_000)
    at_step(run, 1)
    status = rundir.process_status(identity(run, "wrapper").pid)
    assert status.rss_pages * os.sysconf("SC_PAGE_SIZE") < 32 << 20
    assert until(lambda: rundir.read_all(run.samples_file))[0]["memory_total"] > 0
    runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)


def test_a_wrapper_that_does_not_start_is_told(monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RunFault, match="did not start"):
        runs.launch(light_job(steps=3), wait_s=5)
    assert [view.state for view in runs.scan()] == ["lost"]


def test_a_missing_checkpoint_is_not_a_finished_run(start):
    run = start(steps=6, save_every=0, cut_checkpoint=6)
    state = at_rest(run)
    assert state["state"] == "failed"
    assert not checkpoint(run, 6).exists()
    assert checkpoint(run, 6).with_name("broken-checkpoint-6").is_dir()
