"""Smoothing and thinning: what they must never do to a curve."""

import math
from array import array

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb.monitor import Ema, ema, thin
from tuiwb.monitor.thin import Thinned

numbers = st.floats(-1e6, 1e6)
series = st.lists(st.tuples(st.floats(0, 1e4), numbers), min_size=1, max_size=200).map(
    lambda points: (sorted(x for x, _ in points), [y for _, y in points])
)


@given(series, st.floats(0.01, 1000))
def test_an_average_stays_between_the_least_and_the_greatest(
    points: tuple[list[float], list[float]], half: float
) -> None:
    xs, ys = points
    for at, value in enumerate(ema(xs, ys, half)):
        seen = ys[: at + 1]
        slack = 1e-6 * max(1.0, abs(min(seen)), abs(max(seen)))
        assert min(seen) - slack <= value <= max(seen) + slack


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50).map(sorted), numbers, st.floats(0.01, 100))
def test_a_constant_stays_what_it_is(xs: list[float], value: float, half: float) -> None:
    assert all(math.isclose(each, value, rel_tol=1e-9, abs_tol=1e-9) for each in ema(xs, [value] * len(xs), half))


@given(series)
def test_a_half_life_of_zero_does_not_smooth(points: tuple[list[float], list[float]]) -> None:
    assert ema(*points, 0) == points[1]


def test_a_point_weighs_half_as_much_after_a_half_life() -> None:
    state = Ema(10)
    state.add(0, 0.0)
    assert math.isclose(state.add(10, 3.0), 2.0)  # weights 1/2 and 1


def test_distance_counts_and_not_the_number_of_points() -> None:
    far = Ema(10)
    far.add(0, 0.0)
    near = Ema(10)
    near.add(0, 0.0)
    assert far.add(1000, 1.0) > 0.99
    assert near.add(0.001, 1.0) < 0.51


@given(series, st.integers(1, 60))
def test_thinning_loses_no_spike_and_no_end(points: tuple[list[float], list[float]], count: int) -> None:
    xs, ys = points
    buckets = thin(xs, ys, count, xs[0], xs[-1])
    assert 1 <= len(buckets) <= count
    assert min(bucket.low for bucket in buckets) == min(ys)
    assert max(bucket.high for bucket in buckets) == max(ys)
    assert buckets[0].first == ys[0]
    assert buckets[-1].last == ys[-1]
    assert [bucket.x for bucket in buckets] == sorted({bucket.x for bucket in buckets})


@given(series, st.integers(1, 60), st.floats(0, 1e4), st.floats(0, 1e4))
def test_thinning_takes_the_points_in_range_and_no_others(
    points: tuple[list[float], list[float]], count: int, one: float, other: float
) -> None:
    xs, ys = points
    start, end = min(one, other), max(one, other)
    inside = [y for x, y in zip(xs, ys, strict=True) if start <= x <= end]
    buckets = thin(xs, ys, count, start, end)
    assert bool(buckets) == bool(inside)
    if inside:
        assert min(bucket.low for bucket in buckets) == min(inside)
        assert max(bucket.high for bucket in buckets) == max(inside)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.floats(0, 10), max_size=8), min_size=1, max_size=6),
    st.integers(1, 9),
    st.floats(0, 5),
    st.floats(0.5, 40),
)
def test_thinning_as_it_grows_is_thinning_at_once(
    pieces: list[list[float]], count: int, start: float, width: float
) -> None:
    grown, xs, ys = Thinned(), array("d"), array("d")
    for piece in pieces:
        for gap in piece:
            xs.append((xs[-1] if xs else 0.0) + gap)
            ys.append(gap * 7 % 3)
        assert grown.buckets(0, xs, ys, count, start, start + width) == thin(xs, ys, count, start, start + width)
