"""What can be done with the checkpoints of a run, and with several runs side by side."""

import json

import pytest
from run_tools import at_rest, checkpoint, events_of, losses

from tuiwb import rundir, runs
from tuiwb.base.errors import UsageFault
from tuiwb.cli.main import main
from tuiwb.runs import comparing


def steps_of(run):
    return [each.step for each in runs.view(run).checkpoints]


def test_pruning_keeps_the_newest_and_the_best_and_says_what_goes(start, capsys):
    run = start(steps=30)
    at_rest(run)
    assert steps_of(run) == [5, 10, 15, 20, 25, 30]
    assert all(each.loss is not None for each in runs.view(run).checkpoints)
    rundir.append_event(run, "saved", part="main", step=10, eval_loss=0.5)
    rundir.append_event(run, "saved", part="main", step=20, eval_loss=0.9)
    rundir.quarantine(checkpoint(run, 5))
    assert main(["runs", "prune", "last", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(steps_of(run)) == 5
    assert main(["runs", "prune", "last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told | {"dry_run": False}
    assert steps_of(run) == [10, 30]
    assert not list(run.part(1, "main").path.glob("broken-*"))
    assert events_of(run, "pruned")[0]["bytes"] == told["bytes"]
    with pytest.raises(UsageFault, match="at least one"):
        runs.removable(run, keep=0)


def test_an_earlier_checkpoint_can_be_gone_back_to(start):
    run = start(steps=30, fail_at=22)
    at_rest(run)
    with pytest.raises(UsageFault, match="no checkpoint of step 7"):
        runs.resume(run.run_id, step=7)
    runs.resume(run.run_id, step=10)
    state = at_rest(run)
    assert (state["attempt"], state["resume"]["step"]) == (2, 10)
    assert checkpoint(run, 10).exists()
    assert checkpoint(run, 15).with_name("aside-checkpoint-15").exists()
    assert sorted(losses(run)) == list(range(1, 23))  # it fails at 22 again


def test_runs_are_compared(start, capsys):
    first, second = start(steps=5), start(steps=8)
    at_rest(first)
    at_rest(second)
    assert main(["runs", "compare", first.run_id, second.run_id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"]["steps"] == {first.run_id: 5, second.run_id: 8}
    loss = found["metrics"]["loss"]
    assert loss["better"] == "lower"
    assert loss[second.run_id]["best"] == min(losses(second).values())
    assert loss[first.run_id]["last"] == losses(first)[5]
    assert main(["runs", "compare", first.run_id, "--json"]) == 0  # one has its best values too
    alone = json.loads(capsys.readouterr().out)
    assert (alone["differences"], alone["metrics"]["loss"][first.run_id]) == ({}, loss[first.run_id])


def test_which_way_is_better():
    ways = {"loss": "lower", "eval_loss": "lower", "rewards/accuracies": "higher", "objective/kl": "lower", "lr": None}
    assert {name: comparing.better(name) for name in ways} == ways


def test_notes_replace_those_of_the_recipe(start, capsys):
    run = start(steps=3)
    at_rest(run)
    assert main(["runs", "note", "last", "worth keeping", "--tag", "a", "--tag", "b"]) == 0
    assert capsys.readouterr().out == "worth keeping #a #b\n"
    assert main(["runs", "note", "last", "--tag", "c", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == "worth keeping"
    (view,) = runs.scan()
    assert (view.notes, view.tags) == ("worth keeping", ("c",))
