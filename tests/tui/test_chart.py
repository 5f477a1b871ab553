"""Curves in braille: what is drawn stands where it belongs, and only what changed is drawn again."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb.monitor import Bucket, Series, curve
from tuiwb.tui.widgets.braille import Range, Trace, nice, number, plot
from tuiwb.tui.widgets.chart import Chart, _span

numbers = st.floats(-1e9, 1e9)


def flat(x: float, y: float) -> Bucket:
    return Bucket(x, y, y, y, y)


def picture(traces: list[Trace], width: int, height: int, view: Range) -> list[str]:
    return ["".join(text for text, _ in row) for row in plot(traces, width, height, view)]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    rows = picture([Trace([flat(0, 0), flat(1, 1)], 0)], 4, 2, Range(0, 1, 0, 1))
    assert rows[1][0] != " "
    assert rows[0][-1] != " "
    assert rows[0][0] == rows[1][-1] == " "


def test_a_spike_reaches_its_height() -> None:
    spike = [flat(0, 0), Bucket(5, 0, 9, 0, 0), flat(10, 0)]
    rows = picture([Trace(spike, 0)], 10, 4, Range(0, 10, 0, 9))
    assert any(character != " " for character in rows[0])


def test_what_a_logarithmic_axis_lacks_is_not_drawn() -> None:
    rows = picture([Trace([flat(0, -1), flat(1, 0)], 0)], 4, 2, Range(0, 1, 0.1, 1, log=True))
    assert "".join(rows).strip() == ""


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(numbers, numbers), max_size=50), st.integers(1, 40), st.integers(1, 12), numbers, numbers)
def test_a_plot_has_the_size_that_was_asked_for(
    points: list[tuple[float, float]], width: int, height: int, low: float, high: float
) -> None:
    buckets = [flat(x, y) for x, y in sorted(points)]
    rows = picture(
        [Trace(buckets, 0)], width, height, Range(min(low, high), max(low, high), min(low, high), max(low, high))
    )
    assert [len(row) for row in rows] == [width] * height


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(numbers, numbers)
def test_a_nice_range_holds_the_values_and_not_much_more(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    nice_low, nice_high = nice(low, high)
    assert nice_low <= low
    assert nice_high >= high
    assert nice_high > nice_low
    if high > low:
        assert nice_high - nice_low <= (high - low) * 1.21 + 1e-6 * max(abs(low), abs(high))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.23456, "1.235"),
        (2e-4, "2e-4"),
        (1.5e-5, "1.5e-5"),
        (12345.6, "12346"),
        (1234567, "1.23e6"),
        (math.nan, "–"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
    assert len(number(-value)) <= 9


def test_only_the_cells_that_differ_are_drawn_again() -> None:
    assert _span((("abc", "x"), ("def", "y")), (("abc", "x"), ("dEf", "y")), 3) == (4, 3, 1, 1)
    assert _span((("abc", "x"),), (("abc", "z"),), 0) == (0, 0, 3, 1)
    assert _span((("ab", ""),), (("abcd", ""),), 0) == (2, 0, 2, 1)


async def test_a_metric_with_markup_in_its_name_is_harmless() -> None:
    from textual.app import App, ComposeResult

    class Host(App[None]):
        def compose(self) -> ComposeResult:
            yield Chart()

    series = Series("[red]x\x1b[2J[/red]")
    for step in range(5):
        series.add({"step": step, "tokens": step, "time": step}, float(step))
    app = Host()
    async with app.run_test(size=(50, 10)) as pilot:
        app.query_one(Chart).show([curve(series, columns=60)])
        await pilot.pause()
        lines = [strip.text for strip in app.screen._compositor.render_strips(app.screen.size)]
        assert "[red]x␛[2J[/red] 4" in lines[0]


@pytest.mark.parametrize(("width", "axis"), [(60, "1 – 60 steps, log, at 60"), (24, "1 – 60, at 60"), (16, "at 60")])
def test_where_the_cursor_is_can_be_read_in_a_narrow_chart(width: int, axis: str) -> None:
    series = Series("loss")
    for step in range(1, 61):
        series.add({"step": step, "tokens": step, "time": step}, float(step))
    chart = Chart()
    chart._curves, chart._log, chart._cursor = (curve(series, columns=10),), True, 60.0
    text, _ = chart._x_axis(4, width)
    assert text.rstrip().endswith(axis)
    assert len(text) <= width
