"""The list of the Runs screen: what is in it, what is done to runs that wait, the machine that they share."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pilot import bench
from runs_pilot import SIZES, finished_run, selected

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))
sys.path.insert(0, str(Path(__file__).parents[1] / "hardware"))

from run_tools import at_rest, light_job, state_of
from synthetic import compile_library

from tuiwb import rundir, runs
from tuiwb.tui.watch import HardwareSeen


async def test_deleting_goes_to_the_trash_and_back() -> None:
    run = finished_run("precious")
    async with bench("runs", size=(100, 30)) as pilot:
        await pilot.until_text("precious")
        await pilot.press("D")
        await pilot.until_text("Delete precious?")
        await pilot.press("y")
        await pilot.until_text("There are no runs yet.")
        assert not run.path.exists()
        await pilot.press("u")
        await pilot.until_text("precious")
        assert run.path.exists()


async def test_the_list_has_the_keys_again_when_it_comes_back() -> None:
    only = finished_run("only")
    async with bench("runs", size=(80, 24)) as pilot:
        await pilot.until_text("only")
        runs.delete(only.run_id)
        await pilot.until_text("There are no runs yet.")
        finished_run("older")
        finished_run("newer")
        await pilot.until_text("newer")
        await pilot.until(lambda: pilot.room.focused is not None)
        at = pilot.room.query_one("#runs").cursor
        await pilot.press("up" if at else "down")
        await pilot.until(lambda: pilot.room.query_one("#runs").cursor == 1 - at)


@pytest.mark.parametrize("size", SIZES)
async def test_all_that_a_run_waits_for_can_be_read(size: tuple[int, int]) -> None:
    reason = "waits for 2 GPUs: " + "; ".join(f"GPU {at} is used by run 20261122-alpha-{at:06}" for at in range(4))
    finished_run("patient", state="paused", reason=reason)
    async with bench("runs", size=size) as pilot:
        await pilot.until_text("alpha-000003")
        lines = [line.strip("│ ") for line in pilot.text().splitlines()]
        assert reason in " ".join(lines).replace("  ", " ")


async def test_the_gpus_keep_their_past_while_another_page_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(compile_library(tmp_path)))
    monkeypatch.setenv("SYNTHETIC_NVML", "gpus=2,wander")
    finished_run()

    def looks() -> int:
        seen = pilot.of(HardwareSeen)
        return len(next(iter(seen[-1].past.values()), ())) if seen else 0

    async with bench("runs", size=(120, 40)) as pilot:
        await selected(pilot)
        await pilot.press("right_square_bracket")
        await pilot.until(looks)
        await pilot.until_text("Synthetic GPU")
        await pilot.press("left_square_bracket")
        before, posted = looks(), len(pilot.of(HardwareSeen))
        await pilot.until(
            lambda: len(pilot.room._watch._past[pilot.of(HardwareSeen)[-1].gpus.gpus[0].uuid]) > before + 2
        )
        assert len(pilot.of(HardwareSeen)) <= posted + 1  # nothing is drawn that nobody sees
        await pilot.press("right_square_bracket")
        await pilot.until(lambda: looks() > before + 2)


async def test_the_filter_leaves_the_runs_that_match() -> None:
    finished_run("alpha")
    finished_run("beta", state="failed", reason="the loss went away")
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("alpha")
        await pilot.press("slash")
        await pilot.enter("failed")
        await pilot.press("enter")
        await pilot.until(lambda: "alpha" not in pilot.text())
        assert "beta" in pilot.text()
        await pilot.until_text("the loss went away")


async def test_notes_and_tags_are_kept_and_sorted_by() -> None:
    run = finished_run("alpha")
    finished_run("beta")
    async with bench("runs", size=(160, 50)) as pilot:
        await selected(pilot)
        await pilot.until_text("beta")
        await pilot.press("j")
        await pilot.until(lambda: pilot.app.workspace.run_id == run.run_id)
        await pilot.press("e")
        await pilot.enter("the good one #keep")
        await pilot.press("enter")
        await pilot.until(lambda: rundir.read_labels(run) == {"notes": "the good one", "tags": ["keep"]})
        await pilot.until_text("the good one #keep")
        for _ in range(4):
            await pilot.press("v")
        await pilot.until_text("by tag")
        listed = [each if isinstance(each, str) else each.name for each in pilot.room._listed]
        assert listed == ["#keep · 1", "alpha", "without tags · 1", "beta"]
        await pilot.until_text("#keep · 1")
        other = next(view for view in pilot.room.views if view.name == "beta")
        await pilot.press("j")  # over the heading
        await pilot.until(lambda: pilot.app.workspace.run_id == other.run_id)
        await pilot.press("g")
        await pilot.until(lambda: pilot.app.workspace.run_id == run.run_id)


async def test_a_run_that_waits_is_held_and_let_go() -> None:
    first = runs.launch(light_job(steps=100_000, step_s=0.01, save_every=1_000_000))
    second = runs.launch(replace(light_job(steps=1), after=(first.run_id,), name="second"))
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text(f"waits for {first.run_id}, which is running")
        await pilot.press("H")
        await pilot.until_text("is held")
        await pilot.press("r")
        await pilot.until(lambda: state_of(second) == "finished" == pilot.room.current.state)
        await pilot.press("H")
        await pilot.until(lambda: "second is finished: only a run that waits can be held." in pilot.toasts())
    runs.ask(first.run_id, "cancel")
    at_rest(first)


async def test_a_folder_of_another_trainer_is_opened(tmp_path: Path) -> None:
    with (tmp_path / "trainer_log.jsonl").open("w") as file:
        for step in range(1, 41):
            line = {"current_steps": step, "total_steps": 40, "loss": 3 - step / 20, "elapsed_time": f"0:00:{step:02}"}
            file.write(json.dumps(line) + "\n")
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("There are no runs yet.")
        await pilot.press("A")
        await pilot.until_text("Watch a training that was started elsewhere")
        await pilot.enter(str(tmp_path / "nowhere"))
        await pilot.press("enter")
        await pilot.until(lambda: any("there is no folder" in toast for toast in pilot.toasts()))
        await pilot.press("A")
        await pilot.enter(str(tmp_path))
        await pilot.press("enter")
        await pilot.until_text("step 40 of 40")
        await pilot.until(lambda: pilot.room.current.state == "finished")
        await pilot.press("equals_sign")
        await pilot.until_text("best 1 at 40")
        assert "differ" not in pilot.text()


async def test_a_process_that_is_watched_is_asked_for_nothing_that_it_cannot_do() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        try:
            async with bench("runs", size=(120, 40)) as pilot:
                await pilot.until_text("There are no runs yet.")
                await pilot.press("A")
                await pilot.enter(str(other.pid))
                await pilot.press("enter")
                await pilot.until(lambda: pilot.room.current and pilot.room.current.state == "running")
                await pilot.press("w")
                await pilot.until(lambda: any("it cannot be asked to save" in toast for toast in pilot.toasts()))
                await pilot.press("x")
                await pilot.until_text("Only the watching ends; the training goes on.")
                await pilot.press("escape", "s")
                await pilot.until(lambda: "It is watched no longer." in pilot.toasts())
                await pilot.until(lambda: pilot.room.current.state == "finished")
            assert other.poll() is None
        finally:
            other.kill()
