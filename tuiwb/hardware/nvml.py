"""Asks the NVIDIA driver, in a process of its own: `python -m tuiwb.hardware.nvml [SECONDS]`.

NVML calls block for ever when a GPU has fallen off the bus, so they are never made in a process that matters. This one
prints one JSON document a line: once, or every SECONDS until its standard input closes. Standard library and pynvml
only. What a GPU does not report is null.
"""

import contextlib
import json
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any

# The sentences that are shown where a GPU would be, by NVML's code.
SENTENCES = {
    4: "the NVIDIA driver refuses access: this user may not use the GPUs",
    9: "the NVIDIA driver is not loaded",
    12: "no NVIDIA driver is installed here (libnvidia-ml.so.1 is missing)",
    15: "the GPU has fallen off the bus; restart the machine",
    17: "the operating system has taken the GPUs away from this process (cgroup)",
    18: "the NVIDIA driver was updated and not yet reloaded: restart the machine",
}


def look(nvml: Any) -> dict[str, Any]:
    """One look at all GPUs.

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
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found["gpus"].append(_gpu(nvml, index))
        except nvml.NVMLError as error:
            found["problem"] = f"GPU {index}: {SENTENCES.get(error.value, str(error))}"
    if not found["gpus"] and not found["problem"]:
        found["problem"] = "the NVIDIA driver sees no GPU"
    return found


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def get(name: str, *arguments: Any) -> Any:
        return _or_none(nvml, getattr(nvml, name), handle, *arguments)

    memory = get("nvmlDeviceGetMemoryInfo")
    rates = get("nvmlDeviceGetUtilizationRates")
    power, limit = get("nvmlDeviceGetPowerUsage"), get("nvmlDeviceGetEnforcedPowerLimit")
    mig = get("nvmlDeviceGetMigMode")
    processes = get("nvmlDeviceGetComputeRunningProcesses_v3") or []
    return {
        "index": index,
        # Without these two it is not a GPU that could be used: their errors end this one's description.
        "uuid": nvml.nvmlDeviceGetUUID(handle),
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
        "processes": [{"pid": each.pid, "memory": each.usedGpuMemory} for each in processes],
    }


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
        yield _nothing(SENTENCES.get(error.value, f"the NVIDIA driver cannot be asked: {error}"))
        return
    while True:
        try:
            yield look(pynvml)
        except pynvml.NVMLError as error:
            yield _nothing(SENTENCES.get(error.value, f"the NVIDIA driver cannot be asked: {error}"))


def _nothing(problem: str) -> dict[str, Any]:
    return {"driver": None, "cuda": None, "gpus": [], "problem": problem}


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else None
    for found in looks():
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        if seconds is None:
            return
        # Standard input closes when the process that wants this ends, however it ends.
        if select.select([sys.stdin], [], [], seconds)[0]:
            return


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
