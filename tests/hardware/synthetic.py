"""Compiles the stand-in for NVIDIA's library and puts it where the dynamic loader looks first."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tuiwb.hardware import gpu

SOURCE = Path(__file__).with_name("synthetic_nvml.c")


def compile_library(folder: Path) -> Path:
    """The folder with a fresh `libnvidia-ml.so.1`; skips the test without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the synthetic NVML with")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)],
        check=True,
    )
    return folder


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look asks again."""
    monkeypatch.setattr(gpu, "_last", gpu.GpuStatus(time=-1e9))
