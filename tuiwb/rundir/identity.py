"""Which process, for certain: a process number comes back, a (machine, boot, number, start time) does not.

Source: proc(5), field 22 of /proc/PID/stat, and pidfd_open(2). Linux only.
"""

import functools
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot of one machine.

    Attributes:
        machine_id: see `machine_id`.
        boot_id: random, new at each boot of the kernel.
        start_time: clock ticks between boot and the process's start.
    """

    machine_id: str
    boot_id: str
    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The process that has this number now; for a child of ours also one that has just ended.

        Raises:
            ProcessLookupError: there is none.
        """
        status = process_status(pid, zombies=True)
        if status is None:
            raise ProcessLookupError(pid)
        return cls(machine_id(), boot_id(), pid, status.start_time)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "Identity | None":
        try:
            return (value and cls(**value)) or None
        except TypeError:
            return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def here(self) -> bool:
        """Whether it belongs to this machine: the same name, or the same boot (a container that was started again)."""
        return self.machine_id == machine_id() or self.boot_id == boot_id()

    def alive(self) -> bool:
        """Whether this very process still runs. False for a zombie and for anything on another machine or boot."""
        if self.boot_id != boot_id():
            return False
        status = process_status(self.pid)
        return status is not None and status.start_time == self.start_time

    def open_pidfd(self) -> int:
        """A descriptor of this very process: readable when it ends, and the only safe address for a signal. The
        caller closes it.

        Raises:
            ProcessLookupError: it has ended, or its number belongs to another process now.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except OSError as error:
            raise ProcessLookupError(self.pid) from error
        if not self.alive():  # asked after opening: from here on the descriptor cannot mean anybody else
            os.close(handle)
            raise ProcessLookupError(self.pid)
        return handle

    def send(self, number: int) -> bool:
        """Send a signal to this very process.

        Returns:
            False if it has ended or does not belong to us.
        """
        try:
            handle = self.open_pidfd()
        except ProcessLookupError:
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except (ProcessLookupError, PermissionError):
            return False
        finally:
            os.close(handle)
        return True


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What /proc/PID/stat tells. `cpu_ticks` is user plus system time."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    cpu_ticks: int
    start_time: int
    rss_pages: int


def process_status(pid: int, *, zombies: bool = False) -> ProcessStatus | None:
    """The process with this number, or None. A zombie counts as gone unless asked for."""
    try:
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        raw = os.read(handle, 4096)
    except OSError:
        return None
    finally:
        os.close(handle)
    # The name stands in brackets and may hold anything, brackets and spaces too.
    opening, closing = raw.find(b"("), raw.rfind(b")")
    fields = raw[closing + 2 :].split()
    state = fields[0].decode()
    if state in "ZX" and not zombies:
        return None
    name = raw[opening + 1 : closing].decode("utf-8", "replace")
    return ProcessStatus(
        pid=pid,
        name=name,
        state=state,
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start_time=int(fields[19]),
        rss_pages=int(fields[21]),
    )


@functools.cache
def boot_id() -> str:
    """The kernel's random name for this boot."""
    return _read("/proc/sys/kernel/random/boot_id") or "unknown"


@functools.cache
def machine_id() -> str:
    """/etc/machine-id with the host's name: cloned images share the first, and a shared home meets both."""
    return f"{_read('/etc/machine-id') or 'none'}:{host_name()}"


def host_name() -> str:
    return os.uname().nodename


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
