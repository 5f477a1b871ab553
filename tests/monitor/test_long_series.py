"""Long files of metrics: taken column by column, the end first, and opened again from the cache."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tuiwb import monitor
from tuiwb.monitor import series as series_module
from tuiwb.rundir import MetricsWriter, RunDir, decode


def lines(count: int, first: int = 1) -> list[dict[str, Any]]:
    """As a trainer logs them: an evaluation now and then, and what is odd."""
    found: list[dict[str, Any]] = []
    for step in range(first, first + count):
        line = {"time": 100.0 + step, "current_steps": step, "total_tokens": 7 * step, "epoch": step / 9, "lr": 1e-4}
        found.append(line | {"loss": "NaN" if step % 97 == 0 else math.sin(step)})
        if step % 50 == 0:
            found.append({"time": 100.5 + step, "current_steps": step, "eval_loss": math.cos(step)})
        if step % 131 == 0:
            found.append({"time": 50.0, "current_steps": step, "loss": 1, "note": "a clock that jumped"})
    return found


def encoded(values: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def plain(metrics: monitor.PartMetrics) -> dict[str, Any]:
    """All that is known of a part; `repr` makes NaN equal itself."""
    series = {
        name: ([list(each.xs[axis]) for axis in monitor.AXES], list(each.values), repr(each.odd))
        for name, each in metrics.series.items()
    }
    return {"series": series, "at": (metrics.start, metrics.step, metrics.tokens), "last": repr(metrics.last)}


@pytest.mark.parametrize("values", [lines(1000), [*lines(300), *lines(200, first=120)], lines(5)])
def test_column_by_column_is_line_by_line(tmp_path: Path, values: list[dict[str, Any]]) -> None:
    part = RunDir(tmp_path).part(1, "sft")
    fast, slow = monitor.PartMetrics(part), monitor.PartMetrics(part)
    raw = encoded(values)
    raw[3:3] = [b"", b'{"torn": ']
    fast.take(raw)
    for line in raw:
        if (value := decode(line)) is not None:
            slow.add(value)
    assert plain(fast) == plain(slow)
    assert fast.series["loss"].values


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setattr(series_module, "LONG_BYTES", 10_000)
    monkeypatch.setattr(series_module, "NEWEST", 50)
    run = RunDir(tmp_path / "runs" / "long")
    writer = MetricsWriter(run.part(1, "sft").metrics_file)
    for line in lines(1000):
        writer.write(line)
    return run


def test_the_end_is_shown_while_the_rest_is_read(long: RunDir) -> None:
    metrics = monitor.RunMetrics(long)
    assert metrics.read_some()
    assert metrics.loading
    assert metrics.current is not None
    assert metrics.current.step == 1000
    assert 40 <= len(metrics.current.series["lr"].values) <= 50
    metrics.read()
    assert not metrics.loading
    assert len(metrics.current.series["lr"].values) == 1000


def test_the_cache_is_the_same_and_goes_on(long: RunDir, tmp_path: Path) -> None:
    first = monitor.RunMetrics(long, cache=tmp_path / "columns")
    first.read()
    assert [path.suffix for path in (tmp_path / "columns").iterdir()] == [".columns"]
    again = monitor.RunMetrics(long, cache=tmp_path / "columns")
    assert again.read_some()
    assert not again.loading
    assert first.current is not None
    assert again.current is not None
    assert plain(again.current) == plain(first.current)
    MetricsWriter(long.part(1, "sft").metrics_file).write({"current_steps": 1001, "time": 1200.0, "loss": 0.5})
    assert again.read()
    assert again.current.step == 1001


@pytest.mark.parametrize("spoil", ["another run", "a cut cache", "no cache"])
def test_a_cache_that_does_not_fit_is_not_used(long: RunDir, tmp_path: Path, spoil: str) -> None:
    monitor.RunMetrics(long, cache=tmp_path / "columns").read()
    (cached,) = (tmp_path / "columns").iterdir()
    if spoil == "another run":
        writer = long.part(1, "sft").metrics_file
        writer.write_bytes(writer.read_bytes().replace(b'"lr"', b'"rl"'))
    elif spoil == "a cut cache":
        cached.write_bytes(cached.read_bytes()[:-8])
    else:
        cached.unlink()
    metrics = monitor.RunMetrics(long, cache=tmp_path / "columns")
    metrics.read()
    assert metrics.current is not None
    assert len(metrics.current.series["loss"].values) > 900
    assert ("rl" in metrics.current.series) == (spoil == "another run")
