"""Which runs are listed and in which order, on the screen and by `tuiwb runs list`."""

from pathlib import Path

import pytest

from tuiwb import rundir, runs
from tuiwb.base import settings
from tuiwb.cli.main import main
from tuiwb.rundir import MetricsWriter, RunDir
from tuiwb.runs import order

MACHINE = {"host": rundir.host_name(), "machine_id": rundir.machine_id(), "boot_id": rundir.boot_id()}


@pytest.fixture(autouse=True)
def several(tmp_path: Path) -> None:
    """Four runs at rest, the newest first: d, c, b, a."""
    for name, state, loss, tags, notes in (
        ("a", "finished", 2.0, ["keep", "night"], ""),
        ("b", "failed", float("nan"), [], "too warm"),
        ("c", "finished", 1.0, ["keep"], ""),
        ("a", "stopped", 3.0, [], ""),
    ):
        run = RunDir(settings.runs_root() / rundir.new_run_id(name, "train"))
        run.path.mkdir(parents=True)
        rundir.write_job(run, {"kind": "train", "name": name, "tags": tags, "notes": notes, "input": {}})
        rundir.write_state(run, state, machine=MACHINE)
        MetricsWriter(run.part(1, "sft").metrics_file).write({"current_steps": 1, "time": 1.0, "loss": loss})


def listed(by: str) -> list[str]:
    return [each if isinstance(each, str) else each.name for each in order.ordered(runs.scan(), by)]


def test_each_order_and_its_groups() -> None:
    assert listed("age") == ["a", "c", "b", "a"]
    assert listed("state") == ["b", "c", "a", "a"]
    assert listed("loss") == ["c", "a", "a", "b"]  # what is no number comes last
    assert listed("recipe") == ["a · 2", "a", "a", "b · 1", "b", "c · 1", "c"]
    assert listed("tag") == ["#keep · 1", "c", "#keep #night · 1", "a", "without tags · 2", "a", "b"]


@pytest.mark.parametrize(
    ("words", "found"),
    [("", "acba"), ("#keep", "ca"), ("#kee", ""), ("keep night", "a"), ("WARM", "b"), ("stopped", "a")],
)
def test_words_choose_runs(words: str, found: str) -> None:
    assert "".join(view.name for view in runs.scan() if order.matches(view, words)) == found


def test_the_verb_lists_as_the_screen_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", "--by", "tag", "#keep"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].rsplit("-", 1)[0][16:] or line for line in lines[1:]] == [
        "#keep · 1",
        "c",
        "#keep #night · 1",
        "a",
    ]
    assert main(["runs", "list", "nobody"]) == 0
    assert "none of 4 runs has all of these words" in capsys.readouterr().err
