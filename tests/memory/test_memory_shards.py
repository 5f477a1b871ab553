"""Peaks of steps that two processes share by fully sharded data parallel against the plan."""

import pytest
from tracked_shards import Shared, planned, track_all

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

CASES = [
    *(Shared(method, checkpointing) for method in ("full", "lora") for checkpointing in (False, True)),
    Shared("lora", True, 256, 1, layers=8, reentrant=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_two_processes_need_is_within_three_per_cent(case: Shared) -> None:
    (seen,) = track_all([case])
    assert planned(case).peak_bytes == pytest.approx(seen.peak, rel=0.03)
