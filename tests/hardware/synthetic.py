"""Compiles the stand-ins for NVIDIA's and AMD's libraries and puts them where the dynamic loader looks first."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tuiwb.hardware import gpu

HERE = Path(__file__).parent


def compile_library(folder: Path) -> Path:
    """The folder with a fresh `libnvidia-ml.so.1`; skips the test without a C compiler."""
    return _compile(HERE / "synthetic_nvml.c", folder, "libnvidia-ml.so.1")


def compile_amd_library(folder: Path) -> Path:
    """The folder with a fresh `libamd_smi.so`; skips the test without a C compiler or the amdsmi package."""
    found = importlib.util.find_spec("amdsmi")
    if found is None or found.origin is None:
        pytest.skip("amdsmi is not installed")
    source = HERE / "synthetic_amd_smi.c"
    wanted = re.findall(
        r"_libraries\['libamd_smi.so'\]\.(\w+)", Path(found.origin).with_name("amdsmi_wrapper.py").read_text()
    )
    others = [name for name in dict.fromkeys(wanted) if f"int {name}(" not in source.read_text()]
    (folder / "others.h").write_text("\n".join(f"OTHER({name})" for name in others))
    return _compile(source, folder, "libamd_smi.so")


def _compile(source: Path, folder: Path, name: str) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the synthetic library with")
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-I{folder}"]
    subprocess.run([compiler, *options, "-o", str(folder / name), str(source)], check=True)
    return folder


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look asks again."""
    monkeypatch.setattr(gpu, "_last", gpu.GpuStatus(time=-1e9))
