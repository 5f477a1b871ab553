"""GPUs through pynvml and a compiled stand-in for the driver's library: what is read, and every way it can fail."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic import compile_amd_library, compile_library, forget

from tuiwb import hardware
from tuiwb.cli.main import main

GIB = 1 << 30
Choose = Callable[[str], None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: Path, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Chooses how the synthetic driver behaves."""

    def choose(behaviour: str) -> None:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("SYNTHETIC_NVML", behaviour)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        forget(monkeypatch)

    return choose


@pytest.fixture
def no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (
        subprocess.run(
            [sys.executable, "-c", "import ctypes; ctypes.CDLL('libnvidia-ml.so.1')"], capture_output=True
        ).returncode
        == 0
    ):
        pytest.skip("this machine has an NVIDIA driver")
    forget(monkeypatch)


def test_every_value_comes_through_the_c_interface(driver: Choose) -> None:
    driver("gpus=2")
    first, second = hardware.gpus()
    assert first == hardware.Gpu(
        index=0,
        uuid="GPU-00000000-0000-0000-0000-000000000000",
        name="Synthetic GPU",
        memory_total=24 * GIB,
        memory_free=23 * GIB,
        utilisation=87,
        memory_utilisation=41,
        power_w=215.5,
        power_limit_w=350.0,
        temperature_c=61,
        clock_mhz=1410,
        compute_capability=(8, 9),
        ecc_uncorrected=0,
        pcie_tx=1 << 20,
        pcie_rx=2 << 20,
        processes=(hardware.GpuProcess(4242, GIB),),
    )
    assert (second.index, second.memory_used, second.processes) == (1, 2 * GIB, ())
    status = hardware.gpu_status()
    assert (status.problem, status.driver, status.cuda) == ("", "000.00-synthetic", "12.4")


def test_what_is_wrong_with_a_gpu_is_read(driver: Choose) -> None:
    driver("gpus=2,throttle=64,ecc=3,xid=79,mig")
    first, second = hardware.gpus()
    assert (first.throttle, first.ecc_uncorrected, first.xids) == (("thermal",), 3, (79,))
    assert second.xids == ()
    assert [instance.memory_total for instance in first.mig_devices] == [24 * GIB] * 2
    assert second.mig_devices == ()


@pytest.fixture(params=["package", "library"])
def amd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with AMD's GPUs: a stand-in for their package or, where that is installed, for the library below it."""
    if request.param == "package":
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("synthetic_amd")))
    else:
        monkeypatch.delenv("ROCM_HOME", raising=False)
        monkeypatch.delenv("ROCM_PATH", raising=False)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(compile_amd_library(tmp_path)))


@pytest.mark.usefixtures("no_driver", "amd")
def test_gpus_of_amd_are_read_through_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = hardware.gpus()
    assert first == hardware.Gpu(
        index=0,
        vendor="amd",
        uuid="GPU-e79e5b9a7d1e9a30",  # as HIP_VISIBLE_DEVICES has it
        name="Synthetic AMD GPU",
        memory_total=64 * GIB,
        memory_free=63 * GIB,
        utilisation=93,
        power_w=310,
        power_limit_w=750.0,
        temperature_c=55,
        clock_mhz=2100,
        processes=(hardware.GpuProcess(77, GIB),),
    )
    assert second.processes == ()
    assert hardware.gpu_status().driver == "0.0-synthetic"
    forget(monkeypatch)
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", second.uuid)
    assert [gpu.index for gpu in hardware.gpus()] == [1]


@pytest.mark.usefixtures("no_driver")
def test_amds_package_without_its_library_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "amdsmi.py").write_text("print('Unable to find libamd_smi.so')\nraise KeyError('libamd_smi.so')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert hardware.gpus() == []
    assert "no NVIDIA driver is installed" in hardware.gpu_status().problem


@pytest.mark.usefixtures("no_driver")
def test_no_driver_is_an_empty_list_with_a_reason() -> None:
    assert hardware.gpus() == []
    assert "no NVIDIA driver is installed" in hardware.gpu_status().problem


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("init=9", "not loaded"),
        ("init=18", "restart the machine"),
        ("init=4", "refuses access"),
        ("init=999", "cannot be asked"),
        ("gpus=0", "sees no GPU"),
        ("crash", "ended the process"),
    ],
)
def test_a_driver_that_fails_is_a_sentence(driver: Choose, behaviour: str, sentence: str) -> None:
    driver(behaviour)
    assert hardware.gpus() == []
    assert sentence in hardware.gpu_status().problem


def test_a_driver_that_hangs_costs_the_timeout_and_no_more(driver: Choose) -> None:
    driver("hang")
    started = time.monotonic()
    assert hardware.gpus(timeout_s=1.0) == []
    assert time.monotonic() - started < 5
    assert "does not answer" in hardware.gpu_status().problem


def test_a_lost_gpu_is_named_and_the_others_stay(driver: Choose) -> None:
    driver("lost,gpus=3")
    assert [gpu.index for gpu in hardware.gpus()] == [0, 2]
    assert "GPU 1" in hardware.gpu_status().problem
    assert "fallen off the bus" in hardware.gpu_status().problem


def test_what_a_gpu_does_not_report_is_none_and_shared_memory_is_the_hosts(driver: Choose) -> None:
    driver("bare,gpus=1")
    (gpu,) = hardware.gpus()
    assert gpu.shares_memory
    assert gpu.memory_total == hardware.host().memory_total
    assert (gpu.utilisation, gpu.power_w, gpu.temperature_c, gpu.compute_capability) == (None, None, None, None)


@pytest.mark.parametrize(
    ("mask", "left"),
    [("1", [1]), ("GPU-00000002", [2]), ("2,0", [0, 2]), ("0,7,1", [0]), ("", []), ("-1", []), ("GPU-0", [])],
)
def test_cuda_visible_devices_hides_gpus(
    driver: Choose, monkeypatch: pytest.MonkeyPatch, mask: str, left: list[int]
) -> None:
    driver("gpus=3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    assert [gpu.index for gpu in hardware.gpus()] == left
    status = hardware.gpu_status()
    assert len(status.gpus) == 3
    assert bool(left) != ("CUDA_VISIBLE_DEVICES" in status.problem)


def test_a_young_look_is_used_again(driver: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    driver("gpus=1")
    first = hardware.gpu_status(max_age_s=60)
    monkeypatch.setenv("SYNTHETIC_NVML", "gpus=2")
    assert hardware.gpu_status(max_age_s=60) is first
    assert len(hardware.gpu_status(max_age_s=0).gpus) == 2


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_sampler_keeps_looking_and_its_child_ends_with_it(driver: Choose) -> None:
    driver("gpus=1")
    with hardware.GpuSampler(0.05) as sampler:
        _until(lambda: len(sampler.latest().gpus) == 1)
        first = sampler.latest().time
        _until(lambda: sampler.latest().time > first)
        child = sampler._process
        assert child is not None
    _until(lambda: child.poll() is not None)


def test_the_sampler_says_when_the_driver_stops_answering(driver: Choose) -> None:
    driver("hang")
    with hardware.GpuSampler(0.05, patience_s=0.1) as sampler:
        _until(lambda: "does not answer" in sampler.latest().problem)


@pytest.mark.usefixtures("no_driver")
def test_the_sampler_without_a_driver_says_so_and_stays_with_it() -> None:
    with hardware.GpuSampler(0.01, patience_s=0.01) as sampler:
        _until(lambda: "no NVIDIA driver" in sampler.latest().problem)
        child = sampler._process
        assert child is not None
        _until(lambda: child.poll() is not None and sampler._done)
        assert "no NVIDIA driver" in sampler.latest().problem


def test_the_child_ends_when_its_standard_input_closes(library: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tuiwb.hardware.nvml", "60"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LD_LIBRARY_PATH": str(library), "SYNTHETIC_NVML": "gpus=1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["gpus"][0]["name"] == "Synthetic GPU"
    child.stdin.close()
    assert child.wait(timeout=20) == 0


def test_the_verb_prints_gpus_and_host(driver: Choose, capsys: pytest.CaptureFixture[str]) -> None:
    driver("gpus=2")
    assert main(["gpus", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [gpu["name"] for gpu in printed["gpus"]] == ["Synthetic GPU", "Synthetic GPU"]
    assert printed["problem"] is None
    assert printed["host"]["cpus"] >= 1
    assert main(["gpus"]) == 0
    assert "Synthetic GPU" in capsys.readouterr().out


@pytest.mark.usefixtures("no_driver")
def test_the_verb_says_plainly_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus"]) == 0
    captured = capsys.readouterr()
    assert "no GPU: no NVIDIA driver is installed here" in captured.err
    assert "memory available" in captured.out
