"""Python that a model wrote, run where it can do no harm: a process of its own that may compute and print, and nothing
else. It cannot start processes, open sockets, signal others or change a file (seccomp, which a process cannot take off
again); processor time, memory and output are limited; the clock ends it. Without seccomp nothing is run.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tuiwb.base.errors import EnvironmentFault
from tuiwb.evaluate import confined

_MEMORY = 1 << 30
_OUTPUT = 1 << 20
_TOLD = 300
_INSIDE = Path(confined.__file__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `how` is a short sentence; empty where it passed."""

    passed: bool
    how: str = ""


def run(program: str, *, seconds: float = 10.0) -> Outcome:
    """Run a program.

    Args:
        seconds: until it is ended, of the clock and of the processor.

    Returns:
        passed where it ended by itself without an error.

    Raises:
        EnvironmentFault: this machine has no such sandbox.
    """
    if platform.machine() not in confined.ARCHITECTURES or sys.platform != "linux":
        raise EnvironmentFault(f"there is no sandbox for {sys.platform} on {platform.machine()}: no code is run here")
    with tempfile.TemporaryDirectory(prefix="tuiwb-code-") as folder, tempfile.TemporaryFile() as output:
        place = Path(folder)
        (place / "main.py").write_text(program, "utf-8", "replace")
        limits = {"seconds": int(seconds) + 1, "memory": _MEMORY, "output": _OUTPUT}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_INSIDE), json.dumps(limits)],
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return Outcome(False, f"not done after {seconds:g} s")
        if code == confined.NO_SECCOMP:
            raise EnvironmentFault("this machine allows no seccomp, so no code of a model is run here")
        if code == 0:
            return Outcome(True)
        size = output.seek(0, os.SEEK_END)
        output.seek(max(size - 4096, 0))
        lines = output.read().decode("utf-8", "replace").strip().splitlines()
        how = f"killed by signal {-code}" if code < 0 else lines[-1] if lines else f"ended with {code}"
        return Outcome(False, how[:_TOLD])
