"""What there is to compute with: GPUs (asked in a child process), processor features, memory.

Each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.hardware.gpu import Gpu, GpuProcess, GpuSampler, GpuStatus, gpu_status, gpus
    from tuiwb.hardware.machine import Host, HostSample, HostSampler, host

_PLACES = {
    "Gpu": "gpu",
    "GpuProcess": "gpu",
    "GpuSampler": "gpu",
    "GpuStatus": "gpu",
    "Host": "machine",
    "HostSample": "machine",
    "HostSampler": "machine",
    "gpu_status": "gpu",
    "gpus": "gpu",
    "host": "machine",
}

__all__ = [
    "Gpu", "GpuProcess", "GpuSampler", "GpuStatus", "Host", "HostSample", "HostSampler", "gpu_status", "gpus", "host",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not kept: a test or a caller that replaces the function in its module is to be seen here too.
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
