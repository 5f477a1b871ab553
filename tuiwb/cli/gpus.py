"""`tuiwb gpus`: the GPUs and the host as they are now."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from tuiwb.base.units import gib
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu
    from tuiwb.runs.gpu_users import GpuUser


def configure(parser: argparse.ArgumentParser) -> None:
    output.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from tuiwb import hardware
    from tuiwb.runs.gpu_users import gpu_users

    status, ours = hardware.gpu_status(), hardware.host()
    users = gpu_users(status.gpus)
    if args.json:
        output.print_json(
            {
                "gpus": [_whole(gpu, users) for gpu in status.gpus],
                "problem": status.problem or None,
                "driver": status.driver,
                "cuda": status.cuda,
                "host": msgspec.to_builtins(ours),
            }
        )
        return 0
    if status.gpus:
        output.print_table(
            ["GPU", "name", "memory used", "of", "busy", "power", "limit", "temp.", "processes"],
            (_row(gpu) for gpu in status.gpus),
            right=(0, 2, 3, 4, 5, 6, 7, 8),
        )
        if any(gpu.processes for gpu in status.gpus):
            output.print_table(
                ["GPU", "process", "memory", "run", "program", "user"],
                (row for gpu in status.gpus for row in _processes(gpu, users)),
                right=(0, 1, 2),
            )
        output.say(f"driver {status.driver or 'unknown'}, CUDA {status.cuda or 'unknown'}")
    if status.problem:
        output.say(f"{'note' if status.gpus else 'no GPU'}: {status.problem}")
    formats = "bfloat16 and float32" if ours.bf16_units else "float32 (no units for bfloat16)"
    output.print_table(
        ["host", ""],
        [
            ("processor", f"{ours.cpu_name}, {ours.cpus} usable"),
            ("computes fast in", formats),
            ("memory available", f"{gib(ours.memory_available)} of {gib(ours.memory_total)}"),
        ],
    )
    return 0


def _whole(gpu: "Gpu", users: "dict[int, GpuUser]") -> dict[str, Any]:
    """As JSON: of each process also who it is, where that can be seen from here."""
    told: dict[str, Any] = msgspec.to_builtins(gpu)
    for process in told["processes"]:
        user = users.get(process["pid"])
        process |= {name: getattr(user, name, None) for name in ("name", "owner", "run_id")}
    return told


def _processes(gpu: "Gpu", users: "dict[int, GpuUser]") -> Iterator[tuple[object, ...]]:
    for process in gpu.processes:
        user = users.get(process.pid)
        memory = "–" if process.memory is None else gib(process.memory)
        who = ("–", "–", "–") if user is None else (user.run_id or "–", user.name, user.owner)
        yield (gpu.index, process.pid, memory, *who)


def _row(gpu: "Gpu") -> tuple[object, ...]:
    def known(value: float | None, unit: str) -> str:
        return "–" if value is None else f"{value:.0f}{unit}"

    return (
        gpu.index,
        gpu.name + ("" if gpu.visible else " (hidden by CUDA_VISIBLE_DEVICES)") + (" (MIG)" if gpu.mig else ""),
        gib(gpu.memory_used),
        gib(gpu.memory_total) + (" of the host" if gpu.shares_memory else ""),
        known(gpu.utilisation, " %"),
        known(gpu.power_w, " W"),
        known(gpu.power_limit_w, " W"),
        known(gpu.temperature_c, " °C"),
        len(gpu.processes),
    )
