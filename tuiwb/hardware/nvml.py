"""Asks the NVIDIA driver, in a process of its own: `python -m tuiwb.hardware.nvml [SECONDS]`.

NVML calls block for ever when a GPU has fallen off the bus, so they are never made in a process that matters. This one
prints one JSON document a line: once, or every SECONDS until its standard input closes. Standard library and pynvml
only, and amdsmi where there is no NVIDIA driver. What a GPU does not report is null.
"""

import contextlib
import importlib.util
import itertools
import json
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NO_LIBRARY = "no NVIDIA driver is installed here (libnvidia-ml.so.1 is missing)"
# The sentences that are shown where a GPU would be, by NVML's code.
SENTENCES = {
    4: "the NVIDIA driver refuses access: this user may not use the GPUs",
    9: "the NVIDIA driver is not loaded",
    12: NO_LIBRARY,
    15: "the GPU has fallen off the bus; restart the machine",
    17: "the operating system has taken the GPUs away from this process (cgroup)",
    18: "the NVIDIA driver was updated and not yet reloaded: restart the machine",
}

# Why the clocks are lower than they could be: bits of nvmlClocksEventReasons.
_REASONS = (("thermal", 0x20 | 0x40), ("power_brake", 0x80), ("hardware", 0x08), ("power_cap", 0x04))

LINKS_S = 5.0
"""Between two looks at the buses: asking for PCIe alone takes 40 ms a GPU."""

_ABSENT = (9, 12)  # no driver loaded, no library
_ALL_LINKS = 0xFFFFFFFF
_UNCORRECTED, _VOLATILE = 1, 0
_MOST_EVENTS = 32


class Past:
    """What a look needs of the one before: the buses' counters, and the errors that the driver tells once."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._links: dict[str, dict[str, Any]] = {}
        self._counted: dict[str, tuple[float, int, int]] = {}
        self._at = 0.0
        self._events: Any = None

    def listen(self) -> None:
        """Ask to be told of Xid errors; where that is not supported none are told."""
        nvml = self._nvml
        self._events = _or_none(nvml, nvml.nvmlEventSetCreate)
        if self._events is None:
            return
        for index in range(nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)

    def xids(self) -> dict[str, list[int]]:
        """The Xid errors since the last call, by the GPU's UUID."""
        found: dict[str, list[int]] = {}
        for _ in range(_MOST_EVENTS if self._events is not None else 0):
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = self._nvml.nvmlDeviceGetUUID(event.device)
            except self._nvml.NVMLError:
                break  # no more: a timeout is how it says so
            found.setdefault(uuid, []).append(int(event.eventData))
        return found

    def due(self) -> bool:
        """Whether the buses should be asked again."""
        now = time.monotonic()
        if now - self._at < LINKS_S:
            return False
        self._at = now
        return True

    def links(self, handle: Any, uuid: str, *, due: bool) -> dict[str, Any]:
        """Bytes a second over PCIe and NVLink, in and out; as they were last seen unless `due`."""
        if due:
            self._links[uuid] = {**self._pcie(handle), **self._nvlink(handle, uuid)}
        return self._links.get(uuid, {})

    def _pcie(self, handle: Any) -> dict[str, Any]:
        nvml, found = self._nvml, {}
        for name, counter in (("pcie_tx", nvml.NVML_PCIE_UTIL_TX_BYTES), ("pcie_rx", nvml.NVML_PCIE_UTIL_RX_BYTES)):
            rate = _or_none(nvml, nvml.nvmlDeviceGetPcieThroughput, handle, counter)
            found[name] = None if rate is None else rate * 1024
        return found

    def _nvlink(self, handle: Any, uuid: str) -> dict[str, Any]:
        nvml = self._nvml
        fields = (nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX)
        values = _or_none(nvml, nvml.nvmlDeviceGetFieldValues, handle, [(field, _ALL_LINKS) for field in fields])
        if values is None or any(value.nvmlReturn for value in values):
            return {}
        now, (tx, rx) = time.monotonic(), (int(value.value.ullVal) * 1024 for value in values)
        before, self._counted[uuid] = self._counted.get(uuid), (now, tx, rx)
        if before is None or now <= before[0]:
            return {}
        seconds = now - before[0]
        return {"nvlink_tx": round((tx - before[1]) / seconds), "nvlink_rx": round((rx - before[2]) / seconds)}


def look(nvml: Any, past: Past | None = None) -> dict[str, Any]:
    """One look at all GPUs.

    Args:
        past: shared by the looks that follow each other.

    Returns:
        `driver`, `cuda` (versions), `gpus` (a list of objects with the names of `hardware.Gpu`), `problem` (a sentence
        or null). A GPU that is lost is left out and named in `problem`.
    """
    found: dict[str, Any] = {
        "driver": _or_none(nvml, nvml.nvmlSystemGetDriverVersion),
        "cuda": _version(_or_none(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)),
        "gpus": [],
        "problem": None,
    }
    past = past or Past(nvml)
    due, told = past.due(), past.xids()
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpu = _gpu(nvml, index, past, due=due)
            found["gpus"].append({**gpu, "xids": told.get(gpu["uuid"], [])})
        except nvml.NVMLError as error:
            found["problem"] = f"GPU {index}: {SENTENCES.get(error.value, str(error))}"
    if not found["gpus"] and not found["problem"]:
        found["problem"] = "the NVIDIA driver sees no GPU"
    return found


def _gpu(nvml: Any, index: int, past: Past, *, due: bool) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def get(name: str, *arguments: Any) -> Any:
        return _or_none(nvml, getattr(nvml, name), handle, *arguments)

    memory = get("nvmlDeviceGetMemoryInfo")
    rates = get("nvmlDeviceGetUtilizationRates")
    power, limit = get("nvmlDeviceGetPowerUsage"), get("nvmlDeviceGetEnforcedPowerLimit")
    mig = get("nvmlDeviceGetMigMode")
    processes = get("nvmlDeviceGetComputeRunningProcesses_v3") or []
    reasons = get("nvmlDeviceGetCurrentClocksEventReasons") or 0
    uuid = nvml.nvmlDeviceGetUUID(handle)
    return {
        "index": index,
        # Without these two it is not a GPU that could be used: their errors end this one's description.
        "uuid": uuid,
        "name": nvml.nvmlDeviceGetName(handle),
        "memory_total": memory and memory.total,
        "memory_free": memory and memory.free,
        "utilisation": None if rates is None else rates.gpu,
        "memory_utilisation": None if rates is None else rates.memory,
        "power_w": None if power is None else power / 1000,
        "power_limit_w": None if limit is None else limit / 1000,
        "temperature_c": get("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        "clock_mhz": get("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        "compute_capability": get("nvmlDeviceGetCudaComputeCapability"),
        "mig": bool(mig and mig[0]),
        "mig_devices": _mig(nvml, handle) if mig and mig[0] else [],
        "throttle": [name for name, bits in _REASONS if reasons & bits],
        "ecc_uncorrected": get("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE),
        **past.links(handle, uuid, due=due),
        "processes": [{"pid": each.pid, "memory": each.usedGpuMemory} for each in processes],
    }


def _mig(nvml: Any, handle: Any) -> list[dict[str, Any]]:
    """The instances that a GPU is divided into."""
    found = []
    for index in range(_or_none(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = _or_none(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if instance is None:
            continue
        memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, instance)
        found.append(
            {
                "uuid": _or_none(nvml, nvml.nvmlDeviceGetUUID, instance),
                "name": _or_none(nvml, nvml.nvmlDeviceGetName, instance),
                "memory_total": memory and memory.total,
                "memory_free": memory and memory.free,
            }
        )
    return found


def _or_none(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` says, or None where this GPU or driver does not have it."""
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
            raise
        return None


def _version(number: int | None) -> str | None:
    """NVML writes CUDA 12.4 as 12040."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def looks() -> Iterator[dict[str, Any]]:
    """One look after the other, for ever; a single one when the driver cannot be asked at all."""
    try:
        import pynvml
    except ImportError:
        yield _nothing("the package nvidia-ml-py is not installed")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value in _ABSENT and (amd := _amd()) is not None:
            yield from amd
            return
        yield _nothing(SENTENCES.get(error.value, f"the NVIDIA driver cannot be asked: {error}"))
        return
    past = Past(pynvml)
    with contextlib.suppress(pynvml.NVMLError):
        past.listen()
    while True:
        try:
            yield look(pynvml, past)
        except pynvml.NVMLError as error:
            yield _nothing(SENTENCES.get(error.value, f"the NVIDIA driver cannot be asked: {error}"))


def _amd() -> Iterator[dict[str, Any]] | None:
    """The looks at AMD's GPUs, where amdsmi is installed and finds any. This file may run without its package, so the
    other one is found beside it."""
    spec = importlib.util.spec_from_file_location("tuiwb_amd", Path(__file__).with_name("amd.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.looks()
    try:
        first = next(found)
    except Exception:
        return None
    return itertools.chain((first,), found)


def _nothing(problem: str) -> dict[str, Any]:
    return {"driver": None, "cuda": None, "gpus": [], "problem": problem}


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else None
    due = time.monotonic()
    for found in looks():
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        if seconds is None:
            return
        # Standard input closes when the process that wants this ends, however it ends.
        now = time.monotonic()
        due = max(due + seconds, now)  # a look takes its time; the next one is not later for it
        if select.select([sys.stdin], [], [], due - now)[0]:
            return


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
