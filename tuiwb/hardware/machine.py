"""The machine itself: processors, what they compute fast, and memory; what this process may use of it."""

import os
import time
from functools import cache
from pathlib import Path

from msgspec import Struct

from tuiwb.hardware.traffic import Traffic, TrafficMeter


class Host(Struct, frozen=True):
    """What this process may use. Memory in bytes.

    Args:
        cpus: logical processors, as affinity and the cgroup's quota leave them (at least 1).
        cpu_name: as /proc/cpuinfo has it.
        memory_total: of the host, or of the cgroup when that is less.
        memory_available: without swapping.
        bf16_units: the processor multiplies bfloat16 (AVX512-BF16, AMX or Arm's BF16). Without them bfloat16 is some
            three times as slow as float32.
        avx512, amx: the instruction sets by those names.
    """

    cpus: int
    cpu_name: str
    memory_total: int
    memory_available: int
    bf16_units: bool = False
    avx512: bool = False
    amx: bool = False


class HostSample(Struct, frozen=True):
    """How busy the host is. Percentages from 0 to 100 and bytes a second are over the time since the sample before;
    memory in bytes. `traffic` is None in the first sample."""

    time: float
    cpu_percent: float
    cpu_percents: tuple[float, ...]
    load_1m: float
    memory_used: int
    memory_total: int
    swap_used: int
    traffic: Traffic | None = None


def host() -> Host:
    """This machine now."""
    name, flags = _processor()
    total, available = memory(Path("/proc/meminfo").read_text())
    limit, used = _cgroup_memory(Path("/sys/fs/cgroup"), _cgroup())
    return Host(
        cpus=usable_cpus(),
        cpu_name=name,
        memory_total=min(total, limit or total),
        memory_available=min(available, max(limit - used, 0) if limit else available),
        bf16_units=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        avx512="avx512f" in flags,
        amx="amx_tile" in flags,
    )


class HostSampler:
    """Looks at the host; the first sample has no percentages (0)."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        psutil.cpu_percent(percpu=True)
        self._traffic = TrafficMeter()

    def sample(self) -> HostSample:
        each = tuple(self._psutil.cpu_percent(percpu=True))
        memory = self._psutil.virtual_memory()
        return HostSample(
            time=time.time(),
            cpu_percent=sum(each) / len(each),
            cpu_percents=each,
            load_1m=os.getloadavg()[0],
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            swap_used=self._psutil.swap_memory().used,
            traffic=self._traffic.rates(),
        )


def usable_cpus() -> int:
    """Processors that this process may run on, and that its cgroup grants it time for."""
    affinity = len(os.sched_getaffinity(0))
    quota = _cgroup_cpus(Path("/sys/fs/cgroup"), _cgroup())
    return max(1, min(affinity, int(quota + 0.5) if quota else affinity))


def memory(meminfo: str) -> tuple[int, int]:
    """Bytes in all, and those that can be had without swapping, from the text of /proc/meminfo."""
    kilobytes = {
        name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in meminfo.splitlines())
    }
    free = kilobytes.get("MemAvailable")  # not told in some containers
    if free is None:
        free = kilobytes["MemFree"] + kilobytes.get("Cached", 0) + kilobytes.get("Buffers", 0)
    return kilobytes["MemTotal"] * 1024, free * 1024


@cache
def _processor() -> tuple[str, frozenset[str]]:
    return processor(Path("/proc/cpuinfo").read_text("utf-8", "replace"))


def processor(cpuinfo: str) -> tuple[str, frozenset[str]]:
    """Name and feature flags from the text of /proc/cpuinfo (x86: `flags`, Arm: `Features`)."""
    name, flags = "", frozenset[str]()
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        match key.strip():
            case "model name" if not name:
                name = " ".join(value.split())
            case "flags" | "Features" if not flags:
                flags = frozenset(value.split())
    return name or "unknown processor", flags


def _cgroup() -> str:
    """The path of this process in the cgroup tree (version 2)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return "/"
    return next((line[3:] for line in lines if line.startswith("0::")), "/")


def _levels(root: Path, path: str) -> list[Path]:
    """The folders of a cgroup and of those above it; each may limit."""
    folder = root / path.strip("/")
    return [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)]


def _cgroup_memory(root: Path, path: str) -> tuple[int | None, int]:
    """The least memory limit in bytes that holds for a cgroup (None: no limit), and what that level uses, without the
    file cache that the kernel can give back."""
    limit, used = None, 0
    for level in _levels(root, path):
        text = _read(level / "memory.max")
        if text.isdigit() and (limit is None or int(text) < limit):
            statistics = dict(line.split() for line in _read(level / "memory.stat").splitlines())
            limit = int(text)
            used = int(_read(level / "memory.current") or 0) - int(statistics.get("inactive_file", 0))
    return limit, max(used, 0)


def _cgroup_cpus(root: Path, path: str) -> float | None:
    """The least processor quota that holds for a cgroup, in processors; None: no quota."""
    quotas = []
    for level in _levels(root, path):
        words = _read(level / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit():
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
