"""What the Runs screen writes about events and differences: words, not Python."""

from types import SimpleNamespace
from typing import cast

import pytest

from tuiwb.runs import RunView
from tuiwb.runs.comparing import Comparison
from tuiwb.tui import run_texts


def test_events_are_told_in_words() -> None:
    event = {
        "time": 0.0,
        "event": "prepared",
        "packed": True,
        "cut": None,
        "columns": ["prompt", "text"],
        "rows": 20_000,
    }
    said = run_texts.event_text(event)
    assert said.splitlines() == ["event: prepared", "packed: yes", "cut: –", "columns: prompt, text", "rows: 20,000"]


def test_differences_are_spelled_as_in_a_recipe() -> None:
    values = {
        "packing": (True, None),
        "learning_rate": (1e-05, 0.0002),
        "lora_target_modules": (("q_proj", "v_proj"), ()),
    }
    found = Comparison(runs=("a", "b"), names=("first", "second"), differences=values, metrics={})
    lines = [line.strip() for line in run_texts.compared(found).splitlines()]
    assert {"A  true", "B  –", "A  1e-5", "B  0.0002", "A  q_proj,v_proj", "B  []"} <= set(lines)


@pytest.mark.parametrize("page", ["curves", "answers"])
def test_an_evaluation_leads_to_its_results(page: str) -> None:
    view = cast(RunView, SimpleNamespace(kind="eval", state="finished", active=False, phase=""))
    assert "R: results" in run_texts.nothing(view, page)
