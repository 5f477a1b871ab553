"""Machines that the tests do not have."""

from tuiwb.hardware import Gpu, Host

GIB = 1 << 30


def a_host(*, bf16: bool = False, free: int = 12 * GIB) -> Host:
    return Host(
        cpus=2, cpu_name="a CPU", memory_total=16 * GIB, memory_available=free, bf16_units=bf16, avx512=True, amx=bf16
    )


def a_gpu(index: int = 0, *, name: str = "A100", gib: float = 40, capability: tuple[int, int] | None = (8, 0)) -> Gpu:
    memory = round(gib * GIB)
    return Gpu(
        index=index, uuid=f"GPU-{index}", name=name, memory_total=memory, memory_free=memory,
        compute_capability=capability,
    )  # fmt: skip
