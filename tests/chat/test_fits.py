"""Whether a chat fits beside what is there, told in a sentence before anything is loaded."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tuiwb import hardware, rundir, runs
from tuiwb.chat import fits
from tuiwb.chat.target import Target, target_of

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with so much memory left, and perhaps a training on it."""

    def be(*, free: int, planned: int | None = None, used: int = 0) -> None:
        host = hardware.host()
        monkeypatch.setattr("tuiwb.hardware.machine.host", lambda: msgspec.structs.replace(host, memory_available=free))
        monkeypatch.setattr("tuiwb.hardware.gpu.gpus", list)
        view = SimpleNamespace(kind="train", active=planned is not None, run="r", pids={"workers": []})
        monkeypatch.setattr(runs, "show", lambda _: view)
        monkeypatch.setattr(rundir, "read_job", lambda _: {"plan": {"device_bytes": {"low": 1, "high": planned}}})
        monkeypatch.setattr(fits, "_used", lambda pids, on_gpu: used)

    return be


def of_a_run(model: Path) -> Target:
    return replace(target_of(str(model)), run_id="run-1")


def test_a_chat_alone_fits_or_does_not(machine: Any, tiny_model: Path) -> None:
    machine(free=64 * GIB)
    fit = fits.fit_of(target_of(str(tiny_model)))
    assert fit is not None
    assert fit.ok
    assert fit.training is None
    assert 0 < fit.needed < 8 * GIB
    assert fit.sentence.endswith("64.0 GiB are free on this machine: it fits")
    machine(free=1024)
    short = fits.fit_of(target_of(str(tiny_model)))
    assert short is not None
    assert not short.ok
    assert short.sentence.endswith("1.0 KiB are free on this machine: it does not fit")


def test_a_training_keeps_what_it_may_still_take(machine: Any, tiny_model: Path) -> None:
    target = of_a_run(tiny_model)
    machine(free=64 * GIB, planned=20 * GIB, used=5 * GIB)
    fit = fits.fit_of(target)
    assert fit is not None
    assert (fit.ok, fit.training) == (True, 15 * GIB)
    assert fit.sentence.endswith("the training may take 15.0 GiB more: both fit together")
    machine(free=14 * GIB, planned=20 * GIB, used=5 * GIB)
    fit = fits.fit_of(target)
    assert fit is not None
    assert not fit.ok
    assert "they do not fit together" in fit.sentence
    machine(free=14 * GIB, planned=None)
    fit = fits.fit_of(target)
    assert fit is not None
    assert (fit.ok, fit.training) == (True, None)


def test_an_endpoint_needs_nothing_here() -> None:
    assert fits.fit_of(target_of("http://127.0.0.1:1/v1#m")) is None
