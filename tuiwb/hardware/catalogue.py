"""GPUs by name: what a process can use of their memory, and how fast they compute.

`memory_total` is what CUDA reports as total memory of the device (a little below the size on the box: error correction
and the driver's own part are gone), in bytes. `tflops` is the dense peak in 16-bit matrix products, from the vendor's
data sheet; 0 where there are no such units. `capability` is CUDA's compute capability.
"""

from typing import TYPE_CHECKING

from msgspec import Struct

from tuiwb.base.errors import UsageFault
from tuiwb.base.units import GIB

if TYPE_CHECKING:
    from tuiwb.hardware.gpu import Gpu


class GpuSpec(Struct, frozen=True):
    """A GPU as it can be bought."""

    name: str
    memory_total: int
    tflops: float = 0.0
    capability: tuple[int, int] | None = None


def _gpu(name: str, gib: float, tflops: float, capability: tuple[int, int]) -> GpuSpec:
    return GpuSpec(name, int(gib * GIB), tflops, capability)


# name, usable GiB, dense TFLOPS in bf16 (fp16 before Ampere), compute capability
GPU_CATALOGUE: tuple[GpuSpec, ...] = (
    _gpu("B300", 267.5, 2250, (10, 3)),
    _gpu("B200", 178.3, 2250, (10, 0)),
    _gpu("GB200", 184.3, 2500, (10, 0)),
    _gpu("H200", 139.8, 989, (9, 0)),
    _gpu("H200-NVL", 139.8, 836, (9, 0)),
    _gpu("GH200-96GB", 94.5, 989, (9, 0)),
    _gpu("H100-80GB", 79.1, 989, (9, 0)),
    _gpu("H100-PCIe", 79.1, 756, (9, 0)),
    _gpu("H100-NVL", 93.1, 836, (9, 0)),
    _gpu("H800-80GB", 79.1, 989, (9, 0)),
    _gpu("H20-96GB", 95.1, 148, (9, 0)),
    _gpu("A100-80GB", 79.1, 312, (8, 0)),
    _gpu("A100-40GB", 39.4, 312, (8, 0)),
    _gpu("A800-80GB", 79.1, 312, (8, 0)),
    _gpu("A30", 23.5, 165, (8, 0)),
    _gpu("A40", 44.3, 150, (8, 6)),
    _gpu("A16", 14.5, 36, (8, 6)),
    _gpu("A10", 22.1, 125, (8, 6)),
    _gpu("A10G", 22.1, 70, (8, 6)),
    _gpu("A2", 14.5, 18, (8, 6)),
    _gpu("L40S", 44.4, 362, (8, 9)),
    _gpu("L40", 44.4, 181, (8, 9)),
    _gpu("L20", 44.4, 120, (8, 9)),
    _gpu("L4", 22.0, 121, (8, 9)),
    _gpu("RTX-PRO-6000", 94.9, 504, (12, 0)),
    _gpu("RTX-6000-Ada", 47.4, 364, (8, 9)),
    _gpu("RTX-5000-Ada", 31.4, 261, (8, 9)),
    _gpu("RTX-4500-Ada", 23.5, 159, (8, 9)),
    _gpu("RTX-4000-Ada", 19.5, 107, (8, 9)),
    _gpu("RTX-A6000", 47.4, 155, (8, 6)),
    _gpu("RTX-A5000", 23.6, 111, (8, 6)),
    _gpu("RTX-A4500", 19.6, 95, (8, 6)),
    _gpu("RTX-A4000", 15.6, 77, (8, 6)),
    _gpu("RTX-5090", 31.4, 210, (12, 0)),
    _gpu("RTX-5080", 15.5, 113, (12, 0)),
    _gpu("RTX-5070-Ti", 15.5, 88, (12, 0)),
    _gpu("RTX-5070", 11.5, 62, (12, 0)),
    _gpu("RTX-5060-Ti-16GB", 15.5, 47, (12, 0)),
    _gpu("RTX-4090", 23.6, 165, (8, 9)),
    _gpu("RTX-4080", 15.7, 97, (8, 9)),
    _gpu("RTX-4070-Ti-Super", 15.6, 88, (8, 9)),
    _gpu("RTX-4070", 11.6, 58, (8, 9)),
    _gpu("RTX-4060-Ti-16GB", 15.6, 44, (8, 9)),
    _gpu("RTX-4060", 7.6, 30, (8, 9)),
    _gpu("RTX-3090-Ti", 23.6, 80, (8, 6)),
    _gpu("RTX-3090", 23.6, 71, (8, 6)),
    _gpu("RTX-3080-Ti", 11.6, 68, (8, 6)),
    _gpu("RTX-3080", 9.6, 60, (8, 6)),
    _gpu("RTX-3070", 7.6, 41, (8, 6)),
    _gpu("RTX-3060", 11.6, 26, (8, 6)),
    _gpu("RTX-2080-Ti", 10.6, 57, (7, 5)),
    _gpu("Quadro-RTX-8000", 47.2, 131, (7, 5)),
    _gpu("Quadro-RTX-6000", 23.5, 131, (7, 5)),
    _gpu("TITAN-RTX", 23.5, 131, (7, 5)),
    _gpu("T4", 14.58, 65, (7, 5)),
    _gpu("V100-32GB", 31.7, 125, (7, 0)),
    _gpu("V100-16GB", 15.7, 125, (7, 0)),
    _gpu("P100", 15.9, 19, (6, 0)),
    _gpu("P40", 23.9, 0, (6, 1)),
)
# What people type for one of several sizes.
_SHORT = {"a100": "A100-80GB", "h100": "H100-80GB", "v100": "V100-32GB", "gh200": "GH200-96GB", "a800": "A800-80GB"}


def gpu_named(name: str) -> GpuSpec:
    """The GPU of the catalogue that `name` means; upper and lower case, spaces, and `NVIDIA` do not matter.

    Raises:
        UsageFault: there is none, or several.
    """
    import difflib

    wanted = _plain(name)
    if wanted in _SHORT:
        wanted = _plain(_SHORT[wanted])
    by_name = {_plain(gpu.name): gpu for gpu in GPU_CATALOGUE}
    if wanted in by_name:
        return by_name[wanted]
    starting = [gpu for plain, gpu in by_name.items() if plain.endswith(wanted) or plain.startswith(wanted)]
    if len(starting) == 1:
        return starting[0]
    near = difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.5)
    if starting:
        hint = f"it may be {' or '.join(gpu.name for gpu in starting)}"
    elif near:
        hint = f"did you mean {by_name[near[0]].name}?"
    else:
        hint = "say its memory with --gpu-memory instead"
    raise UsageFault(f"no GPU {name!r} in the catalogue: {hint}", key="--gpu")


def _plain(name: str) -> str:
    lowered = name.lower().replace("nvidia", "").replace("geforce", "").replace("tesla", "")
    return "".join(letter for letter in lowered if letter.isalnum())


def as_live(spec: GpuSpec) -> "Gpu":
    """A GPU that is planned for, as if it were here and idle."""
    from tuiwb.hardware.gpu import Gpu

    return Gpu(
        index=0,
        uuid="",
        name=spec.name,
        memory_total=spec.memory_total,
        memory_free=spec.memory_total,
        compute_capability=spec.capability,
    )
