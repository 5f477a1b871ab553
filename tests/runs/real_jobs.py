"""Jobs of the real trainer with the tiny model, on the processor."""

import sys
from pathlib import Path
from typing import Any

from run_tools import HERE

from tuiwb import rundir
from tuiwb.recipe.files import to_plain
from tuiwb.rundir import RunDir
from tuiwb.runs import Job

sys.path.insert(0, str(HERE.parent / "workers"))

from training import recipe_of, write_rows


def real_job(model: Path, folder: Path, *, processes: int = 1, **keys: Any) -> Job:
    """A fine-tuning of 24 rows, six steps an epoch and process; `keys` are the recipe's."""
    recipe = recipe_of(model, write_rows(folder / "rows.jsonl"), **keys)
    return Job(
        kind="train",
        name="real",
        module="tuiwb.workers.train",
        input=to_plain(recipe),
        parts=("sft",),
        processes=processes,
        gpus=(),
        environment={"OMP_NUM_THREADS": "1"},
    )


def step_of(run: RunDir) -> int:
    """Of the newest line of metrics."""
    line = rundir.last_line(run.part(1, "sft").metrics_file) or {}
    return int(line.get("current_steps", 0))
