"""The largest batch, the longest sequence, the fewest GPUs: by halving, on a peak that grows with each of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tuiwb.memory.phases import Step

MOST_BATCH = 4096
MOST_GPUS = 1024


@dataclass(frozen=True, slots=True)
class Search:
    """What fits. None: nothing fits (batch, length), or no number of GPUs is enough. 0 is never given."""

    max_batch: int | None
    max_length: int | None
    min_gpus: int | None

    def to_json(self) -> dict[str, int | None]:
        return {"max_batch": self.max_batch, "max_length": self.max_length, "min_gpus": self.min_gpus}


def peak_of(step: Step) -> float:
    return max(phase.bytes for phase in step.phases())


def search(step: Step, room: float) -> Search:
    """What fits into `room` bytes of peak allocated memory."""
    inputs = step.inputs
    longest = max(inputs.model.context or 0, inputs.length, 1 << 20)
    return Search(
        _largest(lambda batch: peak_of(step.at(batch, inputs.length)) <= room, MOST_BATCH),
        _largest(lambda length: peak_of(step.at(inputs.batch, length)) <= room, longest),
        _fewest(step, room),
    )


def _largest(fits: Callable[[int], bool], most: int) -> int | None:
    if not fits(1):
        return None
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _fewest(step: Step, room: float) -> int | None:
    """GPUs that share the model by FSDP, the batch of each unchanged; a tensor parallel group or a pipeline counts as
    many as it has."""
    grid = step.inputs.grid
    together = grid.group * grid.context

    def fits(groups: int) -> bool:
        kind = step.inputs.sharding if step.inputs.sharding in ("fsdp", "zero3") else "fsdp"
        alone = groups * grid.context == 1
        more = replace(step.inputs, grid=replace(grid, ranks=groups * together), sharding="none" if alone else kind)
        return peak_of(Step(more)) <= room

    groups = 1
    while groups * together <= MOST_GPUS and not fits(groups):
        groups *= 2
    if groups * together > MOST_GPUS:
        return None
    low = groups // 2
    while groups - low > 1:
        middle = (low + groups) // 2
        low, groups = (low, middle) if fits(middle) else (middle, groups)
    return groups * together


def batch_map(step: Step, room: float, batches: tuple[int, ...], lengths: tuple[int, ...]) -> list[list[float]]:
    """Share of `room` that each batch (row) and length (column) needs; above 1 it does not fit."""
    return [[peak_of(step.at(batch, length)) / room for length in lengths] for batch in batches]
