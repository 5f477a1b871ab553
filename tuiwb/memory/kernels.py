"""Whose kernels run: plain ones, Liger's, or this program's own on a CPU; and what those keep of a base in 4 bits."""

from tuiwb import hardware
from tuiwb.base.units import gib
from tuiwb.memory.adapters import Adapter, targeted
from tuiwb.memory.architecture import Architecture
from tuiwb.memory.assumptions import Assumptions
from tuiwb.recipe import Recipe

# Of the memory that is free, what the copies of a base in 4 bits may take (tuiwb/workers/lora.py).
KEPT_SHARE = 0.05


def kernels_of(recipe: Recipe, stage: str, device: str, others: tuple[str, ...], assumed: Assumptions) -> str:
    """A value of the question `kernels`.

    Args:
        others: models besides the trained one.
    """
    if recipe.use_liger_kernel:
        return assumed.choose("kernels", "liger", "use_liger_kernel is on")
    # tuiwb/workers/cpu.py: a reference that is a model of its own would be computed by other code, so none has them.
    if device == "cpu" and stage != "inference" and not others:
        return assumed.choose("kernels", "own", "this program's own on a CPU")
    return assumed.choose("kernels", "transformers", "no fused kernels are asked for")


def keeps_base(
    shapes: Architecture,
    adapter: Adapter | None,
    kernels: str,
    quantization: str,
    *,
    half: bool,
    assumed: Assumptions,
) -> bool:
    """Whether the matrices under an adapter stand beside their 4 bits once more, in what is computed in.

    Args:
        half: bitsandbytes computes in 16 bits.
    """
    if kernels != "own" or quantization != "nf4" or adapter is None or adapter.kind != "lora":
        return False
    if adapter.dropout or adapter.dora:
        return False
    size, free = unpacked_bytes(shapes, adapter, 2 if half else 4), hardware.host().memory_available
    default = "true" if size <= KEPT_SHARE * free else "false"
    return assumed.choose("kept_base", default, f"unpacked it takes {gib(size)} of {gib(free)} that are free") == "true"


def unpacked_bytes(shapes: Architecture, adapter: Adapter, width: int) -> float:
    """The matrices under an adapter, `width` bytes a weight."""
    return float(sum(count * one.weight * width for one, count in targeted(shapes, adapter)))
