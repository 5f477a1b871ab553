"""What there is to compute with: GPUs (asked in a child process), processor features, memory."""

from tuiwb.hardware.gpu import Gpu, GpuProcess, GpuSampler, GpuStatus, gpu_status, gpus
from tuiwb.hardware.machine import Host, HostSample, HostSampler, host

__all__ = [
    "Gpu", "GpuProcess", "GpuSampler", "GpuStatus", "Host", "HostSample", "HostSampler", "gpu_status", "gpus", "host",
]  # fmt: skip
