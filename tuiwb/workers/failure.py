"""Why a run failed, in one sentence for people. The traceback goes to the run's log."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuiwb.base.errors import InputFault, TuiwbError, reason_of
from tuiwb.base.units import size

# What allocators say: CUDA's, the CPU's, and libraries that pass them on.
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|CUDNN_STATUS_ALLOC_FAILED|bad_alloc", re.IGNORECASE)
_DISK_FULL = re.compile(r"No space left on device|os error 28", re.IGNORECASE)
_REMEDIES = (
    "use a smaller per_device_train_batch_size (and more gradient_accumulation_steps) or max_length, "
    "set gradient_checkpointing, or see `tuiwb plan`"
)


def cause_of(error: BaseException) -> str:
    """`out_of_memory`, `disk_full`, `input` or `error`."""
    for link in _chain(error):
        if isinstance(link, MemoryError) or type(link).__name__ == "OutOfMemoryError":
            return "out_of_memory"
        if _OUT_OF_MEMORY.search(str(link)):
            return "out_of_memory"
        if _DISK_FULL.search(str(link)):
            return "disk_full"
    return "input" if isinstance(error, InputFault) else "error"


def sentence(error: BaseException, *, step: int | None = None, plan: Mapping[str, Any] | None = None) -> str:
    """One sentence: what happened, and what to do where that is known.

    Args:
        step: optimizer steps that were complete.
        plan: that of the run, whose remedies are named where memory was short.
    """
    where = "" if step is None else f" in step {step + 1}"
    if isinstance(error, TuiwbError):
        return str(error)
    match cause_of(error):
        case "out_of_memory":
            return f"out of memory{where}: {_remedies((plan or {}).get('remedies') or ()) or _REMEDIES}"
        case "disk_full":
            return f"the disk is full{where}: make room and resume the run"
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"{reason_of(error)}{place}{where}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f": {lines[0]}" if lines else ""
    return f"{type(error).__name__}{said}{where}"


def _remedies(planned: Sequence[Mapping[str, Any]]) -> str:
    """The changes that save the most, as the plan has them."""
    most = sorted(planned, key=lambda one: -one["saves_bytes"])[:3]
    return "; ".join(f"{one['change']} saves {size(one['saves_bytes'])} and {one['cost']}" for one in most)


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain
