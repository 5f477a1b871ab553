"""The host: what /proc/cpuinfo and the cgroup say."""

from pathlib import Path

import pytest

from tuiwb import hardware
from tuiwb.hardware import machine, traffic

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R)   Platinum 8480+
flags\t\t: fpu avx2 avx512f {more}
processor\t: 1
model name\t: other
flags\t\t: fpu
"""


@pytest.mark.parametrize(
    ("text", "name", "units"),
    [
        (X86.format(more="avx512_bf16 amx_tile amx_bf16"), "Intel(R) Xeon(R) Platinum 8480+", True),
        (X86.format(more="avx512vl"), "Intel(R) Xeon(R) Platinum 8480+", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 sve\n", "unknown processor", True),
        ("", "unknown processor", False),
    ],
)
def test_name_and_units_come_from_cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str, name: str, units: bool) -> None:
    monkeypatch.setattr(machine, "_processor", lambda: machine.processor(text))
    ours = hardware.host()
    assert (ours.cpu_name, ours.bf16_units) == (name, units)
    assert ours.amx == ("amx_tile" in text)


def test_memory_is_what_this_process_may_use() -> None:
    ours = hardware.host()
    assert 0 < ours.memory_available <= ours.memory_total
    assert ours.cpus >= 1


def cgroup(root: Path, levels: dict[str, dict[str, str]]) -> Path:
    for path, files in levels.items():
        folder = root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    return root


def test_the_least_limit_of_the_cgroup_and_those_above_it_holds(tmp_path: Path) -> None:
    limited = {"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 300\ninactive_file 250\n"}
    root = cgroup(tmp_path / "cgroup", {"job": limited, "job/step": {"memory.max": "max\n"}})
    assert machine._cgroup_memory(root, "/job/step") == (1000, 450)
    assert machine._cgroup_memory(root, "/") == (None, 0)


def test_the_processor_quota_of_the_cgroup_is_read(tmp_path: Path) -> None:
    root = cgroup(tmp_path / "cgroup", {"job": {"cpu.max": "150000 100000\n"}, "job/step": {"cpu.max": "max 100000\n"}})
    assert machine._cgroup_cpus(root, "/job/step") == 1.5
    assert machine._cgroup_cpus(root, "/") is None


def test_a_sample_has_one_percentage_a_processor() -> None:
    sampler = hardware.HostSampler()
    sample = sampler.sample()
    assert len(sample.cpu_percents) >= 1
    assert all(0 <= each <= 100 for each in sample.cpu_percents)
    assert 0 < sample.memory_used < sample.memory_total


def test_traffic_counts_real_disks_and_interfaces_once() -> None:
    diskstats = """ 259 0 nvme0n1 10 0 16 5 20 0 32 6 0 0 0 0 0 0 0 0 0
 259 1 nvme0n1p1 10 0 16 5 20 0 32 6 0 0 0 0 0 0 0 0 0
 253 0 dm-0 10 0 16 5 20 0 32 6 0 0 0 0 0 0 0 0 0
"""
    assert traffic.disks(diskstats, {"nvme0n1"}) == (16 * 512, 32 * 512)
    dev = """Inter-|   Receive  |  Transmit
 face |bytes packets
    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0
  eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0
 br-1: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0
"""
    assert traffic.network(dev, {"eth0"}) == (100, 200)
    assert traffic.network(dev, ()) == (200, 400)


def test_traffic_is_measured_between_two_looks() -> None:
    meter = traffic.TrafficMeter()
    assert meter.rates() is None
    found = meter.rates()
    assert found is not None
    assert min(found.disk_read, found.disk_write, found.net_in, found.net_out) >= 0
