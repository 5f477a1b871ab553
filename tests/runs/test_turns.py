"""Waiting without a daemon: GPUs of which each has one run, runs that come after others, holds and priorities.

The GPUs are synthetic: a compiled stand-in for the driver's library, of which GPU 0 has a process of somebody else.
"""

import dataclasses
import itertools
import os
import sys
from pathlib import Path

import pytest
from run_tools import (
    HERE,
    at_rest,
    at_step,
    events_of,
    identity,
    kill,
    let_go,
    light_job,
    marked_anywhere,
    metrics_of,
    state_of,
    until,
)

from tuiwb import rundir, runs
from tuiwb.base.errors import UsageFault
from tuiwb.runs import leases, places
from tuiwb.runs.places import Wish, decide

sys.path.insert(0, str(HERE.parent / "hardware"))

from synthetic import compile_library


def wish(run_id, *, priority=0, since=0.0, count=1, among="01", ready=True):
    return Wish(run_id, priority, since, count, tuple(among), ready)


def test_free_gpus_are_taken_in_the_order_of_preference():
    assert decide(wish("a", count=2, among="312"), [], {"1": "is busy"}, {}).take == ("3", "2")


def test_too_few_free_gpus_say_why():
    decision = decide(wish("a", count=2), [], {"1": "is used by run b"}, {"1": "GPU 1"})
    assert (decision.take, decision.wait) == ((), "waits for 2 GPUs: GPU 1 is used by run b")


def test_who_came_first_or_counts_more_goes_first():
    mine = wish("b", since=2)
    assert decide(mine, [wish("a", since=1)], {}, {}).wait == "waits behind a"
    assert decide(mine, [wish("c", since=3)], {}, {}).take
    assert decide(mine, [wish("c", since=3, priority=5)], {}, {}).wait == "waits behind c with priority 5"


def test_nobody_waits_behind_a_run_that_could_not_go_or_wants_other_gpus():
    mine = wish("b", since=2)
    assert decide(mine, [wish("a", since=1, ready=False)], {}, {}).take
    assert decide(mine, [wish("a", since=1, among="23")], {}, {}).take


def test_a_run_that_needs_many_is_not_overtaken_for_ever():
    """One GPU is free, the run before us needs two: we wait with it."""
    assert decide(wish("b", since=2), [wish("a", since=1, count=2)], {"0": "is busy"}, {}).wait == "waits behind a"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpus(library, monkeypatch):
    def have(count: int) -> None:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("SYNTHETIC_NVML", f"gpus={count}")

    return have


@pytest.fixture
def want(start):
    """Launches a run that wants so many GPUs and holds at a step until it is let go."""

    def begin(count=1, **job):
        plan = {"steps": 6, "hold_at": 3, "save_every": 0}
        return start(job=dataclasses.replace(light_job(**plan), **{"gpus": None, "processes": count, **job}))

    def one_process(module, run_dir, *, processes=1, chosen=None):
        return [sys.executable, "-m", module, str(run_dir)]

    from tuiwb.runs import worker

    # What is tested is the waiting; torchrun would only make it slow.
    worker_argv = worker.worker_argv
    worker.worker_argv = one_process
    yield begin
    worker.worker_argv = worker_argv


def reason(run):
    return (rundir.read_state(run) or {}).get("reason", "")


def waits(run, words):
    until(lambda: state_of(run) == "queued" and words in reason(run))


def visible(run):
    environment = Path(f"/proc/{identity(run, 'launcher').pid}/environ").read_bytes().split(b"\0")
    return next(each.partition(b"=")[2].decode() for each in environment if each.startswith(b"CUDA_VISIBLE_DEVICES="))


def gpu(index):
    return f"GPU-{index:08}-0000-0000-0000-000000000000"


def test_one_gpu_has_one_run_and_the_next_waits_and_says_for_what(gpus, want):
    gpus(2)
    first = want()
    at_step(first, 3)
    assert visible(first) == gpu(1)  # somebody else works on GPU 0
    second = want()
    waits(second, f"GPU 1 is used by run {first.run_id}")
    assert "GPU 0 is used by process 4242 (1.0 GiB)" in reason(second)
    view = runs.view(second)
    assert (view.state, view.supervised) == ("queued", True)
    assert view.pids["launcher"] is None
    let_go(first)
    assert at_rest(first)["state"] == "finished"
    at_step(second, 3)
    assert visible(second) == gpu(1)
    let_go(second)
    assert at_rest(second)["state"] == "finished"
    assert leases.holder(gpu(1)) is None
    assert places.waiting() == []


def test_what_the_gpus_do_is_sampled(gpus, want):
    gpus(3)
    run = want()
    at_step(run, 3)

    def seen():
        found = [value["gpus"] for value in rundir.read_all(run.samples_file) if value.get("gpus")]
        return found[0] if found else None

    (only,) = until(seen)
    assert (only["uuid"], only["name"], only["index"]) == (gpu(1), "Synthetic GPU", 1)
    assert (only["utilisation"], only["memory_used"], only["memory_total"]) == (86, 2 << 30, 24 << 30)
    assert only["run_memory"] is None
    let_go(run)
    assert at_rest(run)["state"] == "finished"
    assert events_of(run, "swept") == []  # the sampler is nobody's orphan


def test_all_or_none_and_no_overtaking(gpus, want):
    gpus(3)
    one = want()
    at_step(one, 3)
    two = want(2)
    waits(two, "waits for 2 GPUs")
    assert leases.holder(gpu(1)) is None or leases.holder(gpu(2)) is None  # it keeps none while it waits
    three = want()
    waits(three, f"waits behind {two.run_id}")
    let_go(one)
    at_rest(one)
    at_step(two, 3)
    assert visible(two).split(",") == [gpu(1), gpu(2)]
    waits(three, "is used by run")
    let_go(two)
    at_rest(two)
    let_go(three)
    assert at_rest(three)["state"] == "finished"


def test_priority_goes_first(gpus, want):
    gpus(2)
    first = want()
    at_step(first, 3)
    low = want()
    waits(low, "is used by run")
    high = want(priority=5)
    waits(high, "is used by run")
    waits(low, f"waits behind {high.run_id} with priority 5")
    let_go(first)
    at_step(high, 3)
    assert state_of(low) == "queued"
    let_go(high)
    let_go(low)
    assert at_rest(low)["state"] == "finished"


def test_a_named_gpu_that_is_not_there(gpus, want):
    gpus(2)
    run = want(gpus=(7,))
    waits(run, "wants a GPU where this machine has none for it")
    assert runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)["state"] == "cancelled"


def test_a_lease_outlives_its_wrapper_as_long_as_the_run_does(gpus, want):
    gpus(2)
    first = want()
    at_step(first, 3)
    kill(identity(first, "wrapper"))
    assert leases.holder(gpu(1)) == first.run_id
    second = want()
    waits(second, f"GPU 1 is used by run {first.run_id}")
    until(lambda: runs.view(first).supervised)
    assert leases.holder(gpu(1)) == first.run_id
    kill(identity(first, "wrapper"))
    kill(identity(first, "launcher"))
    at_step(second, 3)
    let_go(second)
    assert at_rest(second)["state"] == "finished"
    assert at_rest(first)["state"] == "lost"


def test_a_waiting_wrapper_that_is_killed_keeps_its_place(gpus, want):
    gpus(2)
    first = want()
    at_step(first, 3)
    second = want()
    waits(second, "is used by run")
    since = rundir.read_state(second)["queued_since"]
    kill(identity(second, "wrapper"))
    assert places.waiting() == []
    until(lambda: runs.view(second).supervised and places.waiting())
    assert rundir.read_state(second)["queued_since"] == since
    let_go(first)
    let_go(second)
    assert at_rest(second)["state"] == "finished"
    assert len(events_of(second, "started")) == 1


def test_many_want_the_same_gpu_and_never_have_it_together(gpus, want):
    gpus(2)
    waiting = [want() for _ in range(4)]
    for run in waiting:
        let_go(run)
    for run in waiting:
        assert at_rest(run)["state"] == "finished"
        assert len(metrics_of(run)) == 6
    spans = sorted((events_of(run, "started")[0]["time"], events_of(run, "ended")[0]["time"]) for run in waiting)
    for (_, ended), (started, _) in itertools.pairwise(spans):
        assert started >= ended - 0.5  # the lease goes back when the processes are gone, just before the end is told
    assert leases.holder(gpu(1)) is None


def test_ending_a_run_that_waits(gpus, want):
    gpus(2)
    first = want()
    at_step(first, 3)
    for verb, state in {"cancel": "cancelled", "stop": "stopped", "pause": "paused"}.items():
        run = want()
        waits(run, "is used by run")
        answer = runs.answer(run, runs.ask(run.run_id, verb), wait_s=60)
        assert (answer["state"], answer["reason"]) == (state, "before it began")
    let_go(first)
    at_rest(first)
    runs.resume(run.run_id)
    (run.path / "go").touch()
    assert at_rest(run)["state"] == "finished"
    assert marked_anywhere(run) == []


def test_hold_and_let_go(start):
    run = start(job=dataclasses.replace(light_job(steps=3), held=True))
    waits(run, "is held")
    runs.resume(run.run_id)
    assert at_rest(run)["state"] == "finished"
    with pytest.raises(UsageFault, match="only a run that waits can be held"):
        runs.hold(run.run_id)


def test_a_run_after_another(start):
    first = start(steps=6, hold_at=3)
    second = start(job=dataclasses.replace(light_job(steps=3), after=(first.run_id,)))
    waits(second, f"waits for {first.run_id}, which is ")
    runs.hold(second.run_id)
    waits(second, "is held")
    let_go(first)
    at_rest(first)
    assert state_of(second) == "queued"
    runs.resume(second.run_id)
    assert at_rest(second)["state"] == "finished"


def test_a_bad_end_holds_what_comes_after(start):
    first = start(steps=6, fail_at=3)
    second = start(job=dataclasses.replace(light_job(steps=3), after=(first.run_id,)))
    waits(second, f"waits for {first.run_id}, which is failed; cancel it, or `tuiwb runs resume` to go on all the same")
    runs.resume(second.run_id)
    assert at_rest(second)["state"] == "finished"


def test_a_run_without_gpus_never_sees_one(start):
    run = start(steps=6, hold_at=3)
    at_step(run, 3)
    assert visible(run) == ""
    let_go(run)
    at_rest(run)


def test_where_there_is_no_driver_nobody_waits(want):
    assert "LD_LIBRARY_PATH" not in os.environ
    run = want()
    at_step(run, 3)
    let_go(run)
    assert at_rest(run)["state"] == "finished"
