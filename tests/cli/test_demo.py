"""`tuiwb demo` without a terminal, on the tiny model under the real one's name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuiwb.base import settings
from tuiwb.cli.demo import loss_curve


@pytest.fixture
def demo_model(tiny_model: Path) -> Path:
    return Path(shutil.copytree(tiny_model, settings.models_root() / "smollm2-135m-instruct"))


def _demo(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tuiwb", "demo", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


def _events(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.torch
def test_the_whole_path_and_then_what_it_left(demo_model: Path) -> None:
    done = _demo("--json")
    assert done.returncode == 0, done.stderr
    events = _events(done)
    kinds = [event["event"] for event in events if event["event"] not in ("phase", "metrics")]
    assert kinds == ["plan", "row", "row", "run", "trained", *["answer"] * 6, "done"]
    assert next(event for event in events if event["event"] == "run")["how"] == "launched"
    losses = [event["loss"] for event in events if event["event"] == "metrics" and "loss" in event]
    assert len(losses) > 50
    assert losses[-1] < losses[0]
    rows = [event for event in events if event["event"] == "row"]
    assert all(
        "".join(part["text"] for part in row["segments"] if part["trained"]).startswith("NAME: ") for row in rows
    )
    answers = [event for event in events if event["event"] == "answer"]
    assert {answer["lane"] for answer in answers} == {"base", "tuned"}
    assert len({answer["question"] for answer in answers}) == 3
    assert events[-1]["asked"] == 3
    run_id = events[-1]["run_id"]

    told = _demo()  # no terminal: the story, and the run that is there
    assert told.returncode == 0, told.stderr
    assert f"{run_id} was trained before" in told.stdout
    assert [word in told.stdout for word in ("before: no page", "after: ", "in the form")] == [True] * 3
    assert "\x1b" not in told.stdout + told.stderr


def test_a_training_that_fails_is_said_with_the_run_and_the_exit_code_of_a_run(demo_model: Path) -> None:
    failed = _demo("--json", TUIWB_WORKER_PYTHON="/bin/false")
    assert failed.returncode == 5, failed.stderr
    *_, error = _events(failed)
    assert "did not finish, it is failed" in error["error"]
    run = next(event for event in _events(failed) if event["event"] == "run")
    assert run["run_id"] in error["error"]
    # A run that failed is not taken for the demo's.
    again = next(
        event for event in _events(_demo("--json", TUIWB_WORKER_PYTHON="/bin/false")) if event["event"] == "run"
    )
    assert again["how"] == "launched"
    assert again["run_id"] != run["run_id"]


def test_a_loss_curve_in_one_line() -> None:
    assert loss_curve([4.0, 3.0, 2.0, 1.0], 20) == "█▆▃▁"
    assert loss_curve([1.0], 20) == "▁"
    assert loss_curve([2.0, 2.0], 20) == "▁▁"
    assert len(loss_curve([float(number) for number in range(1000)], 20)) == 20
