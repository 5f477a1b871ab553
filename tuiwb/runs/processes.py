"""The processes of a run, found twice over: as descendants, and by the mark in their environment.

Neither finds all. torchrun gives each rank a session of its own, so process groups miss them; a rank whose launcher
was killed moves to the nearest subreaper, which is the wrapper while that lives; and a process that renames itself may
write over its environment.
"""

import os
import signal
import time
from collections.abc import Callable, Collection

from tuiwb.rundir import MARK, Identity, boot_id, machine_id, process_status
from tuiwb.rundir.identity import ProcessStatus


def table() -> dict[int, ProcessStatus]:
    """All processes of this machine that are not zombies."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 (a thousand paths a look would be made for nothing)
        if name.isdigit() and (status := process_status(int(name))):
            found[status.pid] = status
    return found


def descendants(pid: int, among: dict[int, ProcessStatus]) -> set[int]:
    """Children of `pid`, theirs, and so on; not `pid` itself."""
    children: dict[int, list[int]] = {}
    for status in among.values():
        children.setdefault(status.parent, []).append(status.pid)
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def marked(run_id: str, among: Collection[int]) -> set[int]:
    """Those of `among` that carry the run's mark. Only processes of our own user can be asked."""
    wanted = f"{MARK}={run_id}".encode()
    found = set()
    for pid in among:
        try:
            handle = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            environment = b""
            while block := os.read(handle, 1 << 16):
                environment += block
        except OSError:
            continue
        finally:
            os.close(handle)
        if wanted in environment.split(b"\0"):
            found.add(pid)
    return found


def members(run_id: str, *, below: Collection[int] = (), without: Collection[int] = ()) -> list[Identity]:
    """The run's processes.

    Args:
        below: processes whose descendants count: the wrapper, or a launcher that was adopted.
        without: processes that never count, with their descendants: the wrapper's own helpers.
    """
    among = table()
    found = marked(run_id, among)
    for pid in below:
        found |= descendants(pid, among)
    for pid in without:
        found -= {pid, *descendants(pid, among)}
    found.discard(os.getpid())
    return [Identity(machine_id(), boot_id(), pid, among[pid].start_time) for pid in sorted(found)]


def sweep(
    find: Callable[[], list[Identity]], *, patience_s: float = 0.0, give_up_s: float = 10.0, reap: Callable[[], None]
) -> tuple[int, list[Identity]]:
    """Kill until nothing is left to find.

    Args:
        find: the processes that should not be there.
        patience_s: how long they get to end by themselves before the first signal.
        give_up_s: a process that waits inside the kernel cannot be killed: after so long it is reported instead.
        reap: collects the dead among our children.

    Returns:
        how many were killed, and those that would not die.
    """
    started = time.monotonic()
    killed: set[Identity] = set()
    pause = 0.01
    while True:
        reap()
        left = find()
        waited = time.monotonic() - started
        if not left or waited > patience_s + give_up_s:
            return len(killed - set(left)), left
        if waited >= patience_s:
            for process in left:
                if process.send(signal.SIGKILL):
                    killed.add(process)
        time.sleep(pause)
        pause = min(pause * 2, 0.2)
