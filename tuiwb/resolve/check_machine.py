"""Checks of the machine: devices, number formats, packages, memory, disk, and what happens at logout."""

import getpass
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base import settings
from tuiwb.base.units import gib, size
from tuiwb.recipe import Recipe
from tuiwb.resolve.check import Check, error, note, warning
from tuiwb.resolve.splitting import ZERO

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, Host
    from tuiwb.memory import Plan

_OPTIMIZER_PACKAGES = {
    "bitsandbytes": ("bnb", "8bit", "32bit", "paged", "ademamix"),
    "galore_torch": ("galore",),
    "lomo_optim": ("lomo",),
    "grokadamw": ("grokadamw",),
    "schedulefree": ("schedule_free",),
    "apollo_torch": ("apollo",),
    "torch_optimi": ("stable_adamw",),
    "torchao": ("adamw_torch_4bit", "adamw_torch_8bit"),
    "torchdistx": ("anyprecision",),
}
_REPORT_PACKAGES = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "comet_ml": "comet_ml",
    "swanlab": "swanlab",
    "clearml": "clearml",
    "neptune": "neptune",
}


def check_device(recipe: Recipe, host: "Host", gpus: Sequence["Gpu"]) -> Iterator[Check]:
    """Whether the devices are there and can compute what is asked of them."""
    numbers = [gpu.index for gpu in gpus]
    wanted = recipe.launch.gpus if recipe.launch and isinstance(recipe.launch.gpus, tuple) else ()
    for missing in [number for number in wanted if number not in numbers]:
        there = f"there are {', '.join(map(str, numbers))}" if numbers else "this machine has none that can be used"
        yield error("launch.gpus", f"there is no GPU {missing}; {there}", "launch.gpus: auto")
    processes = (recipe.launch.processes if recipe.launch else None) or 1
    if wanted and len(wanted) != processes:
        message = f"{processes} processes do not go with {len(wanted)} GPUs: each takes one"
        yield error("launch.processes", message, f"launch.processes: {len(wanted)}")
    chosen = [gpu for gpu in gpus if gpu.index in wanted]
    if not chosen:
        yield from _cpu(recipe, host)
    else:
        yield from _gpu(recipe, chosen[0])


def check_packages(recipe: Recipe) -> Iterator[Check]:
    """Whether the packages are there that the recipe needs beyond the usual ones. Another interpreter
    (`worker.python`) is not looked into: the run's first seconds say what it lacks."""
    python = settings.load().worker.python
    if python and Path(python).absolute() != Path(sys.executable).absolute():
        return
    if recipe.load_in_4bit or recipe.load_in_8bit:
        yield from _missing("bitsandbytes", "method" if recipe.method == "qlora" else "load_in_8bit", "quantized bases")
    optim = recipe.optim or ""
    for package, parts in _OPTIMIZER_PACKAGES.items():
        if any(part in optim for part in parts) and not (package == "bitsandbytes" and "torch" in optim):
            yield from _missing(package, "optim", optim)
            break
    attention = recipe.attn_implementation or ""
    if attention.startswith("flash_attention"):
        yield from _missing("flash_attn", "attn_implementation", attention)
    if recipe.launch and recipe.launch.sharding in ZERO:
        yield from _missing("deepspeed", "launch.sharding", f"sharding {recipe.launch.sharding}")
    if recipe.use_liger_kernel:
        yield from _missing("liger_kernel", "use_liger_kernel", "the liger kernels")
    reports = (recipe.report_to,) if isinstance(recipe.report_to, str) else recipe.report_to or ()
    for name in reports:
        if name in _REPORT_PACKAGES:
            yield from _missing(_REPORT_PACKAGES[name], "report_to", name)


def check_memory(recipe: Recipe, plan: "Plan | None", plan_problem: str, host: "Host") -> Iterator[Check]:
    """Whether it fits, as far as the plan can say."""
    if plan is None:
        if plan_problem:
            yield note("", f"the memory cannot be planned: {plan_problem}")
        return
    if plan.fits is not None and not plan.fits.ok:
        remedy = plan.remedies[0].change if plan.remedies else ""
        needs, has = gib(plan.peak_bytes), gib(plan.fits.memory_bytes)
        yield warning("", f"about {needs} are needed and {plan.fits.gpu} has {has}", remedy)
    elif recipe.use_cpu and plan.peak_bytes > host.memory_available:
        needs, has = gib(plan.peak_bytes), gib(host.memory_available)
        yield warning("", f"about {needs} are needed and {has} of this machine's memory are free", "a smaller batch")


def check_disk(plan: "Plan | None") -> Iterator[Check]:
    """Whether the checkpoints find room where the runs are."""
    folder = settings.runs_root().absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    needed = plan.disk_bytes if plan else 0
    if needed > free:
        yield error("", f"the checkpoints need {size(needed)} and {folder} has {size(free)} free",
                    "save_total_limit: 1, save_only_model: true, or places.runs on another disk")  # fmt: skip
    elif free < 64 << 20:
        yield error("", f"{folder} has only {size(free)} free", "make room, or set places.runs to another disk")
    elif needed > free // 2:
        yield warning("", f"the checkpoints take {size(needed)} of the {size(free)} that {folder} has free")


def check_logout(
    config: Path = Path("/etc/systemd/logind.conf"), linger: Path = Path("/var/lib/systemd/linger")
) -> Iterator[Check]:
    """A machine may be set up to end all processes of a user at logout; a run would end with them."""
    import configparser

    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        read = [config, *sorted(config.with_name("logind.conf.d").glob("*.conf"))]
        parser.read(read)
        kills = parser.getboolean("Login", "KillUserProcesses", fallback=False)
        if kills and not (linger / getpass.getuser()).exists():
            yield warning("", "this machine ends your processes when you log out, and the run with them",
                          "loginctl enable-linger")  # fmt: skip
    except (OSError, KeyError, ValueError, configparser.Error):
        return


def _cpu(recipe: Recipe, host: "Host") -> Iterator[Check]:
    if recipe.fp16:
        yield error("fp16", "computing in float16 needs a GPU", "leave it out")
    if recipe.tf32:
        yield error("tf32", "TF32 is a format of GPUs", "leave it out")
    if (recipe.attn_implementation or "").startswith("flash_attention"):
        yield error("attn_implementation", f"{recipe.attn_implementation} needs a GPU", "attn_implementation: sdpa")
    slow = recipe.bf16 or recipe.dtype == "bfloat16"
    if slow and not host.bf16_units:
        key = "bf16" if recipe.bf16 else "dtype"
        fix = "bf16: false, dtype: float32"
        yield warning(key, "this CPU has no units for bfloat16: about three times as slow as float32", fix)


def _gpu(recipe: Recipe, gpu: "Gpu") -> Iterator[Check]:
    old = gpu.compute_capability is not None and gpu.compute_capability < (8, 0)
    if old and recipe.bf16:
        yield error("bf16", f"{gpu.name} has no units for bfloat16", "fp16: true")
    if old and recipe.tf32:
        yield error("tf32", f"{gpu.name} has no TF32", "leave it out")
    if old and (recipe.attn_implementation or "").startswith("flash_attention"):
        yield error("attn_implementation", f"{gpu.name} is too old for it", "attn_implementation: sdpa")


def _missing(package: str, key: str, what: str) -> Iterator[Check]:
    if importlib.util.find_spec(package) is None:
        yield error(key, f"{what} needs the package {package}, which is not installed",
                    f"pip install {package.replace('_', '-')}")  # fmt: skip
