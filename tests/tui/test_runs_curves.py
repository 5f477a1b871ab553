"""How the curves of the Runs screen are looked at."""

import re

from pilot import BenchPilot, bench
from runs_pilot import finished_run, selected

from tuiwb.rundir import MetricsWriter
from tuiwb.tui.watch import CurvesSeen
from tuiwb.tui.widgets.chart import Chart
from tuiwb.tui.widgets.charts import Charts


async def test_smoothing_axis_scale_and_cursor() -> None:
    finished_run()
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("learning rate")
        await pilot.press("m")
        await pilot.until_text("≈")
        await pilot.press("a")
        await pilot.until_text("100 – 6,000 tokens")
        await pilot.press("l")
        await pilot.until_text("tokens, log")
        await pilot.press("left", "left", "left")
        await pilot.until_text("at 5,")
        assert re.search(r"loss 0\.1[67]", pilot.text())


async def test_bookkeeping_gets_no_chart() -> None:
    run = finished_run(steps=0)
    writer = MetricsWriter(run.part(1, "sft").metrics_file)
    for step in (1, 2):
        line = {"current_steps": step, "total_steps": 2, "time": 1000.0 + step, "total_tokens": 9, "throughput": 5.0}
        writer.write({**line, "attempt": 1, "elapsed_s": 2.0, "remaining_s": 1.0, "epoch": 0.5, "loss": 1.0})
    async with bench("runs", size=(160, 50)) as pilot:
        await selected(pilot)
        await pilot.until(lambda: bool(pilot.of(CurvesSeen)[-1].curves))
        assert [curve.name for curve in pilot.of(CurvesSeen)[-1].curves] == ["loss"]


async def test_a_marked_run_is_drawn_over_the_selected_one_and_compared() -> None:
    finished_run("alpha", steps=30)
    finished_run("beta")
    async with bench("runs", size=(140, 44)) as pilot:
        await selected(pilot)
        await pilot.until_text("beta")
        await pilot.press("j", "space", "k")
        await pilot.until(lambda: bool(pilot.of(CurvesSeen)[-1].over))
        (over,) = pilot.of(CurvesSeen)[-1].over
        assert over.name == "alpha"
        await pilot.until_text("alpha 0.669")  # its last loss, in the title of the chart
        await pilot.press("equals_sign")
        await pilot.until_text("Last values")
        await pilot.until_text("best 0.1494 at 60")


async def test_runs_of_the_same_name_are_told_apart_in_a_chart() -> None:
    other, chosen = finished_run("same"), finished_run("same")
    async with bench("runs", size=(160, 50)) as pilot:
        await selected(pilot)
        await pilot.until(lambda: len(pilot.room.views) == 2)
        pilot.room.select(other.run_id)
        await pilot.until(lambda: pilot.room.current.run_id == other.run_id)
        await pilot.press("space")
        pilot.room.select(chosen.run_id)
        await pilot.until_text(f"loss 0.1494  {other.run_id[16:]} 0.1494")


async def test_zoom_shows_a_part_of_the_axis_and_follows_the_cursor() -> None:
    finished_run()
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("learning rate")
        await pilot.press("i")
        await pilot.until_text("30 – 60 steps")
        await pilot.press("i")
        await pilot.until_text("45 – 60 steps")
        for _ in range(60):
            await pilot.press("left")
        await pilot.until(lambda: pilot.of(CurvesSeen)[-1].curves[0].start < 40)
        await pilot.press("o", "o", "o")
        await pilot.until_text("1 – 60 steps")


async def test_a_pattern_chooses_the_curves() -> None:
    finished_run()
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("learning rate")
        await pilot.press("f")
        await pilot.enter("grad|eval")
        await pilot.press("enter")
        await pilot.until(lambda: "learning rate" not in pilot.text())
        assert "gradient norm" in pilot.text()
        await pilot.press("f")
        await pilot.enter("(")
        await pilot.press("enter")
        await pilot.until(lambda: any("is no pattern" in toast for toast in pilot.toasts()))


async def test_curves_are_looked_at_group_by_group() -> None:
    finished_run()
    async with bench("runs", size=(120, 40)) as pilot:
        await pilot.until_text("learning rate")
        for group, shown, hidden in (
            ("loss", "loss", "learning rate"),
            ("eval", "eval loss", "gradient norm"),
            ("learning rate", "learning rate", "gradient norm"),
            ("gradient norm", "gradient norm", "learning rate"),
        ):
            await pilot.press("c")
            await pilot.until(lambda group=group: pilot.app.screen.query_one(Charts).group == group)  # type: ignore[misc]
            await pilot.until(lambda shown=shown, hidden=hidden: _titles(pilot, shown) and not _titles(pilot, hidden))  # type: ignore[misc]
        await pilot.press("c")
        await pilot.until(lambda: _titles(pilot, "learning rate") and _titles(pilot, "gradient norm"))


def _titles(pilot: BenchPilot, name: str) -> bool:
    """Whether a chart of this metric is seen: its title stands at the beginning."""
    charts = pilot.app.screen.query(Chart)
    return any(chart.display and chart.title.startswith(f" {name} ") for chart in charts)
