"""Whether a chat fits on the machine, beside a training that goes on: told before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb import hardware, memory, models, rundir, runs
from tuiwb.base.errors import TuiwbError
from tuiwb.base.units import size
from tuiwb.chat.protocol import Lane
from tuiwb.chat.target import Target
from tuiwb.recipe import Recipe

PLANNED_TOKENS = 4096
"""Length of the conversations that are planned for, where the context allows it."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes, as far as they are known.

    Attributes:
        needed: by the chat's engine at most.
        free: where it would be loaded, now.
        training: by which the run's training may still grow; None where no training of it goes on.
        place: `GPU 0`, or `this machine`.
    """

    needed: int
    free: int
    training: int | None
    place: str

    @property
    def ok(self) -> bool:
        return self.needed + (self.training or 0) <= self.free

    @property
    def sentence(self) -> str:
        """For people."""
        chat = f"the chat needs up to {size(self.needed)}, and {size(self.free)} are free on {self.place}"
        if self.training is None:
            return f"{chat}: {'it fits' if self.ok else 'it does not fit'}"
        grows = f"the training may take {size(self.training)} more"
        together = "both fit together" if self.ok else "they do not fit together: pause the run, or talk to it later"
        return f"{chat}; {grows}: {together}"

    def to_json(self) -> dict[str, Any]:
        return {
            "needed_bytes": self.needed,
            "free_bytes": self.free,
            "training_bytes": self.training,
            "place": self.place,
            "ok": self.ok,
        }


def fit_of(target: Target) -> Fit | None:
    """Plan the chat's memory and, where the target is a run that trains, what its training may still take.

    Returns:
        None where nothing is loaded here, or the model's memory cannot be planned.
    """
    lanes = [lane for lane in target.lanes if isinstance(lane, Lane)]
    if not lanes:
        return None
    gpus = [gpu for gpu in hardware.gpus() if gpu.visible]
    try:
        needed = sum(_needed(model, lanes, on_gpu=bool(gpus)) for model in dict.fromkeys(lane.model for lane in lanes))
    except TuiwbError:
        return None
    if gpus:
        best = max(gpus, key=lambda gpu: gpu.memory_free)
        place, free = f"GPU {best.index}", best.memory_free
    else:
        place, free = "this machine", hardware.host().memory_available
    return Fit(needed, free, _training(target, on_gpu=bool(gpus)), place)


def _needed(model: str, lanes: list[Lane], *, on_gpu: bool) -> int:
    """What one base takes with its adapters and a conversation of each of its lanes."""
    mine = [lane for lane in lanes if lane.model == model]
    info = models.open_model(model, config_only=True)
    half = on_gpu or hardware.host().bf16_units
    recipe = Recipe(
        model_name_or_path=model,
        per_device_train_batch_size=len(mine),
        max_length=min(mine[0].context or PLANNED_TOKENS, PLANNED_TOKENS),
        method="qlora" if (mine[0].quantization or "").startswith("nf4") else "full",
        dtype="bfloat16" if half else "float32",
        use_cpu=not on_gpu,
    )
    from tuiwb.resolve.elsewhere import planning_target

    resolved, gpu = planning_target(recipe, info, None)
    adapters = sum(_bytes(Path(lane.adapter)) for lane in mine if lane.adapter is not None)
    return memory.plan(resolved.recipe, info, gpu=gpu, answers=True).device_bytes[1] + adapters


def _bytes(adapter: Path) -> int:
    return sum(file.stat().st_size for file in adapter.glob("*.safetensors"))


def _training(target: Target, *, on_gpu: bool) -> int | None:
    """By how much the run's training may still grow."""
    if target.run_id is None:
        return None
    view = runs.show(target.run_id)
    if view.kind != "train" or not view.active:
        return None
    planned = int(((rundir.read_job(view.run).get("plan") or {}).get("device_bytes") or {}).get("high") or 0)
    pids = [int(pid) for pid in view.pids.get("workers") or ()]
    return max(planned - _used(pids, on_gpu=on_gpu), 0)


def _used(pids: list[int], *, on_gpu: bool) -> int:
    import psutil

    if on_gpu:
        held = [each for gpu in hardware.gpus() for each in gpu.processes if each.pid in pids]
        return sum(each.memory or 0 for each in held)
    total = 0
    for pid in pids:
        try:
            total += psutil.Process(pid).memory_info().rss
        except psutil.Error:
            continue
    return total
