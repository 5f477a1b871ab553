"""What goes to and from the disks and the network, from the kernel's counters. Linux only.

Source: Documentation/admin-guide/iostats.rst (sectors of 512 bytes, whatever the disk's own are) and /proc/net/dev.
"""

import time
from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

_SECTOR = 512


class Traffic(Struct, frozen=True):
    """Bytes a second, of all disks and all network interfaces together."""

    disk_read: float
    disk_write: float
    net_in: float
    net_out: float


class TrafficMeter:
    """Partitions, and disks that stand for others (loop, RAID, device mapper), do not count; nor do bridges and tunnels
    where there is a real interface, since all their bytes pass it."""

    def __init__(self) -> None:
        self._disks = _real(Path("/sys/block"))
        self._links = _real(Path("/sys/class/net"))
        self._before: tuple[float, tuple[int, ...]] | None = None

    def rates(self) -> Traffic | None:
        """Since the last call; None at the first one, and where the kernel does not tell."""
        now = time.monotonic()
        try:
            counted = (
                *disks(Path("/proc/diskstats").read_text(), self._disks),
                *network(Path("/proc/net/dev").read_text(), self._links),
            )
        except (OSError, ValueError, IndexError):
            return None
        before, self._before = self._before, (now, counted)
        if before is None or now <= before[0]:
            return None
        return Traffic(*(max(new - old, 0) / (now - before[0]) for new, old in zip(counted, before[1], strict=True)))


def disks(diskstats: str, names: Collection[str]) -> tuple[int, int]:
    """Bytes that were read from and written to these disks, from the text of /proc/diskstats."""
    read = written = 0
    for words in map(str.split, diskstats.splitlines()):
        if words[2] in names:
            read, written = read + int(words[5]) * _SECTOR, written + int(words[9]) * _SECTOR
    return read, written


def network(dev: str, names: Collection[str]) -> tuple[int, int]:
    """Bytes that came in and went out, from the text of /proc/net/dev.

    Args:
        names: of the interfaces; empty means all but the loopback.
    """
    came = went = 0
    for line in dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() in names or (not names and name.strip() != "lo"):
            words = rest.split()
            came, went = came + int(words[0]), went + int(words[8])
    return came, went


def _real(folder: Path) -> frozenset[str]:
    """Those that have a device of their own."""
    try:
        return frozenset(path.name for path in folder.iterdir() if (path / "device").exists())
    except OSError:
        return frozenset()
