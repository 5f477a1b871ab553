"""From a run to the very rows that it learned from, and what is said when they are no longer what they were."""

import json
import time
from pathlib import Path

import numpy as np
from pilot import bench

from tuiwb import data, rundir
from tuiwb.base import settings
from tuiwb.data import record
from tuiwb.recipe import DatasetEntry
from tuiwb.rundir import RunDir


def run_of(path: Path, rows: list[int]) -> RunDir:
    run = RunDir(settings.runs_root() / rundir.new_run_id("tuned", "train"))
    run.path.mkdir(parents=True)
    rundir.write_job(run, {"kind": "train", "name": "tuned", "created": time.time(), "input": {}})
    machine = {"host": rundir.host_name(), "machine_id": rundir.machine_id(), "boot_id": rundir.boot_id()}
    rundir.write_state(run, "finished", machine=machine)
    entry = DatasetEntry(path=str(path))
    epoch = np.array([[0, row] for row in rows], np.int64)
    one = record.RowSet(record.TRAINING, (entry,), (data.open(path).fingerprint,), epoch)
    record.write(run.part(1, "sft").path, [one])
    return run


async def test_the_rows_of_a_run_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"question {n}", "completion": "yes"}) + "\n" for n in range(9)))
    run = run_of(path, [7, 2, 7, 5])
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until(lambda: pilot.room.current is not None)
        await pilot.press("d")
        await pilot.until_text("4 training of")
        screen = pilot.room
        assert [screen.pages.number(at) for at in range(4)] == [7, 2, 7, 5]
        await pilot.until_text("question 7")
        assert "question 3" not in pilot.text()

        with path.open("a") as file:
            file.write('{"prompt": "new", "completion": "no"}\n')
        await pilot.press("4")
        await pilot.until(lambda: pilot.app.current_room == "runs")
        await pilot.press("d")
        await pilot.until(lambda: any("has changed since the run" in toast for toast in pilot.toasts()))
    assert run.path.is_dir()
