"""The kernel's count of processes that it killed for want of memory. Source: proc(5), cgroup v2 memory.events."""

from pathlib import Path


def kills() -> int:
    """Kills on this host since boot, and in our control group."""
    count = _counter("/proc/vmstat", "oom_kill")
    try:
        group = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return count
    return count + _counter(f"/sys/fs/cgroup{group}/memory.events", "oom_kill")


def _counter(path: str, name: str) -> int:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
