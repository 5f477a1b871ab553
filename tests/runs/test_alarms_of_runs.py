"""Alarms of real runs: told by the wrapper with nobody watching."""

import dataclasses
import os
import signal
import stat

import pytest
from run_tools import at_rest, at_step, events_of, identity, let_go, light_job, metrics_of, state_of, until

from tuiwb import rundir, runs


def alarm(run, rule):
    return next((event for event in events_of(run, "alarm") if event["rule"] == rule), None)


def test_a_loss_that_is_no_number_is_told_and_shown(start):
    run = start(steps=60, hold_at=30, logs={"20": {"loss": "NaN"}})
    event = until(lambda: alarm(run, "not_finite"))
    assert (event["by"], event["severity"], event["step"]) == ("wrapper", "critical", 20)
    assert event["message"] == "the loss is NaN at step 20"
    assert event["fix"]
    view = until(lambda: next((view for view in runs.scan() if view.alarms_now), None))
    assert [each["rule"] for each in view.alarms_now] == ["not_finite"]
    let_go(run)
    at_rest(run)
    view = runs.view(run)
    assert (view.state, view.alarms_now) == ("finished", ())
    assert [each["rule"] for each in view.alarms] == ["not_finite"]


def test_the_users_command_is_run(start, tmp_path, monkeypatch):
    script = tmp_path / "told"
    script.write_text('#!/bin/sh\necho "$TUIWB_ALARM_RULE $TUIWB_ALARM_NAME $TUIWB_ALARM_MESSAGE" >> "$0.txt"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("TUIWB_ALARMS_COMMAND", str(script))
    run = start(steps=60, hold_at=30, logs={"20": {"loss": "Infinity"}})
    said = tmp_path / "told.txt"
    until(lambda: said.exists() and said.read_text())
    assert said.read_text() == "not_finite light the loss is infinite at step 20\n"
    let_go(run)
    at_rest(run)


def test_a_command_that_is_not_there_costs_the_run_nothing(start, monkeypatch):
    monkeypatch.setenv("TUIWB_ALARMS_COMMAND", "/nowhere/at/all")
    run = start(steps=30, logs={"20": {"loss": "NaN"}})
    assert at_rest(run)["state"] == "finished"
    assert alarm(run, "not_finite") is None or events_of(run, "alarm_command")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setenv("TUIWB_ALARMS_SILENT_S", "0.5")


@pytest.mark.usefixtures("impatient")
def test_silence_is_told_with_the_stacks_and_is_over_when_it_goes_on(start, tmp_path, monkeypatch):
    spy = tmp_path / "bin" / "py-spy"
    spy.parent.mkdir()
    spy.write_text('#!/bin/sh\necho "Thread 0x1 (idle): MainThread of $3"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    run = start(steps=30, freeze_at=10, logs={str(step): {"step_s": 0.01} for step in range(1, 31)})
    event = until(lambda: alarm(run, "no_progress"))
    assert "nothing has moved in train" in event["message"]
    dumped = until(lambda: events_of(run, "stacks"))[0]
    text = (run.path / dumped["file"]).read_text()
    assert f"MainThread of {identity(run, 'launcher').pid}" in text
    let_go(run)
    until(lambda: events_of(run, "alarm_over") or state_of(run) in rundir.RESTING)
    assert at_rest(run)["state"] == "finished"


def test_less_than_was_asked_for_is_told(start):
    run = start(job=dataclasses.replace(light_job(steps=30, hold_at=10, runs={"world_size": 1}), processes=1))
    at_step(run, 10)
    assert alarm(run, "downgrade") is None
    let_go(run)
    at_rest(run)
    run = start(steps=30, hold_at=10, runs={"device": "cuda", "world_size": 2})
    until(lambda: len(events_of(run, "alarm")) == 2)
    assert {event["subject"] for event in events_of(run, "alarm")} == {"device", "world_size"}
    let_go(run)
    at_rest(run)


def test_out_of_memory_comes_with_the_remedies_of_the_plan(start):
    plan = {"remedies": [{"change": "gradient_checkpointing: true", "saves_bytes": 1 << 30, "cost": "time"}]}
    job = dataclasses.replace(light_job(steps=30, fail_at=5, fail_words="CUDA out of memory."), plan=plan)
    run = start(job=job)
    at_rest(run)
    assert alarm(run, "out_of_memory")["fix"] == "gradient_checkpointing: true saves 1.0 GiB"
    assert runs.view(run).state == "failed"


def test_without_retries_a_failure_is_the_end(start):
    run = start(steps=30, fail_at=12)
    assert at_rest(run)["attempt"] == 1


def test_a_retry_goes_on_from_the_last_checkpoint(start, monkeypatch):
    run = start(job=dataclasses.replace(light_job(steps=30, hold_at=12), retries=1))
    at_step(run, 12)
    identity(run, "launcher").send(signal.SIGSEGV)
    until(lambda: (rundir.read_state(run) or {}).get("attempt") == 2)
    state = at_rest(run)
    assert (state["state"], state["attempt"], state["resume"]["step"]) == ("finished", 2, 10)
    assert len({line["current_steps"] for line in metrics_of(run)}) == 30
    assert "SIGSEGV" in events_of(run, "retried")[0]["after"]


def test_what_would_fail_again_is_not_retried(start):
    run = start(job=dataclasses.replace(light_job(steps=30, fail_at=12, fail_words="CUDA out of memory."), retries=3))
    assert at_rest(run)["attempt"] == 1
