"""What a run's GPUs do, from a child process that asks the driver: a call into a driver may hang for ever."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from typing import Any

_KEPT = (
    "index", "uuid", "name", "utilisation", "memory_total", "power_w", "power_limit_w", "temperature_c", "clock_mhz",
    "throttle", "ecc_uncorrected", "xids", "pcie_rx", "pcie_tx",
)  # fmt: skip


class GpuFeed:
    """Reads what the child says without ever waiting for it. `problem`: what it last said is wrong, None if nothing is.

    Args:
        uuids: the run's GPUs.
        every_s: seconds between two looks.
    """

    def __init__(self, uuids: Sequence[str], every_s: float) -> None:
        self.uuids = frozenset(uuids)
        self._rest = b""
        self._gpus: list[dict[str, Any]] = []
        self.problem: str | None = None
        # It ends when its standard input closes, which it does however we end.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tuiwb.hardware.nvml", str(every_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._process.returncode = 0  # the wrapper collects all its children itself
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def latest(self, pids: Collection[int]) -> list[dict[str, Any]]:
        """The last look at the run's GPUs, and it alone: an answer is given once, so that a silent driver shows.

        Args:
            pids: the run's processes, to tell its share of the memory.

        Returns:
            for each GPU `index`, `uuid`, `name`, `utilisation` (percent), `memory_total`, `memory_used`, `run_memory`
            (bytes), `power_w`, `temperature_c`, `clock_mhz` and what else `hardware.nvml` reports; what it does not is
            None.
        """
        self._read()
        found, self._gpus = self._gpus, []
        return [self._shape(gpu, pids) for gpu in found if gpu.get("uuid") in self.uuids]

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                block = os.read(self._process.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not block:
                break
            self._rest += block
        *lines, self._rest = self._rest.split(b"\n")
        if lines:
            with contextlib.suppress(ValueError, KeyError):
                looks = [json.loads(line) for line in lines]
                self._gpus, self.problem = looks[-1]["gpus"], looks[-1]["problem"]
                for gpu in self._gpus:  # what was told once must not be lost with the look that it was told in
                    earlier = (each for look in looks for each in look["gpus"] if each["uuid"] == gpu["uuid"])
                    gpu["xids"] = [code for each in earlier for code in each.get("xids") or ()]

    def _shape(self, gpu: dict[str, Any], pids: Collection[int]) -> dict[str, Any]:
        total, free = gpu.get("memory_total"), gpu.get("memory_free")
        ours = [each.get("memory") for each in gpu.get("processes") or () if each.get("pid") in pids]
        return {
            **{name: gpu.get(name) for name in _KEPT},
            "memory_used": None if total is None or free is None else total - free,
            # In a container the driver names the host's processes, so that none of them is known to be ours.
            "run_memory": sum(ours) if ours and None not in ours else None,
        }
