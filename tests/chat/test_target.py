"""Which run is meant where somebody is talked to."""

import pytest

from tuiwb import rundir
from tuiwb.base import settings
from tuiwb.base.errors import InputFault
from tuiwb.chat.target import target_of
from tuiwb.rundir import RunDir


def make_run(number: int, kind: str) -> RunDir:
    run = RunDir(settings.runs_root() / f"20261122-00000{number}-{kind}-abcde{number}")
    run.path.mkdir(parents=True)
    rundir.write_job(run, {"kind": kind, "name": kind, "input": {}})
    rundir.write_state(run, "finished")
    return run


def test_last_is_the_newest_that_trains() -> None:
    trained = make_run(1, "train")
    make_run(2, "eval")
    make_run(3, "export")
    with pytest.raises(InputFault, match=f"run {trained.run_id} has no checkpoint yet"):
        target_of("last")


def test_a_run_that_trained_nothing_is_told_from_one_that_saved_nothing() -> None:
    measured = make_run(1, "eval")
    for ref in (measured.run_id, "last"):
        with pytest.raises(InputFault, match=f"run {measured.run_id} trained nothing .*`eval`"):
            target_of(ref)
