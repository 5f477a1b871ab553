"""Series from a growing metrics.jsonl: torn lines, resumed runs, values that are not finite, and the time left."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from tuiwb import monitor
from tuiwb.rundir import MetricsWriter, RunDir


class Run:
    """A run directory that grows."""

    def __init__(self, path: Path) -> None:
        self.dir = RunDir(path)
        self.writer = MetricsWriter(self.dir.part(1, "sft").metrics_file)

    def log(self, step: int, **values: Any) -> None:
        line = {"current_steps": step, "total_steps": 100, "time": 1000.0 + step, "total_tokens": 50 * step, **values}
        self.writer.write(line)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def test_new_lines_become_points_on_every_axis(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    assert metrics.read() is False or metrics.current is not None
    run.log(1, loss=2.0, lr=1e-4)
    run.log(2, loss=1.5, lr=2e-4, eval_loss=1.7)
    assert metrics.read()
    assert not metrics.read()
    assert metrics.current is not None
    loss = metrics.current.series["loss"]
    assert list(loss.values) == [2.0, 1.5]
    assert {axis: list(xs) for axis, xs in loss.xs.items()} == {"step": [1, 2], "tokens": [50, 100], "time": [0, 1]}
    assert list(metrics.current.series["eval_loss"].values) == [1.7]
    assert "total_steps" not in metrics.current.series


def test_half_a_line_waits_for_its_end(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    run.log(1, loss=2.0)
    file = run.dir.part(1, "sft").metrics_file
    with file.open("ab") as more:
        more.write(b'{"current_steps": 2, "lo')
    metrics.read()
    assert metrics.current is not None
    assert list(metrics.current.series["loss"].values) == [2.0]
    with file.open("ab") as more:
        more.write(b'ss": 1.0}\n')
    metrics.read()
    assert list(metrics.current.series["loss"].values) == [2.0, 1.0]


def test_a_resumed_run_that_went_back_replaces_what_it_does_again(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    for step in range(1, 6):
        run.log(step, loss=float(step), eval_loss=9.0)
    metrics.read()
    run.log(3, loss=30.0)
    run.log(4, loss=40.0)
    metrics.read()
    assert metrics.current is not None
    assert list(metrics.current.series["loss"].values) == [1, 2, 30, 40]
    assert list(metrics.current.series["eval_loss"].values) == [9, 9]
    assert list(metrics.current.series["loss"].xs["step"]) == [1, 2, 3, 4]


def test_a_replaced_file_is_read_again(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    run.log(1, loss=1.0)
    run.log(2, loss=2.0)
    metrics.read()
    file = run.dir.part(1, "sft").metrics_file
    file.write_bytes(b'{"current_steps": 1, "loss": 7.0}\n')
    assert metrics.read()
    assert metrics.current is not None
    assert list(metrics.current.series["loss"].values) == [7.0]


def test_what_is_not_finite_is_counted_and_not_drawn(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    run.log(1, loss=1.0)
    run.log(2, loss=math.nan)
    run.log(3, loss=math.inf)
    metrics.read()
    assert metrics.current is not None
    drawn = monitor.curve(metrics.current.series["loss"], columns=10)
    assert (drawn.count, drawn.last, drawn.odd) == (1, 1.0, (2, 2.0))


def test_the_second_part_is_the_current_one_once_it_logs(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    run.log(1, loss=1.0)
    metrics.read()
    MetricsWriter(run.dir.part(2, "dpo").metrics_file).write({"current_steps": 1, "rewards/margins": 0.5})
    metrics.read()
    assert metrics.current is not None
    assert metrics.current.part.name == "dpo"
    assert list(metrics.current.series) == ["rewards/margins"]


def test_a_curve_of_one_point_and_of_none_can_be_drawn(run: Run) -> None:
    none = monitor.curve(monitor.Series("loss"), columns=10, half_life=5)
    assert (none.buckets, none.smooth) == ((), ())
    run.log(7, loss=3.0)
    metrics = monitor.RunMetrics(run.dir)
    metrics.read()
    assert metrics.current is not None
    one = monitor.curve(metrics.current.series["loss"], columns=10, half_life=5)
    assert [bucket.last for bucket in one.buckets] == [3.0]
    assert (one.start, one.end) == (7, 7)


def test_the_time_left_follows_the_tokens(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    for step in range(1, 21):
        run.log(step, loss=1.0)
    metrics.read()
    assert metrics.current is not None
    now = monitor.progress(metrics.current)
    assert (now.step, now.total_steps, now.tokens) == (20, 100, 1000)
    assert now.fraction == 0.2
    assert now.tokens_per_s == pytest.approx(50)
    assert now.remaining_s == pytest.approx(80)


def test_a_rest_of_hours_is_not_the_time_of_a_step() -> None:
    part = monitor.PartMetrics(None)  # type: ignore[arg-type]
    for step, at in enumerate([1.0, 2.0, 3.0, 3e4, 3e4 + 1, 3e4 + 2], start=1):
        part.add({"current_steps": step, "total_steps": 10, "time": at, "loss": 1.0})
        left = monitor.progress(part).remaining_s
        assert left is None if step in (1, 4) else left == pytest.approx(10 - step)


def test_no_time_left_is_known_from_one_point(run: Run) -> None:
    metrics = monitor.RunMetrics(run.dir)
    run.log(1, loss=1.0)
    metrics.read()
    assert metrics.current is not None
    assert monitor.progress(metrics.current).remaining_s is None


def test_a_hundred_thousand_points_are_drawn_quickly(run: Run) -> None:
    series = monitor.Series("loss")
    for step in range(100_000):
        series.add({"step": step, "tokens": step, "time": step}, math.sin(step))
    started = time.process_time()
    monitor.curve(series, columns=320, half_life=100)
    assert time.process_time() - started < 1.0
