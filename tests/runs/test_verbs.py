"""`tuiwb runs …` as people and scripts use it."""

import json

import pytest
from run_tools import at_rest, at_step, checkpoint, identity, kill, let_go, until

from tuiwb import rundir, runs
from tuiwb.cli.main import main


@pytest.fixture
def tuiwb(capsys):
    def call(*words):
        code = main(["runs", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def answer(tuiwb):
    def call(*words):
        code, out, _ = tuiwb(*words, "--json")
        return code, json.loads(out)

    return call


ABOUT = {"run_id", "kind", "state", "reason", "supervised", "attempt", "host"}
FIELDS = ABOUT | {"step", "total_steps", "metrics", "checkpoints", "alarms", "pids"}


def test_an_empty_list_says_what_to_do(tuiwb, answer):
    code, out, err = tuiwb("list")
    assert (code, out) == (0, "")
    assert "tuiwb train RECIPE" in err
    assert answer("list") == (0, [])
    code, out, err = tuiwb("show", "last")
    assert code == 2
    assert err == "tuiwb: there are no runs yet; `tuiwb train RECIPE` starts one\n"


def test_show_has_the_fields_of_the_page(start, answer):
    run = start(steps=30, hold_at=7, children=1)
    at_step(run, 7)
    until(lambda: runs.view(run).state == "running")
    code, shown = answer("show", "last")
    assert code == 0
    assert set(shown) >= FIELDS
    assert (shown["state"], shown["supervised"], shown["step"], shown["total_steps"]) == ("running", True, 7, 30)
    assert shown["checkpoints"][0] | {"step": 5, "valid": True} == shown["checkpoints"][0]
    assert shown["pids"]["wrapper"] == identity(run, "wrapper").pid
    assert shown["pids"]["launcher"] == identity(run, "launcher").pid
    assert len(shown["pids"]["workers"]) == 1
    let_go(run)
    at_rest(run)


def test_the_whole_way_on_the_command_line(start, tuiwb, answer):
    run = start(steps=30, hold_at=7)
    at_step(run, 7)
    code, asked = answer("save", "last", "--wait", "60")
    assert (code, asked["answer"]["checkpoint"]) == (0, "parts/1-main/checkpoint-7")
    code, asked = answer("pause", run.run_id[-6:], "--wait", "60")
    assert (code, asked["answer"]["state"]) == (0, "paused")
    let_go(run)
    assert answer("resume", "last") == (0, {"run_id": run.run_id, "run_dir": str(run.path)})
    code, out, err = tuiwb("tail", "last", "--until-end", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {line["type"] for line in lines} == {"metrics", "events"}
    assert {line["current_steps"] for line in lines if line["type"] == "metrics"} == set(range(1, 31))
    assert [line["event"] for line in lines if line["type"] == "events"][-1] == "ended"
    assert err == f"{run.run_id} finished\n"
    code, out, _ = tuiwb("list")
    assert "finished" in out
    assert "30/30" in out
    assert tuiwb("delete", "last")[0] == 0
    assert answer("list") == (0, [])
    assert tuiwb("restore", "last")[0] == 0
    assert [found["run_id"] for found in answer("list")[1]] == [run.run_id]
    code, cloned = answer("clone", "last")
    clone = runs.find(cloned["run_id"])
    (clone.path / "go").touch()
    assert at_rest(clone)["state"] == "finished"


def test_the_exit_code_tells_a_failed_run(start, tuiwb):
    run = start(steps=30, fail_at=3, fail_words="no \x1b[31mred\x1b[0m words")
    code, out, err = tuiwb("tail", "last", "--until-end")
    assert code == 5
    assert "\x1b" not in out + err
    assert "failed: no ␛[31mred␛[0m words" in err
    assert at_rest(run)["state"] == "failed"
    code, out, _ = tuiwb("list", "--state", "failed")
    assert "\x1b" not in out
    assert "red" in out
    assert "no run is in that state" in tuiwb("list", "--state", "running")[2]


def test_wrong_use_is_one_sentence(start, tuiwb):
    run = start(steps=3)
    at_rest(run)
    for words, sentence in {
        ("stop", "last"): f"tuiwb: {run.run_id} is finished, so there is nothing to stop\n",
        ("resume", "last"): f"tuiwb: {run.run_id} has finished; `tuiwb runs clone {run.run_id}` runs it again\n",
        ("show", "nobody"): "tuiwb: there is no run `nobody`; `tuiwb runs list` shows them\n",
        ("restore", "last"): "tuiwb: the trash is empty\n",
    }.items():
        assert tuiwb(*words) == (2, "", sentence)


def test_tail_shows_the_end_or_the_raw_log(start, tuiwb):
    run = start(steps=30)
    at_rest(run)
    _, out, _ = tuiwb("tail", "last", "-n", "2")
    assert [line.split()[2] for line in out.splitlines() if "1-main" in line] == [
        "current_steps=29",
        "current_steps=30",
    ]
    assert tuiwb("tail", "last", "--log") == (0, "training from step 0\n", "")


def test_a_broken_checkpoint_is_marked(start, tuiwb, answer):
    run = start(steps=10)
    at_rest(run)
    (checkpoint(run, 5) / "optimizer.pt").unlink()
    assert [found["valid"] for found in answer("show", "last")[1]["checkpoints"]] == [False, True]
    assert "optimizer missing" in tuiwb("show", "last")[1]


def test_a_failed_save_is_an_error(start, tuiwb):
    run = start(steps=30, hold_at=7, deaf=True)
    at_step(run, 7)
    code, _, err = tuiwb("save", "last", "--wait", "0.3")
    assert code == 5
    assert "has not answered yet" in err
    kill(identity(run, "launcher"))
    at_rest(run)
    assert rundir.pending_requests(run) == []


def test_the_run_that_was_deleted_last_comes_back_first(start, tuiwb):
    older, newer = start(steps=1), start(steps=1)
    for run in (older, newer):
        at_rest(run)
    for run in (newer, older):
        assert tuiwb("delete", run.run_id)[0] == 0
    for run in (older, newer):
        assert f"{run.run_id} is back" in tuiwb("restore", "last")[2]


def test_a_clone_with_changes_is_resolved_anew(start, tuiwb, monkeypatch):
    """The recipe as it was written, not the resolved one, is what is changed."""
    from tuiwb import recipe, resolve
    from tuiwb.runs import training

    run = start(steps=3)
    at_rest(run)
    job = rundir.read_job(run)
    stated = {"model_name_or_path": "m", "learning_rate": 1e-4, "datasets": [{"path": "/rows.jsonl"}]}
    run.job_file.write_text(json.dumps({**job, "source": stated, "input": {**stated, "lora_r": 99}}))
    seen = []
    monkeypatch.setattr(resolve, "assess", lambda recipe: seen.append(recipe) or recipe)
    monkeypatch.setattr(training, "train", lambda recipe: run)
    assert tuiwb("clone", "last", "--set", "learning_rate=3e-4", "--set", "name=second")[0] == 0
    assert recipe.to_plain(seen[0]) == {**stated, "learning_rate": 3e-4, "name": "second"}
    code, _, err = tuiwb("clone", "last", "--set", "learning_rat=1")
    assert code == 3
    assert "learning_rate" in err
