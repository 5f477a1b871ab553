"""Who uses the GPUs: each process on one, its owner, and the run that it belongs to."""

import functools
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuiwb.hardware.gpu import Gpu
from tuiwb.rundir import MARK, process_status


@dataclass(frozen=True, slots=True)
class GpuUser:
    """A process on a GPU.

    Attributes:
        name: of its program.
        owner: the user's name.
        run_id: of the run of ours that it belongs to, or None. Only our own user's processes can be asked.
    """

    pid: int
    name: str
    owner: str
    run_id: str | None


def gpu_users(gpus: Sequence[Gpu]) -> dict[int, GpuUser]:
    """The processes on these GPUs that can be seen from here, by their number. In a container the driver tells the
    numbers of the host, most of which are nobody here."""
    found = {}
    for pid in {process.pid for gpu in gpus for process in gpu.processes}:
        status = process_status(pid)
        if status is not None and (user := _user(pid, status.start_time)) is not None:
            found[pid] = user
    return found


@functools.lru_cache(maxsize=512)
def _user(pid: int, start_time: int) -> GpuUser | None:
    """`start_time` tells one process of this number from the next."""
    folder = Path("/proc", str(pid))
    try:
        name = (folder / "comm").read_text(errors="replace").strip()
        number = folder.stat().st_uid
    except OSError:
        return None
    try:
        owner = pwd.getpwuid(number).pw_name
    except KeyError:
        owner = str(number)
    mark = f"{MARK}=".encode()
    try:
        entries = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        entries = []
    run_id = next((entry[len(mark) :].decode(errors="replace") for entry in entries if entry.startswith(mark)), None)
    return GpuUser(pid, name, owner, run_id)
