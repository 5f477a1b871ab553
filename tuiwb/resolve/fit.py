"""The choices that depend on whether the training fits: asked of the memory plan, not guessed."""

from typing import TYPE_CHECKING

from tuiwb.base.errors import TuiwbError
from tuiwb.base.units import gib
from tuiwb.resolve.choices import Choices
from tuiwb.resolve.device import Device

if TYPE_CHECKING:
    from tuiwb.models import ModelInfo


def fill_checkpointing(choices: Choices, model: "ModelInfo | None", device: Device) -> None:
    """Gradient checkpointing costs a third of the speed, so it is off wherever the plan says that it fits without."""
    if choices.now.gradient_checkpointing is not None:
        return
    if choices.now.method == "prefix":
        choices.settle("gradient_checkpointing", False, "a learned prefix does not go with it")
        return
    if device.gpu is None:
        choices.settle("gradient_checkpointing", False, "on a CPU the memory it saves is seldom short, its time is")
        return
    if model is None:
        choices.settle("gradient_checkpointing", True, "the model is not known, so this is the safe choice")
        return
    from tuiwb import memory

    choices.settle("gradient_checkpointing", False, "")
    try:
        plan = memory.plan(choices.now, model, gpu=device.gpu)
    except TuiwbError as error:
        choices.settle("gradient_checkpointing", True, f"the memory cannot be planned ({error.message})")
        return
    room = device.gpu.memory_total
    if plan.fits is not None and plan.fits.ok:
        reason = f"{gib(plan.peak_bytes)} fit into {gib(room)} without it, and it costs a third of the speed"
        choices.settle("gradient_checkpointing", False, reason)
    else:
        choices.settle("gradient_checkpointing", True, f"without it {gib(plan.peak_bytes)} would be needed")
