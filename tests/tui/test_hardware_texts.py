"""What the Runs screen writes about the machine, on little room and on much."""

import pytest
from msgspec.structs import replace

from tuiwb.hardware import Gpu, GpuProcess, GpuStatus, HostSample
from tuiwb.hardware.gpu import MigDevice
from tuiwb.hardware.traffic import Traffic
from tuiwb.runs.gpu_users import GpuUser
from tuiwb.tui.hardware_texts import hardware, history, in_use

GIB = 1 << 30
HOST = HostSample(0.0, 50.0, (50.0, 50.0), 1.0, 4 * GIB, 16 * GIB, 0)


def gpus(count: int, **more: object) -> GpuStatus:
    one = {"memory_total": 24 * GIB, "memory_free": 4 * GIB, "utilisation": 87, "power_w": 300.0, "temperature_c": 70}
    return GpuStatus(tuple(Gpu(index=at, uuid=f"GPU-{at}", name="Synthetic GPU", **one | more) for at in range(count)))  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [40, 76, 90, 140])
def test_eight_gpus_take_a_line_each_where_there_is_little_room(width: int) -> None:
    past = {f"GPU-{at}": [float(at * 10)] * 100 for at in range(8)}
    lines = hardware(gpus(8, throttle=("thermal",)), HOST, [], width, 10, past)
    ours = [line.plain for line in lines if "87 %" in line.plain]
    assert len(ours) == 8
    assert all("thermal" in line for line in ours)
    assert width < 60 or max(len(line) for line in ours) <= width


def test_one_gpu_is_told_in_full_with_the_share_of_the_run() -> None:
    sample = {"gpus": [{"uuid": "GPU-0", "run_memory": 18 * GIB}], "run_memory": GIB, "disk_free": 9 * GIB}
    lines = hardware(gpus(1, ecc_uncorrected=3), HOST, [sample], 90, 20, {"GPU-0": [0.0, 50.0, 100.0]})
    text = "\n".join(line.plain for line in lines)
    for wanted in (
        "3 memory errors",
        "20.0 GiB of 24.0 GiB, this run 18.0 GiB",
        "70 °C",
        " ▄█",
        "This run",
        "9.0 GiB free",
    ):
        assert wanted in text, wanted


def test_the_host_comes_before_its_processes_where_the_end_is_not_seen() -> None:
    processes = (GpuProcess(11, 9 * GIB),)
    for height, first in ((11, "processors"), (40, "Memory by run and process")):
        lines = [line.plain for line in hardware(gpus(8, processes=processes), HOST, [], 82, height)]
        wanted = ("processors", "Memory by run and process")
        assert next(word for line in lines for word in wanted if line.startswith(word)) == first
        assert height > 11 or lines.index(next(line for line in lines if line.startswith("memory"))) < height


def test_eight_gpus_have_a_second_line_where_there_is_room() -> None:
    links = {"pcie_rx": GIB, "pcie_tx": 2**20, "nvlink_rx": 0, "nvlink_tx": 0}
    instances = (MigDevice("MIG-0", "1g.10gb", 10 * GIB, 4 * GIB),) * 2
    status = gpus(8, clock_mhz=1410, power_limit_w=700.0, mig=True, mig_devices=instances, utilisation=None, **links)
    status = replace(status, driver="550.54", cuda="12.4")
    lines = [line.plain for line in hardware(status, HOST, [], 82, 33)]
    assert lines[0] == "GPUs  8 × Synthetic GPU · driver 550.54 · CUDA 12.4"
    assert len([line for line in lines if "– %" in line]) == 8  # what it does not tell is not 0
    more = [line for line in lines if "2 instances   1410 MHz   PCIe 1.0 GiB/s in, 1.0 MiB/s out" in line]
    assert len(more) == 8
    assert max(len(line) for line in lines) <= 82
    assert len(lines) <= 33
    assert any(line.plain.endswith("limit 700 W") for line in hardware(status, HOST, [], 140, 33))
    brief = [line.plain for line in hardware(status, HOST, [], 82, 12)]
    assert len([line for line in brief if line.rstrip().endswith(" MIG")]) == 8


def test_the_past_is_as_wide_as_it_should_be() -> None:
    assert history([0, 100], 4) == "   █"
    assert history([100.0] * 9, 3) == "███"


def test_memory_is_told_by_run_and_by_process() -> None:
    processes = (GpuProcess(11, 9 * GIB), GpuProcess(12, 3 * GIB), GpuProcess(13, None), GpuProcess(14, GIB))
    users = {
        11: GpuUser(11, "python", "ann", "20261122-120000-tuned-9f3a1c"),
        12: GpuUser(12, "python", "ann", "20261122-120000-tuned-9f3a1c"),
        13: GpuUser(13, "Xorg", "root", None),
    }
    lines = [line.plain for line in in_use(gpus(1, processes=processes).gpus, users)]
    assert lines[0] == "Memory by run and process"
    assert " ".join(lines[1].split()) == "12.0 GiB run tuned-9f3a1c GPU 0: 11 9.00 GiB GPU 0: 12 3.00 GiB"
    assert " ".join(lines[2].split()) == "1.00 GiB process 14 GPU 0: 14"
    assert " ".join(lines[3].split()) == "– Xorg root GPU 0: 13"
    assert in_use(gpus(2).gpus, {}) == []


def test_buses_disks_and_network_are_told() -> None:
    traffic = Traffic(disk_read=2048.0, disk_write=0.0, net_in=3 * 2**20, net_out=5.0)
    links = {"pcie_rx": GIB, "pcie_tx": 2**20, "nvlink_rx": 0, "nvlink_tx": 0}
    lines = hardware(gpus(1, **links), replace(HOST, traffic=traffic), [], 90, 30)
    text = "\n".join(line.plain for line in lines)
    assert "PCIe 1.0 GiB/s in, 1.0 MiB/s out   NVLink 0 B/s in" in text
    assert "2.0 KiB/s read, 0 B/s written   network 3.0 MiB/s in, 5 B/s out" in text
