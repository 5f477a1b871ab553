"""From what PyTorch allocates to what the GPU shows, and what fits."""

from typing import Protocol

from tuiwb.base.units import GIB

# CUDA context and libraries of one process: 0.3 to 0.6 GiB on current drivers with lazy loading; 544 to 688 MiB more
# for NCCL's buffers on several GPUs (nccl issue 964).
CONTEXT = int(0.45 * GIB)
NCCL = 640 * 1024 * 1024
# Allocator slack: the caching allocator hands out whole segments, so a run that needs all but a little of the memory
# fails. Five per cent of the peak, and at least a segment of 20 MiB for each size class in use: with it the published
# longest contexts of Hugging Face's stack are met within a tenth, and none that failed on a T4 of 7B is said to fit.
SLACK = 0.05
CACHED, CACHED_SHARDED = 0.2, 0.45  # share of the peak that the allocator may hold besides
LEAST_SLACK = 128 * 1024 * 1024


class HasMemory(Protocol):
    """A GPU by name or a live one."""

    @property
    def name(self) -> str: ...
    @property
    def memory_total(self) -> int: ...


def context_bytes(ranks: int) -> int:
    return CONTEXT + (NCCL if ranks > 1 else 0)


def needed(peak: float, ranks: int) -> float:
    """What must be free on the GPU for this peak."""
    return peak + context_bytes(ranks) + max(SLACK * peak, LEAST_SLACK)


def room(usable: float, ranks: int) -> float:
    """The peak that fits into `usable` bytes: the inverse of `needed`."""
    free = usable - context_bytes(ranks)
    return min(free / (1 + SLACK), free - LEAST_SLACK)


def band(peak: float, steady: float, logits: float, ranks: int, *, varies: bool) -> tuple[float, float]:
    """What nvidia-smi shows: at least the peak and the context, at most what the allocator has cached besides.

    Args:
        logits: the largest transient of the loss; its blocks stay cached when they are free.
        varies: batches differ in length, so that blocks of one do not suit the next: what comes and goes in a step is
            then there up to twice.
    """
    low = peak + context_bytes(ranks) * 0.75
    # Fitted to the nvidia-smi figures of 153 published runs: what other phases left in the cache is no closed form.
    cached = CACHED_SHARDED if ranks > 1 else CACHED
    high = peak * (1 + cached) + 0.75 * logits + context_bytes(ranks) * 2
    if varies:
        high = max(high, steady + 2 * (peak - steady) + context_bytes(ranks) * 2)
    return low, high


def answering_band(peak: float, ranks: int) -> tuple[float, float]:
    """The same while the model answers: a step is small, so hardly anything is cached."""
    return peak + context_bytes(ranks) * 0.75, peak * 1.05 + context_bytes(ranks) * 2
