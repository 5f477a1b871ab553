"""Errors of a GPU, from the driver's library to the alarm of a run. The library is a compiled stand-in."""

import dataclasses
import sys

import pytest
from run_tools import HERE, events_of, light_job, until

from tuiwb import runs

sys.path.insert(0, str(HERE.parent / "hardware"))

from synthetic import compile_library


@pytest.fixture
def on_a_gpu(start, tmp_path, monkeypatch):
    """Launches a run on GPU 0 of a synthetic driver that behaves so."""

    def begin(behaviour):
        monkeypatch.setenv("LD_LIBRARY_PATH", str(compile_library(tmp_path)))
        monkeypatch.setenv("SYNTHETIC_NVML", behaviour)
        # GPU 0 has a process of somebody else; the plan says that there is room beside it.
        job = dataclasses.replace(light_job(steps=100_000, step_s=0.05, save_every=0), gpus=(0,))
        return start(dataclasses.replace(job, plan={"device_bytes": {"high": 1 << 20}}))

    return begin


def test_xid_and_memory_errors_are_told(on_a_gpu):
    run = on_a_gpu("gpus=1,xid=79,ecc=3,ecc_later")

    def told():
        found = {event["rule"]: event for event in events_of(run, "alarm")}
        return found if found.keys() >= {"xid", "ecc"} else None

    found = until(told, 90)
    assert found["xid"]["message"] == "the driver reports Xid 79 for GPU 0"
    assert found["ecc"]["message"] == "GPU 0 has counted 3 memory errors that it could not correct"
    assert {each["severity"] for each in found.values()} == {"critical"}
    assert runs.answer(run, runs.ask(run.run_id, "cancel"), wait_s=60)["state"] == "cancelled"
