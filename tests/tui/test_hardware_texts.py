"""What the Runs screen writes about the machine, on little room and on much."""

import pytest

from tuiwb.hardware import Gpu, GpuStatus, HostSample
from tuiwb.tui.hardware_texts import hardware, history

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
    lines = hardware(gpus(1), HOST, [sample], 90, 20, {"GPU-0": [0.0, 50.0, 100.0]})
    text = "\n".join(line.plain for line in lines)
    for wanted in ("20.0 GiB of 24.0 GiB, this run 18.0 GiB", "70 °C", " ▄█", "This run", "9.0 GiB free"):
        assert wanted in text, wanted


def test_the_past_is_as_wide_as_it_should_be() -> None:
    assert history([0, 100], 4) == "   █"
    assert history([100.0] * 9, 3) == "███"
