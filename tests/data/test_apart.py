"""What another process finds is what is found here."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb import data
from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data import apart, edits, journal, order, query


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> data.View:
    rows = [{"prompt": f"question {n}", "completion": "word " * (n % 7), "n": n % 50} for n in range(900)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = data.open(path, editable=True)
    edits.change(found, 3, journal.verdict("rejected"))
    edits.correct(found, 4, {"prompt": "by hand", "completion": "x", "n": 1000})
    monkeypatch.setattr(apart, "APART_FROM", 10)
    return found


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    popen = apart.subprocess.Popen

    def start(*words: Any, **more: Any) -> Any:
        found.append(popen(*words, **more))
        return found[-1]

    monkeypatch.setattr(apart.subprocess, "Popen", start)
    return found


def test_filter_search_and_sort(view: data.View, started: list[Any]) -> None:
    task = Task()
    for text in ("n>48 & is:edited", "/hand|question 8\\d+/"):
        here = query.matching(view, query.parse(text, view.columns, view.mark))
        assert apart.matching(view, text, task).tolist() == here.tolist()
    assert apart.find(view, "question 77", 800, backwards=False, task=task) == 77
    few = order.sampled(view, 60)
    for key, among in (("n", None), ("completion", few)):
        here = order.ordered(view, key, descending=True, among=among)
        assert apart.ordered(view, key, descending=True, among=among, task=task).tolist() == here.tolist()
    assert len(started) == 5
    assert all(process.poll() is not None for process in started)
    assert task.progress.unit == "rows"


def test_what_is_wrong_is_said_before_a_process_starts(view: data.View, started: list[Any]) -> None:
    with pytest.raises(UsageFault, match="no regular expression"):
        apart.matching(view, "/(/", Task())
    with pytest.raises(UsageFault, match="no column"):
        apart.ordered(view, "nn", descending=False, among=None, task=Task())
    assert started == []


def test_a_process_that_dies_costs_nothing_and_one_that_is_not_wanted_ends(
    view: data.View, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(apart.sys, "executable", "/bin/false")
        assert apart.matching(view, "question 77", Task()).tolist() == [77, *range(770, 780)]
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        apart.matching(view, "question 77", task)
    assert all(process.poll() is not None for process in started)
