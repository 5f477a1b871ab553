"""Who has which GPU on this machine: one file a GPU in the runtime folder, locked by the wrapper whose run uses it.

The kernel gives a lock back when its wrapper dies. The file also names the run, since the run may outlive its wrapper:
such a lease counts until the run's processes are gone. Leases bind our own runs only; what others do on a GPU is asked
of the driver.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.base import paths
from tuiwb.rundir import Identity, RunDir
from tuiwb.runs import processes


@dataclass(frozen=True, slots=True)
class Lease:
    """A GPU that we have. The descriptor holds it."""

    uuid: str
    handle: int


def folder() -> Path:
    return paths.private_folder(paths.runtime_folder() / "leases")


@contextlib.contextmanager
def deciding(*, wait_s: float = 0.5) -> Iterator[None]:
    """Only one wrapper decides at a time who goes next; each holds this for some milliseconds.

    Raises:
        BlockingIOError: another one still holds it after `wait_s`.
    """
    handle = os.open(folder() / ".deciding", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def take(uuids: Sequence[str], run: RunDir) -> list[Lease] | None:
    """Lease these GPUs, all of them or none."""
    taken: list[Lease] = []
    for uuid in sorted(uuids):
        handle = _open(uuid)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            release(taken)
            return None
        write_in_place(handle, {"run_dir": str(run.path), "run_id": run.run_id})
        taken.append(Lease(uuid, handle))
    return taken


def release(taken: Sequence[Lease]) -> None:
    """Give leases back."""
    for lease in taken:
        with contextlib.suppress(OSError):
            os.ftruncate(lease.handle, 0)
        os.close(lease.handle)


def holder(uuid: str) -> str | None:
    """The id of the run that has this GPU, or None while no run of ours has."""
    handle = _open(uuid)
    try:
        named = read_in_place(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return str(named.get("run_id", "another run"))
        return str(named["run_id"]) if named and _lives_without_wrapper(named) else None
    finally:
        os.close(handle)


def _lives_without_wrapper(named: dict[str, Any]) -> bool:
    run = RunDir(Path(str(named.get("run_dir", ""))))
    state = rundir.read_state(run)
    if state is None or state.get("state") in rundir.RESTING:
        return False
    launcher = Identity.from_json(state.get("launcher"))
    return (launcher is not None and launcher.alive()) or bool(processes.members(run.run_id))


def _open(uuid: str) -> int:
    return os.open(folder() / f"{uuid}.lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def write_in_place(handle: int, value: dict[str, Any]) -> None:
    """Replace the content of a locked file, which must keep its inode."""
    raw = json.dumps(value).encode()
    os.ftruncate(handle, 0)
    os.pwrite(handle, raw, 0)


def read_in_place(handle: int) -> dict[str, Any]:
    """The content of such a file; an empty dict if there is none."""
    try:
        value = json.loads(os.pread(handle, 1 << 16, 0))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
