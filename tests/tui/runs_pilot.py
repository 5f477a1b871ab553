"""What the tests of the Runs screen share."""

import math
import time
from typing import Any

from pilot import BenchPilot

from tuiwb import rundir
from tuiwb.base import settings
from tuiwb.rundir import MetricsWriter, RunDir
from tuiwb.tui.watch import CurvesSeen

SIZES = [(80, 24), (120, 40), (160, 50)]
"""Of the terminal."""


def finished_run(name: str = "tuned", *, steps: int = 60, state: str = "finished", **values: Any) -> RunDir:
    """A run at rest, with metrics, events and output."""
    run = RunDir(settings.runs_root() / rundir.new_run_id(name, "train"))
    run.path.mkdir(parents=True)
    started = time.time() - 500
    rundir.write_job(run, {"kind": "train", "name": name, "created": started, "input": {}, "total_steps": 60})
    machine = {"host": rundir.host_name(), "machine_id": rundir.machine_id(), "boot_id": rundir.boot_id()}
    rundir.write_state(run, state, machine=machine, **values)
    rundir.append_event(run, "launched", by="user")
    writer = MetricsWriter(run.part(1, "sft").metrics_file)
    for step in range(1, steps + 1):
        line = {"current_steps": step, "total_steps": 60, "time": started + step, "total_tokens": 100 * step}
        writer.write({**line, "loss": 3 * math.exp(-step / 20), "lr": 1e-4, "grad_norm": 1.0, "eval_loss": 2.0})
    run.output_file.write_bytes(b"loading\n 10%|#   |\r 90%|### |\nthe last line \x1b[31mred\n")
    return run


async def selected(pilot: BenchPilot) -> None:
    await pilot.until(lambda: pilot.of(CurvesSeen))
