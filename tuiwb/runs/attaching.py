"""Watching a training that was not launched here: its process, its output folder, or both."""

import os
import re
from pathlib import Path
from typing import Any

from tuiwb.base.errors import UsageFault
from tuiwb.rundir import Identity, RunDir
from tuiwb.runs import foreign
from tuiwb.runs.job import Job
from tuiwb.runs.launching import launch

_OUTPUT = re.compile(r"^\s*[\"']?(?:output_dir|logging_dir)[\"']?\s*[:=]\s*[\"']?([^\"',}\s]+)", re.M)
_CONFIGS = (".yaml", ".yml", ".json")
_LONGEST = 1 << 20


def attach(pid: int | None = None, folder: Path | None = None, *, name: str = "") -> RunDir:
    """Begin to watch: a run of kind `watch`, with the metrics that the trainer writes, alarms and hardware. It ends
    with the process; without one, when all that is in the folder was read.

    Args:
        folder: the trainer's output folder; None looks for it in the command of the process.

    Raises:
        UsageFault: there is no such process or folder, or nothing that could be read.
        EnvironmentFault, RunFault: as `launch`.
    """
    process: dict[str, Any] | None = None
    if pid is not None:
        try:
            process = Identity.of(pid).to_json()
        except ProcessLookupError as error:
            raise UsageFault(f"there is no process {pid}") from error
        folder = folder or output_of(pid)
    if folder is not None:
        folder = folder.expanduser().absolute()
        if not folder.is_dir() and pid is None:
            raise UsageFault(f"there is no folder {folder}")
    if pid is None and (folder is None or foreign.source_of(folder) is None):
        raise UsageFault(
            f"nothing in {folder} could be read: no trainer_log.jsonl, TensorBoard event file or trainer_state.json"
        )
    called = name or (folder.name if folder is not None else f"process {pid}")
    return launch(
        Job(
            kind="watch",
            name=called,
            module="tuiwb.runs.attached",
            input={"process": process, "folder": None if folder is None else str(folder)},
            parts=("watch",),
            gpus=(),
        )
    )


def output_of(pid: int) -> Path | None:
    """The output folder of a training process, from its command: `--output_dir X`, or a configuration file that is
    named there and says it. None where it says nothing."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        folder = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None
    for at, word in enumerate(words):
        key, equals, value = word.lstrip("-").partition("=")
        if key in ("output_dir", "logging_dir"):
            found = value if equals else next(iter(words[at + 1 : at + 2]), "")
            return folder / found if found else None
    for path in (folder / word for word in words if word.endswith(_CONFIGS)):
        if not os.access(path, os.R_OK) or path.stat().st_size > _LONGEST:
            continue
        if match := _OUTPUT.search(path.read_text("utf-8", "replace")):
            return folder / match[1]
    return None
