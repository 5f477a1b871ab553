"""The largest batch, the longest sequence, the fewest GPUs: on a peak that grows, or falls, with each of them."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.memory import device
from tuiwb.memory.phases import Step

MOST_BATCH = 4096
MOST_GPUS = 1024


class Search(Struct, frozen=True):
    """What fits. None: nothing fits (batch, length), or no number of GPUs is enough. 0 is never given."""

    max_batch: int | None
    max_length: int | None
    min_gpus: int | None

    def to_json(self) -> dict[str, int | None]:
        return {"max_batch": self.max_batch, "max_length": self.max_length, "min_gpus": self.min_gpus}


def peak_of(step: Step) -> float:
    return max(phase.bytes for phase in step.phases())


def needed(step: Step) -> float:
    """What must be free on a GPU for this step: context and slack included."""
    return device.needed(peak_of(step), sum(step.steady().values()), step.inputs.ranks)


def search(step: Step, usable: float) -> Search:
    """What fits into `usable` bytes of a GPU, context and slack included."""
    inputs = step.inputs
    longest = max(inputs.model.context or 0, inputs.length, 1 << 20)
    return Search(
        largest(lambda batch: needed(step.at(batch, inputs.length)), usable, MOST_BATCH),
        largest(lambda length: needed(step.at(inputs.batch, length)), usable, longest),
        _fewest(step, usable),
    )


def largest(need: Callable[[int], float], room: float, most: int) -> int | None:
    """The largest number whose need fits.

    The need is made of pieces that are straight or bend upwards. So the line through two numbers of which one fits
    meets `room` at one that fits, and the line through two that do not at one beyond which nothing fits: a few such
    lines do what would take twenty halvings.
    """
    low, at_low = 1, need(1)
    if at_low > room:
        return None
    high, at_high = 2, need(2)
    while at_high <= room:
        if high >= most:
            return most
        slope = (at_high - at_low) / (high - low)
        reach = high + (room - at_high) / slope if slope > 0 else 8.0 * high
        low, at_low = high, at_high
        high = min(max(int(min(reach, most)) + 1, 2 * low), most)
        at_high = need(high)
    slope, turn = 0.0, 0
    while high - low > 1:
        turn += 1
        if turn % 3 == 0:
            middle = (low + high) // 2
        elif turn % 3 == 1 and slope > 0:
            middle = int(high - (at_high - room) / slope)
        else:
            middle = low + int((room - at_low) / (at_high - at_low) * (high - low))
        middle = min(max(middle, low + 1), high - 1)
        at_middle = need(middle)
        if at_middle <= room:
            low, at_low = middle, at_middle
        else:
            slope = (at_high - at_middle) / (high - middle)
            high, at_high = middle, at_middle
    return low


def _fewest(step: Step, usable: float) -> int | None:
    """GPUs that share the model by FSDP, the batch of each unchanged; a tensor parallel group or a pipeline counts as
    many as it has."""
    inputs = step.inputs
    together = inputs.grid.group * inputs.grid.context
    kind = inputs.sharding if inputs.sharding in ("fsdp", "zero3") else "fsdp"

    def among(groups: int) -> Step:
        alone = groups * inputs.grid.context == 1
        grid = replace(inputs.grid, ranks=groups * together)
        return Step(replace(inputs, grid=grid, sharding="none" if alone else kind))

    def fits(step: Step) -> bool:
        return needed(step) <= usable

    if fits(among(1)):
        return together
    most, several = MOST_GPUS // together, among(2)
    # However many share the weights, each has the activations of its own batch.
    if most < 2 or not fits(several.shared_by(most * together)):
        return None
    low, high = 1, 2
    while high < most and not fits(several.shared_by(high * together)):
        low, high = high, min(high * 2, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(several.shared_by(middle * together)) else (middle, high)
    return high * together


def batch_map(step: Step, usable: float, batches: tuple[int, ...], lengths: tuple[int, ...]) -> list[list[float]]:
    """Share of `usable` that each batch (row) and length (column) needs; above 1 it does not fit."""
    return [[needed(step.at(batch, length)) / usable for length in lengths] for batch in batches]
