"""The results of an eval run on the screen: intervals, the worst rows first, filters, from a row to the Data screen."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench

from tuiwb import evaluate, rundir
from tuiwb.base import settings
from tuiwb.evaluate import Dataset, Spec, Subject
from tuiwb.evaluate.report import records_file
from tuiwb.evaluate.spec import plain
from tuiwb.rundir import RunDir
from tuiwb.tui.results import Results, interval
from tuiwb.tui.widgets.table import Table


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that has ended: row 2 got worse, row 1 better."""
    data = tmp_path / "test.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Question {n}"}, {"role": "assistant", "content": "yes"}]}
        for n in range(8)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    subjects = (Subject(name="base", model="m"), Subject(name="tuned", model="m"))
    datasets, metrics = (Dataset(path=str(data), name="test"),), ("exact", "tokens")
    spec = Spec(subjects=subjects, datasets=datasets, metrics=metrics, resamples=100)
    run = RunDir(settings.runs_root() / "eval-1")
    for each in (run.path, run.control, run.parts_folder, run.part(1, "eval").path):
        each.mkdir(parents=True)
    rundir.write_job(run, {"kind": "eval", "name": "eval-1", "input": plain(spec), "parts": ["eval"]})
    said = {"base": ["yes", "no", "yes", "no", *["yes"] * 4], "tuned": ["yes", "yes", "no \x1b[2J‮", "no", *["yes"] * 4]}
    records: list[dict[str, Any]] = [
        {"kind": "answer", "dataset": "test", "subject": name, "row": row, "question": f"Question {row}",
         "answer": answer, "reference": "yes", "calls": [], "answer_tokens": 1}
        for name, answers in said.items()
        for row, answer in enumerate(answers)
    ]  # fmt: skip
    records_file(run).write_text("".join(json.dumps(record) + "\n" for record in records))
    rundir.write_state(run, "finished")
    return run


async def opened(pilot: BenchPilot) -> Results:
    """The results of the run, with all its rows."""
    await pilot.until_text("eval-1")
    await pilot.press("R")
    await pilot.until(lambda: isinstance(pilot.app.screen, Results))
    results = pilot.app.screen
    assert isinstance(results, Results)
    await pilot.until(lambda: len(results._shown) == 8)
    return results


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_rows_are_worst_first_and_one_key_from_the_data_screen(run: RunDir, size: tuple[int, int]) -> None:
    async with bench(screen="runs", size=size) as pilot:
        results = await opened(pilot)
        assert [case["row"] for case in results._shown[:3]] == [2, 3, 0]
        await pilot.until_text("0.75 [")
        await pilot.press("c")
        assert [case["row"] for case in results._shown] == [2]
        await pilot.press("c")
        assert [case["row"] for case in results._shown] == [1]
        await pilot.press("c", "c")
        await pilot.press("tab", "enter")
        await pilot.until_text("right:")
        assert "\x1b" not in pilot.text()
        await pilot.press("escape", "d")
        await pilot.until(lambda: pilot.app.current_mode == "data")
        await pilot.until(lambda: pilot.room.view is not None and pilot.room.row == 2)


async def test_words_filter_the_rows(run: RunDir) -> None:
    async with bench(screen="runs", size=(80, 24)) as pilot:
        results = await opened(pilot)
        await pilot.press("slash", *"question", "space", "4", "enter")
        await pilot.until(lambda: [case["row"] for case in results._shown] == [4])
        assert results.query_one("#rows", Table).row_count == 1


async def test_rows_of_another_metric_are_gone_before_its_own_are_there(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases_of, go_on = evaluate.cases_of, threading.Event()

    def slow(run: RunDir, metric: str, **more: Any) -> list[dict[str, Any]]:
        if metric == "tokens":
            go_on.wait(60)
        return cases_of(run, metric, **more)

    monkeypatch.setattr(evaluate, "cases_of", slow, raising=False)
    async with bench(screen="runs", size=(80, 24)) as pilot:
        results = await opened(pilot)
        await pilot.press("down", "slash", *"question", "enter")
        assert results._shown == []
        assert "with question: …" in pilot.text()  # not none: they are still looked for
        go_on.set()
        await pilot.until(lambda: len(results._shown) == 8)
        assert results._shown[0]["scores"] == {"base": 1.0, "tuned": 1.0}


def test_the_cases_of_every_metric_of_a_report_are_found(run: RunDir) -> None:
    report = evaluate.read_report(run)
    for found in report["results"]:
        assert evaluate.cases_of(run, found["metric"], dataset=found["dataset"])


def test_large_values_leave_room_for_their_intervals() -> None:
    found = {"value": 25712.3, "low": 7950.4, "high": 1361234.0}
    assert interval(found) == "25.7k [7.95k, 1.36M]"
    assert interval({"value": 999.7, "low": -0.000145, "high": 0.0}, signed=True) == "+1k [-0.000145, +0]"
    assert interval({"value": 65.4321, "low": 1e12, "high": float("nan")}) == "65.4 [1e+12, nan]"
