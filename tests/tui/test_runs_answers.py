"""What a model said while it was trained: on the Runs screen, and as a verb."""

import json
import time
from pathlib import Path

import pytest
from pilot import bench

from tuiwb import rundir, runs
from tuiwb.base import settings
from tuiwb.cli.main import main
from tuiwb.rundir import MetricsWriter, RunDir
from tuiwb.tui.screens.runs_answers import AnswersView, lines


def answering_run() -> RunDir:
    run = RunDir(settings.runs_root() / rundir.new_run_id("talks", "train"))
    run.path.mkdir(parents=True)
    rundir.write_job(run, {"kind": "train", "name": "talks", "created": time.time(), "input": {}, "total_steps": 40})
    machine = {"host": rundir.host_name(), "machine_id": rundir.machine_id(), "boot_id": rundir.boot_id()}
    rundir.write_state(run, "finished", machine=machine)
    part = run.part(1, "ppo")
    MetricsWriter(part.metrics_file).write({"current_steps": 1, "total_steps": 40, "time": time.time(), "loss": 1.0})
    answer(run, 20, "It is\nParis.", 1)
    answer(run, 20, "I sampled \x1b[31mthis.", 1, score=0.5, ended=False)
    return run


def answer(run: RunDir, step: int, text: str, attempt: int, **more: object) -> None:
    writer = MetricsWriter(run.part(1, "ppo").answers_file)
    shown = {"prompt": "Where?", "answer": text, "tokens": 4, "ended": True, **more}
    writer.write({"time": time.time(), "attempt": attempt, "current_steps": step, **shown})
    writer.close()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_answers_have_a_page_and_come_as_they_are_given(size: tuple[int, int]) -> None:
    run = answering_run()
    async with bench("runs", size=size) as pilot:
        await pilot.until(lambda: pilot.room.query_one("#answers", AnswersView).lines)
        await pilot.press("[")
        await pilot.until_text("ppo, step 20")
        text = pilot.text()
        for wanted in ("> Where?", "It is", "Paris.", "sampled, score 0.5", "cut at the longest length"):
            assert wanted in text, wanted
        assert "\x1b" not in text
        answer(run, 40, "It is London.", 1)
        await pilot.until_text("It is London.")
        assert "ppo, step 40" in pilot.text()


def test_what_was_answered_anew_replaces_what_was(capsys: pytest.CaptureFixture[str]) -> None:
    run = answering_run()
    answer(run, 20, "Rome.", 2)
    assert [one.answer for one in runs.answers(run)] == ["Rome."]
    run.part(1, "ppo").answers_file.open("ab").write(b'{"prompt": 1}\n{"torn')
    assert main(["runs", "answers", run.run_id, "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["answers"]
    wanted = {"part": "ppo", "step": 20, "prompt": "Where?", "answer": "Rome.", "tokens": 4, "ended": True}
    assert one == wanted | {"score": None}
    assert main(["runs", "answers", run.run_id]) == 0
    assert "> Where?\nRome." in capsys.readouterr().out


def test_a_run_without_any_says_how_to_have_some(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = answering_run()
    run.part(1, "ppo").answers_file.unlink()
    assert main(["runs", "answers", run.run_id]) == 0
    assert "sample_prompts" in capsys.readouterr().err
    assert lines(runs.answers(run)) == []
