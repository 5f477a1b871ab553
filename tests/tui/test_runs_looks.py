"""The Runs screen shows what is: no load of a run that has ended, no filter after Escape."""

import json

from pilot import bench
from runs_pilot import finished_run


async def test_a_run_that_has_ended_has_no_share_of_the_machine() -> None:
    run = finished_run("tuned")
    run.samples_file.write_text(json.dumps({"time": 0.0, "run_cpu": 100.0, "run_memory": 1 << 30}) + "\n")
    async with bench("runs", size=(100, 30)) as pilot:
        await pilot.until_text("tuned")
        await pilot.press("]")
        await pilot.until_text("processors")
        assert "This run" not in pilot.text()


async def test_escape_shows_all_runs_again() -> None:
    finished_run("first")
    finished_run("second")
    async with bench("runs", size=(100, 30)) as pilot:
        await pilot.until_text("second")
        await pilot.press("slash")
        await pilot.enter("first")
        await pilot.press("enter")
        await pilot.until(lambda: "1 of 2" in pilot.text())
        await pilot.press("escape")
        await pilot.until(lambda: "1 of 2" not in pilot.text() and "second" in pilot.text())
