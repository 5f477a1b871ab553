"""What fits: the largest number on a peak that grows, found with few looks."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuiwb.hardware.catalogue import gpu_named
from tuiwb.memory import plan
from tuiwb.memory.search import largest, peak_of
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Recipe

Make = Callable[..., Recipe]

pieces = st.lists(
    st.tuples(st.floats(0, 1e10), st.floats(0, 1e7), st.sampled_from([0.0, 0.0, 1.0, 50.0])), min_size=1, max_size=4
)


@given(pieces=pieces, share=st.floats(0, 1.5), most=st.integers(2, 1 << 20))
def test_the_largest_that_fits_is_found_on_any_such_peak(
    pieces: list[tuple[float, float, float]], share: float, most: int
) -> None:
    looks = 0

    def peak(number: int) -> float:
        nonlocal looks
        looks += 1
        return max(fixed + each * number + square * number * number for fixed, each, square in pieces)

    room = share * peak(most)
    found = largest(peak, room, most)
    seen = looks
    if found is None:
        assert peak(1) > room
        return
    assert peak(found) <= room
    assert found == most or peak(found + 1) > room
    assert seen <= 48


@pytest.mark.parametrize(
    "changes",
    [{}, {"method": "full"}, {"attn_implementation": "eager"}, {"ranks": 4}, {"stage": "dpo"}, {"method": "prefix"}],
)
def test_a_step_with_another_batch_is_the_step_of_that_recipe(
    changes: dict[str, object], llama: ModelInfo, make_recipe: Make
) -> None:
    step = plan(make_recipe(**changes), llama).step
    for batch, length in ((1, 300), (7, 2048), (2, 9000)):
        values = {**changes, "per_device_train_batch_size": batch, "max_length": length}
        alone = plan(make_recipe(**values), llama)
        assert peak_of(step.at(batch, length)) == pytest.approx(alone.binding.bytes, rel=1e-9)


def test_one_gpu_fewer_than_the_fewest_does_not_do(llama: ModelInfo, make_recipe: Make) -> None:
    short = {"method": "full", "per_device_train_batch_size": 1, "max_length": 512}
    for name in ("A100-40GB", "T4", "H200"):
        gpu = gpu_named(name)
        made = plan(make_recipe(**short), llama, gpu=gpu)
        fewest = made.search.min_gpus
        assert fewest is not None
        for ranks, fits in ((fewest, True), (fewest - 1, False)):
            if ranks:
                other = plan(make_recipe(**short, ranks=ranks), llama, gpu=gpu)
                assert other.fits is not None
                assert other.fits.ok is fits
