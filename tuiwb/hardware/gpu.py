"""The GPUs of this machine, as the NVIDIA driver reports them through a child process that may hang without harm."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.hardware.machine import host

if TYPE_CHECKING:
    import subprocess

TIMEOUT_S = 5.0
"""How long the driver may take to answer; a healthy one with a cold GPU needs up to two seconds."""
_LIBRARY = "libnvidia-ml.so.1"
_NO_ANSWER = "the NVIDIA driver does not answer; `nvidia-smi` will most likely hang as well"


class GpuProcess(Struct, frozen=True):
    """A process on a GPU. In a container the driver reports the host's pid. `memory` in bytes, None when unknown."""

    pid: int
    memory: int | None


class MigDevice(Struct, frozen=True):
    """An instance of a divided GPU. Memory in bytes; None where it is not reported."""

    uuid: str | None
    name: str | None
    memory_total: int | None
    memory_free: int | None


class Gpu(Struct, frozen=True):
    """One GPU. Memory in bytes, power in watts, temperature in degrees Celsius; None where it is not reported.

    Args:
        index: NVML's number, which is CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID.
        utilisation: percent of the last sample period in which a kernel ran; it says nothing on how much of the GPU
            the kernel used.
        mig_devices: the instances that it is divided into.
        throttle: why its clocks are lower than they could be: thermal, power_brake, hardware, power_cap.
        ecc_uncorrected: memory errors since the driver was loaded that it could not correct.
        xids: errors that the driver told since the look before.
        pcie_rx, pcie_tx, nvlink_rx, nvlink_tx: bytes a second into and out of it.
        visible: CUDA_VISIBLE_DEVICES (AMD: HIP_VISIBLE_DEVICES) lets this process use it.
        vendor: nvidia or amd.
        shares_memory: it uses the memory of the host, which is then what the figures are.
    """

    index: int
    uuid: str
    name: str
    memory_total: int
    memory_free: int
    utilisation: int | None = None
    memory_utilisation: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: int | None = None
    clock_mhz: int | None = None
    compute_capability: tuple[int, int] | None = None
    mig: bool = False
    mig_devices: tuple[MigDevice, ...] = ()
    throttle: tuple[str, ...] = ()
    ecc_uncorrected: int | None = None
    xids: tuple[int, ...] = ()
    pcie_rx: int | None = None
    pcie_tx: int | None = None
    nvlink_rx: int | None = None
    nvlink_tx: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    visible: bool = True
    shares_memory: bool = False
    vendor: str = "nvidia"

    @property
    def memory_used(self) -> int:
        return self.memory_total - self.memory_free


class GpuStatus(Struct, frozen=True):
    """One look at the GPUs.

    Args:
        gpus: all of them, also those that CUDA_VISIBLE_DEVICES hides.
        problem: why there is none, or what is wrong with one: a sentence; empty when all is well.
        time: when it was taken (monotonic seconds).
        asked: False before the first answer of a sampler.
    """

    gpus: tuple[Gpu, ...] = ()
    problem: str = ""
    driver: str | None = None
    cuda: str | None = None
    time: float = 0.0
    asked: bool = True


_last = GpuStatus(time=-1e9)
_stuck: "list[subprocess.Popen[bytes]]" = []


def gpus(*, max_age_s: float = 1.0, timeout_s: float = TIMEOUT_S) -> list[Gpu]:
    """The GPUs that this process may use; an empty list where there is none (`gpu_status` says why).

    Args:
        max_age_s: a look at most this old is good enough; without a driver one of the last minute.
        timeout_s: how long to wait for the driver.
    """
    return [gpu for gpu in gpu_status(max_age_s=max_age_s, timeout_s=timeout_s).gpus if gpu.visible]


def gpu_status(*, max_age_s: float = 1.0, timeout_s: float = TIMEOUT_S) -> GpuStatus:
    """As `gpus`, with what is wrong, and with the GPUs that are hidden."""
    global _last
    age = time.monotonic() - _last.time
    if age > (60.0 if _last.problem and not _last.gpus and max_age_s else max_age_s):
        _last = _ask(timeout_s)
    return _last


def _command(*arguments: str) -> list[str]:
    # By its path, so that it starts in a checkout too, and without this package, which it does not need.
    return [sys.executable, "-P", str(Path(__file__).with_name("nvml.py")), *arguments]


def _driver_can_be_asked(cache: Path = Path("/etc/ld.so.cache")) -> bool:
    """Whether the loader could find NVIDIA's library, or AMD's package is installed: by files alone, so that a machine
    without a GPU does not pay for a child process. Where that cannot be seen, it is asked."""
    import importlib.util

    folders = [Path(root) / name for root in ("/", "/usr") for name in ("lib", "lib64")]
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH"):
        folders += [Path(word) for word in os.environ.get(name, "").replace(";", ":").split(":") if word]
    if importlib.util.find_spec("amdsmi") is not None:
        return True
    if any((folder / name).exists() for folder in folders for name in (_LIBRARY, "amdsmi", "amdsmi.py")):
        return True
    try:
        return _LIBRARY.encode() in cache.read_bytes()
    except OSError:
        return True  # another loader than glibc's


def _ask(timeout_s: float) -> GpuStatus:
    if not _driver_can_be_asked():
        from tuiwb.hardware.nvml import NO_LIBRARY

        return GpuStatus(problem=NO_LIBRARY, time=time.monotonic())
    import subprocess

    _stuck[:] = [process for process in _stuck if process.poll() is None]
    process = subprocess.Popen(
        _command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # It may be beyond killing (state D): nobody waits for it.
        process.kill()
        _stuck.append(process)
        return GpuStatus(problem=f"{_NO_ANSWER} ({timeout_s:.0f} s)", time=time.monotonic())
    return read_status(output)


def read_status(line: bytes, environ: Mapping[str, str] | None = None) -> GpuStatus:
    """What a line of the child process says."""
    try:
        found = json.loads(line)
    except ValueError:
        return GpuStatus(problem="the NVIDIA driver ended the process that asked it", time=time.monotonic())
    listed = [_gpu(each) for each in found["gpus"]]
    around, name = os.environ if environ is None else environ, "CUDA_VISIBLE_DEVICES"
    if any(gpu.vendor == "amd" for gpu in listed) and "HIP_VISIBLE_DEVICES" in around:
        name = "HIP_VISIBLE_DEVICES"
    mask = around.get(name)
    seen = visible(listed, mask)
    return GpuStatus(
        gpus=tuple(replace(gpu, visible=gpu.index in seen) for gpu in listed),
        problem=found["problem"] or ("" if seen else f"{name} ({mask or 'empty'}) hides every GPU"),
        driver=found["driver"],
        cuda=found["cuda"],
        time=time.monotonic(),
    )


def visible(listed: list[Gpu], mask: str | None) -> set[int]:
    """The indices of the GPUs that CUDA_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES leaves: numbers or the start of a UUID;
    as CUDA does, what follows an invalid entry is ignored."""
    if mask is None:
        return {gpu.index for gpu in listed}
    seen: set[int] = set()
    for entry in mask.split(","):
        word = entry.strip()
        matching = [
            gpu.index for gpu in listed if str(gpu.index) == word or (word[:4] == "GPU-" and gpu.uuid.startswith(word))
        ]
        if len(matching) != 1:
            break
        seen.add(matching[0])
    return seen


def _gpu(values: dict[str, Any]) -> Gpu:
    known = set(Gpu.__struct_fields__)
    kept = {name: value for name, value in values.items() if name in known and value is not None}
    kept["mig_devices"] = tuple(MigDevice(**each) for each in values.get("mig_devices") or ())
    kept |= {name: tuple(values.get(name) or ()) for name in ("throttle", "xids")}
    kept["processes"] = tuple(GpuProcess(**each) for each in values.get("processes") or ())
    if capability := values.get("compute_capability"):
        kept["compute_capability"] = (capability[0], capability[1])
    if "memory_total" not in kept:
        ours = host()
        kept |= {"memory_total": ours.memory_total, "memory_free": ours.memory_available, "shares_memory": True}
    return Gpu(**kept)


class GpuSampler:
    """Looks at the GPUs every few seconds, in a child process and a thread that reads it.

    with GpuSampler(1.0) as sampler:
        sampler.latest()

    Args:
        told: called in that thread after each look.
    """

    def __init__(
        self, every_s: float = 1.0, *, patience_s: float = TIMEOUT_S, told: Callable[[], object] | None = None
    ) -> None:
        self._every, self._patience, self._told = every_s, patience_s, told
        self._status = GpuStatus(time=time.monotonic(), asked=False)
        self._process: subprocess.Popen[bytes] | None = None
        self._done = False

    def __enter__(self) -> Self:
        import subprocess
        import threading

        self._process = subprocess.Popen(
            _command(str(self._every)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self._process,), name="tuiwb gpus", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.kill()
            _stuck.append(self._process)

    def latest(self) -> GpuStatus:
        """The last look; when the driver has stopped answering, a status that says for how long."""
        age = time.monotonic() - self._status.time
        if not self._done and age > self._every + self._patience:
            return replace(self._status, problem=f"{_NO_ANSWER} ({age:.0f} s)")
        return self._status

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._status = read_status(line)
            if self._told is not None:
                self._told()
        # Without a driver the child says so once and ends; that answer stays good.
        self._done = process.wait() == 0
