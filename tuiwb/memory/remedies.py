"""What to change when it does not fit: recipe changes, what each saves, what each costs."""

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tuiwb.base.errors import TuiwbError
from tuiwb.recipe import Launch, Recipe

if TYPE_CHECKING:
    from tuiwb.memory.planning import Plan


class Remedy(Struct, frozen=True):
    """A change to the recipe.

    Attributes:
        changes: keys and values, as `--set` takes them.
        saves_bytes: of the peak.
        cost: what else it does, to speed or quality, beginning with a verb: `learns the same, a little slower`.
        recipe: with the change made.
    """

    changes: dict[str, Any]
    saves_bytes: int
    cost: str
    recipe: Recipe

    @property
    def settings(self) -> dict[str, str]:
        """The change as `--set` takes it."""
        return {key: _word(value) for key, value in self.changes.items()}

    @property
    def change(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.settings.items())

    def to_json(self) -> dict[str, Any]:
        return {"change": self.change, "saves_bytes": self.saves_bytes, "cost": self.cost}


def remedies(plan: "Plan") -> tuple[Remedy, ...]:
    """Changes that lower the peak, the largest saving first."""
    found = []
    for changes, cost in _candidates(plan):
        recipe = _with(plan.recipe, changes)
        try:
            changed = plan.changed(recipe)
        except TuiwbError:
            continue
        saved = plan.peak_bytes - changed.peak_bytes
        if saved > 0.005 * plan.peak_bytes:
            found.append(Remedy(changes, saved, cost, recipe))
    return tuple(sorted(found, key=lambda remedy: -remedy.saves_bytes))


def _candidates(plan: "Plan") -> list[tuple[dict[str, Any], str]]:
    inputs = plan.inputs
    if inputs.stage == "inference":
        return _candidates_to_answer(plan)
    found: list[tuple[dict[str, Any], str]] = []
    if not inputs.checkpointing:
        found.append(({"gradient_checkpointing": True}, "computes each layer twice, so a step takes a third longer"))
    if inputs.batch > 1:
        half = {
            "per_device_train_batch_size": inputs.batch // 2,
            "gradient_accumulation_steps": inputs.accumulation * inputs.batch // (inputs.batch // 2),
        }
        found.append((half, "learns the same, a little slower"))
    if inputs.length > 512:
        found.append(({"max_length": inputs.length // 2}, f"cuts what is longer than {inputs.length // 2:,} tokens"))
    if inputs.trains_base:
        found.append(({"method": "lora"}, "learns less that is new; for style and format it is mostly as good"))
    if inputs.adapter and not inputs.quantization:
        found.append(({"method": "qlora"}, "may take a third longer and lose a little quality"))
    if inputs.quantization == "nf4" and not inputs.nested:
        found.append(({"use_bnb_nested_quant": True}, "costs nothing to speak of"))
    if inputs.trains_base or inputs.adapter:
        if inputs.weights == 4 and not inputs.quantization:
            found.append(({"dtype": "bfloat16"}, "may lose small updates of trained weights"))
        if inputs.optimizer == "adamw_torch":
            found.append(({"optim": "adamw_torch_fused"}, "costs nothing"))
        if not inputs.optimizer.endswith("8bit"):
            bits = "keeps the optimizer's state in 8 bits, at hardly any cost in quality"
            found.append(({"optim": "adamw_bnb_8bit"}, bits))
    if inputs.attention == "eager":
        found.append(({"attn_implementation": "sdpa"}, "is faster at no cost"))
    if inputs.kernels == "transformers":
        found.append(({"use_liger_kernel": True}, "is faster at no cost, but needs the package liger-kernel"))
    if inputs.ranks > 1 and inputs.sharding in ("ddp", "zero1", "zero2"):
        found.append(({"launch.sharding": "fsdp"}, "makes more traffic between the GPUs"))
    return found


def _candidates_to_answer(plan: "Plan") -> list[tuple[dict[str, Any], str]]:
    inputs = plan.inputs
    found: list[tuple[dict[str, Any], str]] = []
    if inputs.batch > 1:
        found.append(({"per_device_train_batch_size": inputs.batch // 2}, "gives half as many answers at once"))
    if (prompt := inputs.length - inputs.completion) > 512:
        found.append(({"max_length": prompt // 2}, "keeps conversations shorter"))
    if not inputs.quantization:
        found.append(({"load_in_4bit": True}, "costs a little quality, and is slower where it is one answer at a time"))
    return found


def _with(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    launch = {key.removeprefix("launch."): value for key, value in changes.items() if key.startswith("launch.")}
    plain = {key: value for key, value in changes.items() if not key.startswith("launch.")}
    if launch:
        plain["launch"] = msgspec.structs.replace(recipe.launch or Launch(), **launch)
    return msgspec.structs.replace(recipe, **plain)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
