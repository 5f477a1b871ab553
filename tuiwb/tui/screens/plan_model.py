"""What the Plan screen shows, computed in a thread: the completed recipe, the plan, the map, the fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuiwb import memory, models
from tuiwb.base.units import parameters
from tuiwb.hardware.catalogue import GpuSpec
from tuiwb.memory.search import batch_map
from tuiwb.models import ModelInfo
from tuiwb.recipe import Recipe, field_docs, to_plain
from tuiwb.resolve.choices import Resolved
from tuiwb.resolve.elsewhere import planning_target
from tuiwb.tui.screens.plan_fields import Field

BATCHES = (1, 2, 4, 8, 16, 32, 64)
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
STAGES = ("sft", "pretrain", "reward", "dpo", "orpo", "kto", "ppo", "grpo", "rloo")
METHODS = ("lora", "qlora", "dora", "ia3", "prefix", "prompt", "full", "freeze")
OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit",
              "adafactor", "lion_8bit", "sgd")  # fmt: skip
SWITCH = ("false", "true")
_LORA = ("lora", "qlora", "dora")


@dataclass(frozen=True, slots=True)
class View:
    """A plan and all that is drawn of it; nothing of it is computed when it is drawn."""

    plan: memory.Plan
    resolved: Resolved
    map: tuple[tuple[float, ...], ...]


def make_view(recipe: Recipe, model: ModelInfo | None, spec: GpuSpec | None, assume: Mapping[str, str]) -> View:
    """Plan `recipe` for a GPU. Runs in a thread.

    Args:
        model: None where only its configuration can be opened.

    Raises:
        InputFault, UsageFault: the recipe, the model or an assumption is at fault.
    """
    if model is None:
        # There may be no weights to train or talk to; to plan, the configuration is enough.
        model = models.open_model(recipe.model_name_or_path or "", config_only=True)
    resolved, gpu = planning_target(recipe, model, spec)
    plan = memory.plan(resolved.recipe, model, gpu=gpu, assume=assume)
    # What is drawn is asked for here, so that the event loop never computes it.
    _ = (
        plan.phases,
        plan.components,
        plan.search,
        plan.remedies,
        plan.rules,
        plan.fits,
        plan.device_bytes,
        plan.time_s,
    )
    shares: list[list[float]] = []
    if gpu is not None:
        shares = batch_map(plan.step, plan.usable, BATCHES, LENGTHS)
    return View(plan, resolved, tuple(tuple(row) for row in shares))


def fields(recipe: Recipe, resolved: Resolved | None, model: ModelInfo | None, gpu: str) -> tuple[Field, ...]:
    """The form's lines: what the recipe states, and else what was chosen."""
    stated = to_plain(recipe)
    chosen = to_plain(resolved.recipe) if resolved else {}
    reasons = resolved.reasons if resolved else {}
    docs = field_docs()

    def value(key: str) -> tuple[str, bool]:
        first, _, second = key.partition(".")
        for source, is_stated in ((stated, True), (chosen, False)):
            found = source.get(first)
            if second:
                found = (found or {}).get(second)
            if found is not None:
                return _word(found), is_stated
        return "", False

    def field(key: str, label: str, kind: str, choices: tuple[str, ...] = (), unit: str = "") -> Field:
        text, is_stated = value(key)
        if kind == "choice" and text and text not in choices:
            choices = (*choices, text)
        return Field(key, label, kind, text, is_stated, choices, docs[key], unit, reasons.get(key, ""))

    method = value("method")[0]
    name = str(recipe.model_name_or_path or "")
    size = f" ({parameters(model.parameters)})" if model is not None and model.parameters else ""
    found = [
        Field("model_name_or_path", "model", "pick", name + size, True, (), docs["model_name_or_path"]),
        Field(
            "gpu", "GPU", "pick", gpu, True, (), "The GPU that the plan is held against; it is no key of the recipe."
        ),
        field("stage", "stage", "choice", STAGES),
        field("method", "method", "choice", METHODS),
    ]
    if method in _LORA:
        found.append(field("lora_r", "rank", "number"))
        found.append(field("lora_target_modules", "targets", "pick"))
    found += [
        field("per_device_train_batch_size", "batch", "number", unit="examples"),
        field("max_length", "length", "number", unit="tokens"),
        field("gradient_accumulation_steps", "accumulation", "number", unit="batches"),
        field("gradient_checkpointing", "checkpointing", "choice", SWITCH),
        field("optim", "optimizer", "choice", OPTIMIZERS),
        field("dtype", "weights", "choice", ("bfloat16", "float16", "float32")),
        field("attn_implementation", "attention", "choice", ("sdpa", "flash_attention_2", "eager")),
        field("use_liger_kernel", "liger kernels", "choice", SWITCH),
        field("launch.processes", "GPUs", "number"),
        field("launch.sharding", "sharding", "choice", ("none", "ddp", "fsdp", "zero1", "zero2", "zero3")),
    ]
    return tuple(found)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(one) for one in value)
    return str(value)
