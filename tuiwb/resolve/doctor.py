"""What of this machine keeps tuiwb from doing its work, each with what to do about it.

The training stack is asked in a process of its own, by the interpreter that the workers will have.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tuiwb.base import settings
from tuiwb.base.units import GIB, size
from tuiwb.base.worker import worker_environment
from tuiwb.hardware import gpu_status, host
from tuiwb.hardware.logout import logout_problem

Level = Literal["ok", "note", "warning", "error"]

ASK_S = 120.0
"""For the import of torch on a cold disk."""

_LITTLE_DISK = 20 * GIB
_LITTLE_SHARED = GIB

_ASK = """
import json, sys
found = {"python": sys.version.split()[0]}
try:
    import torch
    found["torch"] = torch.__version__
    found["cuda"] = torch.version.cuda or torch.version.hip
    found["available"] = torch.cuda.is_available()
    if found["available"]:
        found["bf16"] = torch.cuda.is_bf16_supported()
        found["archs"] = torch.cuda.get_arch_list()
        every = range(torch.cuda.device_count())
        found["capability"] = ["sm_%d%d" % torch.cuda.get_device_capability(each) for each in every]
except Exception as error:
    found["torch_error"] = f"{type(error).__name__}: {error}"
import importlib.metadata, importlib.util
names = "transformers trl peft accelerate datasets flash-attn kernels bitsandbytes tensorboard"
for name in names.split():
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
if found["bitsandbytes"] and "torch" in found:
    try:
        import bitsandbytes
    except Exception as error:
        found["bitsandbytes_error"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what: driver, torch, disk …
        message: how it is, one sentence.
        fix: what to do, "" where nothing is to be done.
    """

    level: Level
    name: str
    message: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(*, network: bool = True) -> Iterator[Finding]:
    """Look at everything, the quick things first.

    Args:
        network: ask whether the hub can be reached.
    """
    chosen = settings.load()
    yield driver()
    yield processor()
    yield from disks(chosen)
    yield shared_memory(Path("/dev/shm"))
    yield logout()
    yield clipboard(os.environ, chosen, _output)
    yield py_spy()
    yield hub(chosen) if network else Finding("note", "hub", "not asked")
    yield from stack(ask_worker(chosen), gpus=len(gpu_status().gpus))


def driver() -> Finding:
    status = gpu_status()
    if not status.gpus:
        return Finding("note", "driver", f"no GPU: {status.problem}", "training goes on the processor, slowly")
    names = ", ".join(sorted({gpu.name for gpu in status.gpus}))
    if status.problem:
        return Finding("error", "driver", status.problem, "`nvidia-smi` and the kernel's log say more")
    return Finding(
        "ok",
        "driver",
        f"{len(status.gpus)} × {names}, driver {status.driver or 'unknown'}, CUDA {status.cuda or 'unknown'}",
    )


def processor() -> Finding:
    ours = host()
    fast = "bfloat16 and float32" if ours.bf16_units else "float32 alone (no units for bfloat16)"
    return Finding(
        "ok", "processor", f"{ours.cpus} usable, fast in {fast}, {size(ours.memory_available)} of memory free"
    )


def disks(chosen: settings.Settings) -> Iterator[Finding]:
    for name, folder in (("runs", settings.runs_root(chosen)), ("models", settings.models_root(chosen))):
        place = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
        free = shutil.disk_usage(place).free
        if not os.access(place, os.W_OK):
            yield Finding(
                "error", f"disk, {name}", f"{place} cannot be written", f"set places.{name} to another folder"
            )
        elif free < _LITTLE_DISK:
            yield Finding(
                "warning",
                f"disk, {name}",
                f"{size(free)} are free at {place}",
                f"make room, or set places.{name} to another folder; `tuiwb runs prune` removes old checkpoints",
            )
        else:
            yield Finding("ok", f"disk, {name}", f"{size(free)} are free at {place}")


def shared_memory(path: Path) -> Finding:
    """Workers of a data loader and NCCL pass tensors through it; containers start with 64 MiB."""
    try:
        total = shutil.disk_usage(path).total
    except OSError:
        return Finding("warning", "shared memory", f"{path} is not there", "mount it (docker: --shm-size=8g)")
    if total < _LITTLE_SHARED:
        return Finding(
            "warning",
            "shared memory",
            f"{path} holds {size(total)}: data loaders and NCCL may fail with a bus error",
            "make it larger (docker: --shm-size=8g), or set dataloader_num_workers: 0",
        )
    return Finding("ok", "shared memory", f"{path} holds {size(total)}")


def logout() -> Finding:
    problem = logout_problem()
    if problem is not None:
        return Finding("warning", "logout", problem[0], problem[1])
    return Finding("ok", "logout", "runs that are started here outlive it")


def clipboard(environ: Any, chosen: settings.Settings, output: Callable[[list[str]], str | None]) -> Finding:
    """Whether what is copied reaches the user's own machine."""
    if chosen.screen.clipboard == "off":
        return Finding("note", "clipboard", "copying is off", "set screen.clipboard to auto")
    if environ.get("TMUX"):
        allowed = (output(["tmux", "show-options", "-gv", "set-clipboard"]) or "").strip()
        passed = (output(["tmux", "show-options", "-gv", "allow-passthrough"]) or "").strip()
        if allowed != "on" and passed not in ("on", "all"):
            return Finding(
                "warning", "clipboard", "tmux keeps what is copied to itself", "tmux set-option -g set-clipboard on"
            )
    elif environ.get("TERM", "").startswith("screen"):
        return Finding("note", "clipboard", "GNU screen passes it on in pieces of 768 bytes", "tmux does it better")
    return Finding("ok", "clipboard", "sent to your terminal with OSC 52; it must allow that")


def py_spy() -> Finding:
    if shutil.which("py-spy"):
        return Finding("ok", "py-spy", "writes down the stacks of a run that hangs")
    return Finding(
        "note", "py-spy", "not installed: a run that hangs is shown without its stacks", "pip install py-spy"
    )


def hub(chosen: settings.Settings, *, fetch: Callable[..., Any] = urllib.request.urlopen) -> Finding:
    if chosen.hub.offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Finding("note", "hub", "offline by setting", "hub.offline: false and no HF_HUB_OFFLINE")
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        fetch(urllib.request.Request(f"{endpoint}/api/models?limit=1"), timeout=chosen.hub.timeout_s).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Finding(
            "warning",
            "hub",
            f"{endpoint} cannot be reached ({reason})",
            "models that are here already work; HTTPS_PROXY or HF_ENDPOINT may lead there",
        )
    return Finding("ok", "hub", f"{endpoint} answers")


def ask_worker(chosen: settings.Settings) -> dict[str, Any]:
    """What the interpreter of the workers has; `problem` where it cannot be asked."""
    interpreter = chosen.worker.python or sys.executable
    environment = {**os.environ, **worker_environment(chosen=chosen)}
    try:
        done = subprocess.run(
            [interpreter, "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_S,
            env=environment,
            check=False,
        )
        return {"interpreter": interpreter, **json.loads(done.stdout.splitlines()[-1])}
    except OSError as error:
        return {"interpreter": interpreter, "problem": error.strerror or str(error)}
    except subprocess.TimeoutExpired:
        return {"interpreter": interpreter, "problem": f"it did not answer within {ASK_S:.0f} s"}
    except (ValueError, IndexError):
        lines = done.stderr.strip().splitlines()
        return {"interpreter": interpreter, "problem": lines[-1] if lines else f"it ended with {done.returncode}"}


def stack(found: dict[str, Any], *, gpus: int) -> Iterator[Finding]:
    """The training stack.

    Args:
        found: see `ask_worker`.
        gpus: how many the driver sees.
    """
    if problem := found.get("problem"):
        yield Finding("error", "python", f"{found['interpreter']}: {problem}", "set worker.python to one with torch")
        return
    if "torch" not in found:
        message = found.get("torch_error") or "it is not installed"
        yield Finding("error", "torch", message, f"install it for {found['interpreter']}")
    else:
        yield _torch(found, gpus)
        yield _bf16(found)
        yield _attention(found)
    missing = [name for name in ("transformers", "trl", "peft", "accelerate", "datasets") if not found.get(name)]
    if missing:
        yield Finding("error", "packages", f"{', '.join(missing)} missing", f"pip install {' '.join(missing)}")
    else:
        names = ("transformers", "trl", "peft", "accelerate", "datasets")
        yield Finding("ok", "packages", ", ".join(f"{name} {found[name]}" for name in names))
    yield _bitsandbytes(found)
    if not found.get("tensorboard"):
        yield Finding("note", "tensorboard", "not installed: no event files are written", "pip install tensorboard")


def _torch(found: dict[str, Any], gpus: int) -> Finding:
    build = f"torch {found['torch']}" + (f" for CUDA {found['cuda']}" if found.get("cuda") else " for processors")
    if not gpus:
        return Finding("ok", "torch", build)
    if not found.get("cuda"):
        return Finding("error", "torch", f"{build}, which cannot use the GPUs here", "install torch's build for CUDA")
    if not found.get("available"):
        return Finding(
            "error",
            "torch",
            f"{build} finds no GPU, though the driver does",
            "the driver is too old for this build, or CUDA_VISIBLE_DEVICES hides them",
        )
    known, archs = set(found.get("archs") or ()), found.get("capability") or []
    # A build runs on every later minor version of the same major one, and with PTX on later majors too.
    majors = {arch.split("_")[1][:-1] for arch in known if "_" in arch}
    foreign = sorted({arch for arch in archs if arch.split("_")[1][:-1] not in majors})
    if foreign and known:
        return Finding(
            "error", "torch", f"{build} has no kernels for {', '.join(foreign)}", "install a newer build of torch"
        )
    return Finding("ok", "torch", build)


def _bf16(found: dict[str, Any]) -> Finding:
    if not found.get("available"):
        fast = host().bf16_units
        return Finding("ok" if fast else "note", "bf16", "by the processor" if fast else "slow on this processor")
    if found.get("bf16"):
        return Finding("ok", "bf16", "the GPUs compute in it")
    return Finding("note", "bf16", "the GPUs do not have it", "fp16: true (resolve chooses it by itself)")


def _attention(found: dict[str, Any]) -> Finding:
    kernels = ["sdpa"] + [f"{name} {found[name]}" for name in ("flash-attn", "kernels") if found.get(name)]
    fix = (
        ""
        if len(kernels) > 1 or not found.get("available")
        else "pip install kernels brings FlashAttention's from the hub"
    )
    return Finding("ok" if not fix else "note", "attention", ", ".join(kernels), fix)


def _bitsandbytes(found: dict[str, Any]) -> Finding:
    if not found.get("bitsandbytes"):
        return Finding(
            "note", "bitsandbytes", "not installed: no qlora, no 8-bit optimizers", "pip install bitsandbytes"
        )
    if error := found.get("bitsandbytes_error"):
        return Finding(
            "warning", "bitsandbytes", str(error), "reinstall it for this torch: pip install -U bitsandbytes"
        )
    return Finding("ok", "bitsandbytes", f"bitsandbytes {found['bitsandbytes']}")


def _output(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
