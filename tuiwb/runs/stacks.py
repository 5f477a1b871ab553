"""Where the processes of a run are, written down before any of them is killed: their state as the kernel tells it, and
the stacks of their Python threads where py-spy is installed."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tuiwb.rundir import Identity, RunDir, process_status

TIMEOUT_S = 10.0
"""For the stacks of one process."""

_STATES = {
    "R": "runs",
    "S": "sleeps",
    "D": "waits in the kernel",
    "T": "is stopped by a signal",
    "t": "is being traced",
}


def dump(run: RunDir, processes: Sequence[Identity], why: str) -> Path | None:
    """Write `stacks-<time>.txt` into the run.

    Args:
        why: for the first line.

    Returns:
        the file; None if it cannot be written.
    """
    path = run.path / f"stacks-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    command = shutil.which("py-spy")
    parts = [f"{time.strftime('%F %T')}: {why}\n"]
    if command is None:
        parts.append("py-spy is not installed, so there are no stacks of Python (pip install py-spy)\n")
    for process in processes:
        parts.append(_of_one(process, command))
    try:
        path.write_text("\n".join(parts))
    except OSError:
        return None
    return path


def rank_of(pid: int) -> int | None:
    """The rank that torchrun gave this process; None for what is no rank of ours."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = next((entry[5:] for entry in environment if entry.startswith(b"RANK=")), b"")
    return int(found) if found.isdigit() else None


def _of_one(process: Identity, command: str | None) -> str:
    status = process_status(process.pid)
    if status is None:
        return f"process {process.pid} has ended\n"
    rank = rank_of(process.pid)
    head = f"process {process.pid}, {status.name}" + ("" if rank is None else f", rank {rank}")
    state = _STATES.get(status.state, status.state)
    where = _read(f"/proc/{process.pid}/wchan")
    lines = [f"{head}: {state}" + (f" ({where})" if where not in ("", "0") else "")]
    if command is not None and "python" in _read(f"/proc/{process.pid}/comm") + os.path.basename(_exe(process.pid)):  # noqa: PTH119
        lines.append(_stacks(command, process.pid))
    return "\n".join(lines) + "\n"


def _stacks(command: str, pid: int) -> str:
    try:
        done = subprocess.run(
            [command, "dump", "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"py-spy did not answer within {TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"py-spy cannot be started ({error.strerror})"
    return done.stdout or done.stderr.strip()


def _exe(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
