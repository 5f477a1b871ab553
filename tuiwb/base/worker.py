"""How a worker starts: the one place that knows interpreter, launcher prefix, module and run directory."""

import os
import sys
from pathlib import Path

from tuiwb.base import paths, settings
from tuiwb.base.errors import EnvironmentFault, reason_of


def worker_argv(
    module: str, run_dir: Path, *, processes: int = 1, chosen: settings.Settings | None = None
) -> list[str]:
    """The command of a worker.

    Args:
        module: such as `tuiwb.workers.train`.
        run_dir: handed to it as its only argument.
        processes: more than one starts them through torchrun on this machine.
        chosen: the settings in force, if they are at hand.
    """
    worker = (chosen or settings.load()).worker
    argv = [*worker.launcher, worker.python or sys.executable]
    if processes > 1:
        argv += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=0"]
    return [*argv, "-m", module, str(run_dir)]


def worker_environment(*, chosen: settings.Settings | None = None) -> dict[str, str]:
    """Variables that a worker gets besides those of the shell.

    Raises:
        EnvironmentFault: the folder that shows tuiwb to another interpreter cannot be made.
    """
    worker = (chosen or settings.load()).worker
    environment = {
        # The log is read while it grows, and a crash in C says where it was.
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        # A file torch.py or datasets/ in the user's folder must not hide the real one.
        "PYTHONSAFEPATH": "1",
        # Threads of torch that wait for each other sleep instead of spinning: beside anything else that runs (the
        # screen, another run) spinning cost half of the speed and two thirds of the CPU's time, measured with gcc's
        # OpenMP on two cores.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        # Large tensors in large pages: on a CPU 5 to 8 % of a training step went into mapping small ones.
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    }
    other = bool(worker.python) and Path(worker.python).absolute() != Path(sys.executable).absolute()
    if search := search_path(other=other):
        inherited = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{search}:{inherited}" if inherited else str(search)
    return environment


def search_path(*, other: bool) -> Path | None:
    """The folder in which a worker's interpreter finds tuiwb, or None where it has it installed."""
    package = Path(__file__).resolve().parent.parent
    parent = package.parent
    if parent.name not in ("site-packages", "dist-packages"):
        return parent  # a checkout
    if not other:
        return None
    # Another environment must see this package and nothing else of ours.
    folder = paths.private_folder(paths.cache_home() / "worker-path")
    link = folder / "tuiwb"
    try:
        if not link.is_symlink() or link.readlink() != package:
            link.unlink(missing_ok=True)
            link.symlink_to(package)
    except OSError as error:
        raise EnvironmentFault(f"cannot be linked for the worker ({reason_of(error)})", file=link) from error
    return folder
