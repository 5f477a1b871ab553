"""Where a recipe runs, and what that hardware is good at."""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from tuiwb.recipe import Recipe

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, Host

Half = Literal["bfloat16", "float16"]


class Device(Struct, frozen=True):
    """One GPU, or the CPU (`gpu` None), with why it was chosen, the 16-bit format that it computes fast in, and the
    attention kernel that suits it. `tf32` is None where there is no such thing."""

    host: "Host"
    gpu: "Gpu | None"
    reason: str
    half: Half | None
    half_reason: str
    tf32: bool | None
    attention: str
    attention_reason: str


def device_for(recipe: Recipe, host: "Host", gpus: Sequence["Gpu"]) -> Device:
    """The device that a recipe runs on.

    A list of GPU numbers in `launch.gpus` is taken at its word; `checks` says when there is no such GPU.
    """
    wanted = recipe.launch.gpus if recipe.launch else None
    if recipe.use_cpu:
        return _cpu(host, "use_cpu is stated")
    if wanted == ():
        return _cpu(host, "launch.gpus is an empty list")
    if not gpus:
        return _cpu(host, "this machine has no GPU that can be used")
    if isinstance(wanted, tuple):
        named = [gpu for gpu in gpus if gpu.index in wanted]
        return _gpu(host, named[0] if named else gpus[0], "launch.gpus is stated")
    freest = max(gpus, key=lambda gpu: gpu.memory_free)
    return _gpu(host, freest, "the GPU with the most free memory" if len(gpus) > 1 else "the GPU of this machine")


def _cpu(host: "Host", reason: str) -> Device:
    return Device(
        host=host,
        gpu=None,
        reason=reason,
        half="bfloat16" if host.bf16_units else None,
        half_reason="this CPU has units for bfloat16"
        if host.bf16_units
        else "this CPU has no units for bfloat16, which would be three times as slow as float32",
        tf32=None,
        attention="sdpa",
        attention_reason="the fused kernel of torch",
    )


def _gpu(host: "Host", gpu: "Gpu", reason: str) -> Device:
    capability = gpu.compute_capability
    modern = capability is None or capability >= (8, 0)
    flash = modern and importlib.util.find_spec("flash_attn") is not None
    known = f"{gpu.name} has units for bfloat16" if capability else "GPUs of today compute in bfloat16"
    return Device(
        host=host,
        gpu=gpu,
        reason=reason,
        half="bfloat16" if modern else "float16",
        half_reason=known if modern else f"{gpu.name} has no units for bfloat16",
        tf32=True if modern else None,
        attention="flash_attention_2" if flash else "sdpa",
        attention_reason="the package flash-attn is installed" if flash else "the fused kernel of torch",
    )
