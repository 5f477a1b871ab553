"""What the host does while a run lives: read from /proc, one line every few seconds into samples.jsonl."""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tuiwb.rundir import RunDir, process_status
from tuiwb.runs.stacks import rank_of

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class HostSampler:
    """Rates are over the time since the last sample, so the first one has none."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._at = 0.0
        self._busy = self._all = 0
        self._ticks: dict[int, int] = {}

    def sample(self, pids: Collection[int]) -> dict[str, Any]:
        """One look at the host and at the run's processes.

        Returns:
            `time` (unix), `cpu` and `run_cpu` (percent: of the whole host; of one core), `memory_used`,
            `memory_total`, `run_memory` (bytes, resident), `disk_free` (bytes, where the run is), `processes`; where
            there are any, `stopped`: the processes that a signal has stopped, each with `pid` and `rank`.
        """
        now = time.monotonic()
        busy, everything = _host_ticks()
        used, total = _memory()
        ticks, resident, stopped = {}, 0, []
        for pid in pids:
            if status := process_status(pid):
                if status.state == "T":
                    stopped.append({"pid": pid, "rank": rank_of(pid)})
                ticks[pid] = status.cpu_ticks
                resident += status.rss_pages * _PAGE
        value: dict[str, Any] = {
            "time": time.time(),
            "memory_used": used,
            "memory_total": total,
            "run_memory": resident,
            "processes": len(ticks),
            "disk_free": _disk_free(self.run.path),
        }
        if stopped:
            value["stopped"] = stopped
        if self._at and everything > self._all:
            spent = sum(count - self._ticks.get(pid, 0) for pid, count in ticks.items())
            value["cpu"] = round(100 * (busy - self._busy) / (everything - self._all), 1)
            value["run_cpu"] = round(max(0.0, 100 * spent / _TICKS / (now - self._at)), 1)
        self._at, self._busy, self._all, self._ticks = now, busy, everything, ticks
        return value


def _host_ticks() -> tuple[int, int]:
    """Busy and all clock ticks of all CPUs since boot."""
    with Path("/proc/stat").open("rb") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    everything = sum(fields)
    return everything - fields[3] - fields[4], everything


def _memory() -> tuple[int, int]:
    """Used and total bytes of memory; what the kernel can give back at once counts as free."""
    values = {}
    with Path("/proc/meminfo").open("rb") as file:
        for line in file:
            name, _, rest = line.partition(b":")
            if name in (b"MemTotal", b"MemAvailable"):
                values[name] = int(rest.split()[0]) * 1024
    total = values.get(b"MemTotal", 0)
    return total - values.get(b"MemAvailable", 0), total


def _disk_free(path: Path) -> int | None:
    try:
        room = os.statvfs(path)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize
