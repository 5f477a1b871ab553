"""GPUs by name."""

import pytest

from tuiwb.base.errors import UsageFault
from tuiwb.hardware.catalogue import GPU_CATALOGUE, gpu_named


def test_there_are_many_and_none_twice() -> None:
    assert len(GPU_CATALOGUE) >= 40
    assert len({gpu.name for gpu in GPU_CATALOGUE}) == len(GPU_CATALOGUE)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("A100", "A100-80GB"),
        ("a100-40gb", "A100-40GB"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("4090", "RTX-4090"),
        ("t4", "T4"),
        ("h100", "H100-80GB"),
    ],
)
def test_a_gpu_is_found_as_people_write_it(typed: str, name: str) -> None:
    assert gpu_named(typed).name == name


def test_an_unknown_gpu_is_refused_with_a_hint() -> None:
    with pytest.raises(UsageFault, match="did you mean RTX-4090"):
        gpu_named("RTX-4091")
    with pytest.raises(UsageFault, match="--gpu-memory"):
        gpu_named("abacus")
