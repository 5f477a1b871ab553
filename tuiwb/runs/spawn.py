"""Starting the worker of an attempt: its output straight into a file, its session its own, its environment marked."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.rundir import ATTEMPT, MARK, RunDir

_SHUTDOWN_S = 30


def spawn(run: RunDir, job: Mapping[str, Any], attempt: int, gpus: Mapping[str, str], *, grace_s: float) -> int:
    """Start it.

    Args:
        gpus: the variables that say which GPUs are its own.
        grace_s: what a stop may take.

    Returns:
        its process number. The caller collects it when it has ended.

    Raises:
        OSError: it cannot be started.
    """
    environment = {**os.environ, **job.get("environment", {}), **gpus, MARK: run.run_id, ATTEMPT: str(attempt)}
    # torchrun kills its ranks 30 s after a SIGTERM, which is less than the save of a large model takes.
    environment.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(int(grace_s + _SHUTDOWN_S)))
    folder = Path(job.get("folder") or run.path)
    with run.output_file.open("ab") as output:
        child = subprocess.Popen(
            job["argv"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment,
            cwd=folder if folder.is_dir() else run.path,
        )
    child.returncode = 0  # the wrapper collects all its children itself; Popen must not wait or warn
    return child.pid
