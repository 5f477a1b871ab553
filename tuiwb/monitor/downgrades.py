"""What was asked for against what runs: a launcher or a library that takes less without a word is an alarm.

Found in the field: `accelerate launch` starting two jobs of one process where two processes of one job were asked for,
and Trainer running without FSDP on a processor.
"""

from collections.abc import Mapping
from typing import Any

from tuiwb.monitor.alarms import Alarm

_KINDS = {
    "none": {"no", "multi_cpu", "multi_gpu", "multi_xpu", "multi_npu"},
    "ddp": {"multi_cpu", "multi_gpu", "multi_xpu", "multi_npu"},
    "fsdp": {"fsdp", "fsdp2"},
    "zero1": {"deepspeed", "zero1"},
    "zero2": {"deepspeed", "zero2"},
    "zero3": {"deepspeed", "zero3"},
}
"""What runs for each of the recipe's `launch.sharding`: accelerate's DistributedType, or more exactly."""

_LABELS = {
    "world_size": "processes",
    "device": "device",
    "precision": "mixed precision",
    "dtype": "dtype",
    "attn_implementation": "attn_implementation",
    "sharding": "launch.sharding",
}


def asked(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a job.yaml asks for, in the terms of `downgrades`; what it leaves open is left out."""
    recipe = job.get("input") or {}
    launch = recipe.get("launch") or {}
    processes = int(job.get("processes") or 1)
    wanted: dict[str, Any] = {
        "world_size": processes,
        "device": "cpu"
        if recipe.get("use_cpu") or job.get("gpus") == []
        else None
        if job.get("gpus") is None
        else "gpu",
        "precision": "bf16" if recipe.get("bf16") else "fp16" if recipe.get("fp16") else None,
        "dtype": None if recipe.get("load_in_4bit") or recipe.get("load_in_8bit") else recipe.get("dtype"),
        "attn_implementation": recipe.get("attn_implementation"),
        "sharding": launch.get("sharding") if processes > 1 else None,
    }
    return {name: value for name, value in wanted.items() if value not in (None, "auto")}


def downgrades(wanted: Mapping[str, Any], runs: Mapping[str, Any]) -> list[Alarm]:
    """One alarm for each thing that is not what was asked for.

    Args:
        wanted: see `asked`.
        runs: what the worker found when training began, under the same names; `device` is torch's (cuda, xpu, cpu …),
            `sharding` as `workers.in_force` tells it. What it does not say is not compared.
    """
    found = []
    for name, value in wanted.items():
        has = runs.get(name)
        if has is None or _same(name, value, has):
            continue
        found.append(
            Alarm(
                "downgrade",
                f"{_LABELS[name]}: {value} was asked for, and {has} runs",
                "critical",
                "stop it, and look at the log for why",
                name,
            )
        )
    return found


def _same(name: str, wanted: Any, has: Any) -> bool:
    if name == "sharding":
        return str(has).lower() in _KINDS.get(str(wanted), {str(has).lower()})
    if name == "device":
        return bool((wanted == "cpu") == (has == "cpu"))
    if name == "world_size":
        return int(wanted) == int(has)
    if name == "attn_implementation" and "flash" in str(wanted):
        return "flash" in str(has)  # the same kernel may come from a package or from the hub
    return str(wanted).removeprefix("torch.") == str(has).removeprefix("torch.")
