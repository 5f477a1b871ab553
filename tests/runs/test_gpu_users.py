"""Who is on a GPU, and how a worker is shown its own ones."""

import os
import subprocess
import sys

from tuiwb.hardware import Gpu, GpuProcess
from tuiwb.rundir import MARK
from tuiwb.runs.gpu_users import GpuUser, gpu_users
from tuiwb.runs.turn import mask


def gpu(index, uuid, **more):
    return Gpu(index=index, uuid=uuid, name="Synthetic GPU", memory_total=1, memory_free=1, **more)


def test_a_process_is_told_by_its_program_owner_and_run():
    environment = {**os.environ, MARK: "20261122-120000-tuned-9f3a1c"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
        processes = (GpuProcess(child.pid, 5), GpuProcess(os.getpid(), 5), GpuProcess(2**22 + 1, 5))
        # Popen returns when the program has begun, so that what is read is the child's own.
        found = gpu_users([gpu(0, "GPU-0", processes=processes)])
        child.stdin.close()
    assert found[child.pid].run_id == "20261122-120000-tuned-9f3a1c"
    assert found[os.getpid()] == GpuUser(os.getpid(), found[os.getpid()].name, found[child.pid].owner, None)
    assert 2**22 + 1 not in found  # of the host, seen in a container


def test_a_worker_sees_its_gpus_by_the_names_that_their_driver_knows():
    assert mask([gpu(0, "GPU-a"), gpu(1, "GPU-b")]) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b",
    }
    amd = [gpu(0, "GPU-e79e5b9a7d1e9a30", vendor="amd"), gpu(3, "18ff73a0-0000-1000-80a6", vendor="amd")]
    assert mask(amd) == {"HIP_VISIBLE_DEVICES": "GPU-e79e5b9a7d1e9a30,3"}
