"""From what PyTorch allocates to what the GPU shows, and what fits."""

from typing import Protocol

from tuiwb.base.units import GIB

# CUDA context and libraries of one process as a GPU shows them: 0.3 to 0.6 GiB on current drivers with lazy loading;
# 544 to 688 MiB more for NCCL's buffers on several GPUs (nccl issue 964).
CONTEXT = int(0.45 * GIB)
NCCL = 640 * 1024 * 1024
# What must be free besides the tensors. Published contexts go up to 1.4 GB, kernels compiled at run time included; the
# allocator's segments leave gaps in what stays, and more in what comes and goes with other sizes. The three figures
# were set by the longest contexts that Unsloth publishes for an 8B model, one row of 70B and the shortest of Hugging
# Face's stack; the other rows of both and the decisions on a T4 hold with them (tests/benchmarks/memory_decisions.py).
RESERVE = GIB
GAPS_STANDING, GAPS_PASSING = 0.028, 0.07
CACHED, CACHED_SHARDED = 0.2, 0.45  # share of the peak that the allocator may hold besides


class HasMemory(Protocol):
    """A GPU by name or a live one."""

    @property
    def name(self) -> str: ...
    @property
    def memory_total(self) -> int: ...


def context_bytes(ranks: int) -> int:
    return CONTEXT + (NCCL if ranks > 1 else 0)


def needed(peak: float, steady: float, ranks: int) -> float:
    """What must be free on the GPU for a step that keeps `steady` bytes allocated and `peak` at its highest moment."""
    standing = min(steady, peak)
    reserve = RESERVE + (NCCL if ranks > 1 else 0)
    return (1 + GAPS_STANDING) * standing + (1 + GAPS_PASSING) * (peak - standing) + reserve


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
