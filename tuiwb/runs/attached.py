"""The worker of an attached run: `python -m tuiwb.runs.attached RUN_DIR`. It watches a training that somebody else has
started, and touches it in no way: a stop ends the watching alone."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import BeatWriter, Identity, MetricsWriter, RunDir
from tuiwb.runs import foreign

EVERY_S = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    run = RunDir(Path((arguments or sys.argv[1:])[0]).absolute())
    asked = rundir.read_job(run).get("input") or {}
    part = run.part(1, "watch")
    process = Identity.from_json(asked.get("process"))
    folder = Path(asked["folder"]) if asked.get("folder") else None
    beats, metrics = BeatWriter(run), MetricsWriter(part.metrics_file)
    source: foreign.Source | None = None
    step, total = 0, None
    beats.beat("wait")
    while True:
        alive = process is not None and process.alive()  # asked before reading: what it wrote last is read after it
        if source is None and folder is not None and (source := foreign.source_of(folder)) is not None:
            rundir.append_event(run, "found", by="worker", source=source.name, folder=str(folder))
        for line in source.read() if source is not None else ():
            metrics.write(line)
            step = int(line.get("current_steps") or step)
            total = line.get("total_steps") or total
        if source is not None:
            beats.beat("train", step, total)
        if not alive or _asked_to_end(run):
            said = "the process has ended" if process is not None and not alive else "watched to its end"
            rundir.write_result(run, part, "finished", step=step, message=said)
            return 0
        time.sleep(EVERY_S)


def _asked_to_end(run: RunDir) -> bool:
    ends = False
    for request in rundir.pending_requests(run):
        if request.verb == "save":
            rundir.acknowledge(run, request, problem="a process that was not started here cannot be asked to save")
            continue
        ends = True
        rundir.acknowledge(run, request)
    return ends


def watched(job: dict[str, Any]) -> int | None:
    """The process that a job watches, where it still runs."""
    process = Identity.from_json((job.get("input") or {}).get("process")) if job.get("kind") == "watch" else None
    return process.pid if process is not None and process.alive() else None


if __name__ == "__main__":
    sys.exit(main())
