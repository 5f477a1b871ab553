"""The Runs screen on real runs: a light worker (tests/runs) under the real wrapper."""

import math
import re
import sys
import time
from pathlib import Path

import pytest
from pilot import bench
from runs_pilot import SIZES, finished_run, selected

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))

from run_tools import at_rest, at_step, light_job, state_of

from tuiwb import rundir, runs
from tuiwb.rundir import MetricsWriter
from tuiwb.tui.log_tail import LogTail
from tuiwb.tui.watch import CurvesSeen
from tuiwb.tui.widgets.log_view import LogView


@pytest.mark.parametrize("size", SIZES)
async def test_without_runs_the_screen_says_what_to_press(size: tuple[int, int]) -> None:
    async with bench("runs", size=size) as pilot:
        await pilot.until_text("There are no runs yet.")
        assert "tuiwb train RECIPE" in pilot.text()
        await pilot.press("s")
        assert "No run is selected." in pilot.toasts()


@pytest.mark.parametrize("size", SIZES)
async def test_a_finished_run_shows_state_values_and_curves(size: tuple[int, int]) -> None:
    finished_run()
    async with bench("runs", size=size) as pilot:
        await pilot.until_text("learning rate")
        text = pilot.text()
        for wanted in ("tuned", "finished", "step 60 of 60", "100 %", "eval loss 2", "loss 0.149"):
            assert wanted in text, wanted
        assert re.search("[\u2801-\u28ff]{5}", text), "no braille"


async def test_metrics_are_on_the_screen_as_they_are_logged() -> None:
    # How late they are is measured: benchmarks/watching.py.
    run = runs.launch(light_job(steps=100_000, step_s=0.05))
    try:
        async with bench("runs", size=(100, 30)) as pilot:
            await selected(pilot)
            for _ in range(3):
                newest = rundir.last_line(run.part(1, "main").metrics_file)
                step = int(newest["current_steps"]) if newest else 0
                await pilot.until(lambda step=step: pilot.of(CurvesSeen)[-1].last.get("current_steps", 0) >= step)  # type: ignore[misc]
            await pilot.until_text("● running")
    finally:
        runs.ask(run.run_id, "cancel")
        at_rest(run)


async def test_stop_saves_and_resume_goes_on() -> None:
    run = runs.launch(light_job(steps=100_000, step_s=0.01))
    at_step(run, 3)
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("● running")
        await pilot.press("r")
        assert any("is running already" in toast for toast in pilot.toasts())
        await pilot.press("s")
        await pilot.until(lambda: state_of(run) == "stopped")
        await pilot.until_text("· stopped")
        await pilot.press("s")
        assert any("there is nothing to stop" in toast for toast in pilot.toasts())
        await pilot.press("r")
        await pilot.until_text("attempt 2")
        await pilot.until_text("● running")
        await pilot.press("x")
        await pilot.until_text("What came after its last checkpoint is lost.")
        await pilot.press("y")
        await pilot.until(lambda: state_of(run) == "cancelled")
        await pilot.until_text("cancelled")


async def test_cancel_is_not_done_without_a_yes() -> None:
    run = runs.launch(light_job(steps=100_000, step_s=0.01, save_every=1_000_000))
    at_step(run, 2)
    async with bench("runs", size=(100, 30)) as pilot:
        await pilot.until_text("● running")
        await pilot.press("x")
        await pilot.until_text("all its work is lost")
        await pilot.press("enter")  # the default is No
        await pilot.until_text("● running")
        assert state_of(run) == "running"
        assert not rundir.all_requests(run)
    runs.ask(run.run_id, "cancel")
    at_rest(run)


async def test_the_pages_show_log_events_and_checkpoints() -> None:
    finished_run()
    async with bench("runs", size=(100, 30)) as pilot:
        await selected(pilot)
        await pilot.press("right_square_bracket")
        await pilot.until_text("Host")
        await pilot.until_text("GPUs")
        await pilot.press("right_square_bracket")
        await pilot.until_text("the last line ␛[31mred")
        assert "90%|###" in pilot.text()
        assert "10%|#" not in pilot.text()
        await pilot.press("right_square_bracket")
        await pilot.until_text("launched")
        await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await pilot.until_text("learning rate")


async def test_the_selected_run_is_shared_and_remembered() -> None:
    finished_run("alpha")
    newer = finished_run("beta")
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until(lambda: pilot.app.workspace.run_id is not None)
        await pilot.press("j")
        await pilot.until(lambda: pilot.app.workspace.run_id != newer.run_id)
        chosen = pilot.app.workspace.run_id
        await pilot.press("right_square_bracket", "q")
    async with bench(size=(120, 40)) as pilot:
        assert pilot.app.current_room == "runs"
        await pilot.until(lambda: pilot.app.workspace.run_id == chosen)
        assert pilot.room.page == "hardware"


async def test_the_log_follows_its_end_until_the_user_scrolls_up() -> None:
    run = finished_run()
    async with bench("runs", size=(100, 30)) as pilot:
        await selected(pilot)
        await pilot.press("right_square_bracket", "right_square_bracket")
        with run.output_file.open("ab") as log:
            log.write(b"".join(b"line %d\n" % number for number in range(500)))
        await pilot.until_text("line 499")
        pilot.app.screen.query_one("#log", LogView).focus()
        await pilot.press("g")
        await pilot.until_text("loading")
        with run.output_file.open("ab") as log:
            log.write(b"new\n")
        view = pilot.app.screen.query_one("#log", LogView)
        await pilot.until(lambda: view.lines[-1] == "new")
        assert "loading" in pilot.text()
        await pilot.press("G")
        await pilot.until_text("new")


def test_a_log_that_was_cut_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "output.log"
    tail = LogTail(file)
    assert tail.read() == ([], False)
    file.write_bytes(b"one\ntw")
    assert tail.read() == (["one"], True)
    with file.open("ab") as more:
        more.write(b"o\nbad \xff\n")
    assert tail.read() == (["two", "bad \N{REPLACEMENT CHARACTER}"], False)
    file.write_bytes(b"x\n")
    assert tail.read() == (["x"], True)


async def test_a_page_without_content_says_so_and_what_to_press() -> None:
    finished_run(steps=0, state="failed")
    async with bench("runs", size=(80, 24)) as pilot:
        await pilot.until_text("no step was logged")
        assert "]: the log and the events" in pilot.text()
        for _ in range(2):
            await pilot.press("]")
        await pilot.until_text("the last line")
        for _ in range(2):
            await pilot.press("]")
        await pilot.until_text("It saved no checkpoint.")


async def test_an_event_is_read_whole() -> None:
    run = finished_run()
    long = "647 rows are longer than max_length and were cut, " * 3 + "to the end"
    rundir.append_event(run, "data_problem", by="worker", part="sft", message=long)
    async with bench("runs", size=(80, 24)) as pilot:
        await selected(pilot)
        for _ in range(3):
            await pilot.press("]")
        await pilot.until_text("647 rows")
        assert "to the end" not in pilot.text()
        await pilot.press("enter", "G", "enter")
        await pilot.until_text("to the end")


def test_the_loss_of_a_run_outlasts_the_line_of_an_evaluation() -> None:
    run = finished_run()
    writer = MetricsWriter(run.part(1, "sft").metrics_file)
    writer.write({"current_steps": 60, "total_steps": 60, "time": time.time(), "attempt": 1, "eval_loss": 1.5})
    (view,) = runs.scan()
    assert view.metrics["loss"] == pytest.approx(3 * math.exp(-3))
    assert view.metrics["eval_loss"] == 1.5
    assert "attempt" not in view.metrics


async def test_a_run_that_is_launched_again_is_the_one_that_is_watched() -> None:
    run = runs.launch(light_job(steps=2))
    at_rest(run)
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("✓ finished")
        await pilot.press("n")
        await pilot.until(lambda: len(pilot.room.views) == 2)
        await pilot.until(lambda: pilot.room.current is not None and pilot.room.current.run_id != run.run_id)
        again = pilot.room.current.run
    at_rest(again)


async def test_a_run_is_changed_on_the_train_screen_and_launched_again_from_there() -> None:
    run = finished_run()
    stated = {"name": "tuned", "stage": "sft", "model_name_or_path": "nowhere", "learning_rate": 3e-4}
    rundir.write_job(run, {**rundir.read_job(run), "source": stated})
    async with bench("runs", size=(120, 40)) as pilot:
        await selected(pilot)
        await pilot.press("N")
        await pilot.until_text("again tuned")
        await pilot.until(lambda: pilot.app.workspace.recipe is not None)
        assert pilot.app.workspace.recipe.learning_rate == 3e-4
        assert pilot.app.workspace.changed
        assert pilot.app.current_room == "train"


async def test_talk_goes_to_the_selected_run_whoever_was_talked_to_before() -> None:
    run = finished_run()
    async with bench("runs", size=(100, 30)) as pilot:
        await selected(pilot)
        pilot.app.session.layout["chat"] = {"whom": "another", "template": "theirs", "side": False}
        await pilot.press("t")
        await pilot.until(lambda: pilot.app.current_room == "chat")
        await pilot.until(lambda: any(run.run_id in toast for toast in pilot.toasts()))  # it has no checkpoint


async def test_an_alarm_is_seen_in_the_list_the_header_and_a_toast() -> None:
    spoilt = {str(step): {"loss": "NaN"} for step in range(5, 100_000, 500)}  # shown for a minute each time
    run = runs.launch(light_job(steps=100_000, step_s=0.02, logs=spoilt))
    try:
        async with bench("runs", size=(120, 40)) as pilot:
            await pilot.until_text("! the loss is NaN at step")
            await pilot.until(lambda: any("the loss is NaN" in toast for toast in pilot.toasts()))
            await pilot.until_text("! light: alarm")
    finally:
        runs.ask(run.run_id, "cancel")
        at_rest(run)


async def test_a_long_line_of_the_log_is_folded() -> None:
    run = finished_run()
    run.output_file.write_text("word " * 60 + "the end of it\n")
    async with bench("runs", size=(80, 24)) as pilot:
        await selected(pilot)
        await pilot.press("right_square_bracket", "right_square_bracket")
        await pilot.until_text("the end of it")
