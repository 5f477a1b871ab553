"""From the Data screen to other files: another format, parts that share no row, the open datasets in one epoch."""

import json
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench
from textual.widgets import Input

from tuiwb.tui.screens import data_mix
from tuiwb.tui.screens.data_mix import MixPanel
from tuiwb.tui.widgets.table import Table


def write(path: Path, count: int, **more: Any) -> Path:
    rows = [{"prompt": f"{path.stem} asks {n}", "completion": f"it is {n}", **more} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(data_mix, "_fixed", {})
    return write(tmp_path / "rows.jsonl", 40)


@pytest.fixture
def recipe(rows: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"stage: sft\nmodel_name_or_path: x\ndatasets:\n  - path: {rows}\n    steps: [refusals]\n")
    return path


async def opened(pilot: BenchPilot, path: Path) -> None:
    if pilot.room.view is None or pilot.room.view.path != path:
        pilot.room.open(str(path))
    await pilot.until(lambda: pilot.room.view is not None and pilot.room.view.path == path)
    await pilot.until(lambda: pilot.room.view.verdict is not None and not pilot.room.task_of("problems"))


async def typed(pilot: BenchPilot, text: str) -> None:
    """Into the field of the dialog that opens."""
    await pilot.until(lambda: isinstance(pilot.app.focused, Input))
    pilot.app.screen.query_one(Input).value = text
    await pilot.press("enter")


async def said(pilot: BenchPilot, words: str) -> None:
    await pilot.until(lambda: any(words in toast for toast in pilot.toasts()))


async def test_all_rows_in_another_format(rows: Path, tmp_path: Path) -> None:
    before = rows.read_bytes()
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        for words in ("40 rows are in", "Replace"):
            await pilot.press("W")
            await pilot.until_text("Write all rows as")
            await pilot.enter("messages")
            await pilot.press("enter")
            await pilot.until_text("Write the rows as messages to")
            await typed(pilot, str(tmp_path / "out.jsonl"))
            await (said(pilot, words) if "rows" in words else pilot.until_text(words))
        await pilot.press("escape")
    assert rows.read_bytes() == before
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["messages"][1] == {"role": "assistant", "content": "it is 0"}


async def test_parts_that_share_no_row_go_into_the_recipe(rows: Path, recipe: Path, tmp_path: Path) -> None:
    async with bench("data", size=(120, 40), recipe=str(recipe)) as pilot:
        await opened(pilot, rows)
        await pilot.press("P")
        await pilot.until_text("Split into")
        await typed(pilot, "train=0.9,test")
        await said(pilot, "is not NAME=SHARE")
        await pilot.press("P")
        await pilot.until_text("Split into")
        await typed(pilot, "train=0.75,test=rest")
        await pilot.until_text("How are the rows shared out?")
        await pilot.enter("same prompt")
        await pilot.press("enter")
        await pilot.until_text("Write the parts to the folder")
        await typed(pilot, str(tmp_path / "parts"))
        await pilot.until_text("learns from train")
        await pilot.press("y")
        await pilot.until(lambda: pilot.app.workspace.changed)
        made = pilot.app.workspace.recipe
    parts = {name: (tmp_path / "parts" / f"{name}.jsonl").read_bytes().splitlines() for name in ("train", "test")}
    assert {name: len(lines) for name, lines in parts.items()} == {"train": 30, "test": 10}
    assert sorted([*parts["train"], *parts["test"]]) == sorted(rows.read_bytes().splitlines())
    assert made.datasets[0].path == str(tmp_path / "parts" / "train.jsonl")
    assert made.eval_datasets[0].path == str(tmp_path / "parts" / "test.jsonl")


async def test_a_mixture_of_the_open_datasets(rows: Path, recipe: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", 10)
    async with bench("data", size=(120, 40), recipe=str(recipe)) as pilot:
        await opened(pilot, rows)
        await pilot.press("M")
        assert any("One dataset is open" in toast for toast in pilot.toasts())
        await opened(pilot, other)
        await pilot.press("M")
        await pilot.until(lambda: isinstance(pilot.app.screen, MixPanel) and pilot.app.screen.mixture is not None)
        panel = pilot.app.screen
        assert isinstance(panel, MixPanel)
        panel.query_one(Table).cursor = 1
        await pilot.press("enter")
        await typed(pilot, "200%")
        await said(pilot, "no share of the mixture")
        await pilot.press("enter")
        await typed(pilot, "60%")
        await pilot.until(lambda: panel.mixture is not None and panel.mixture.sources[1].examples == 30)
        await pilot.until_text("3.00")
        await pilot.press("x")
        await typed(pilot, "2")
        await pilot.until(lambda: panel.mixture is not None and panel.mixture.sources[1].examples == 20)
        await pilot.press("s")
        await pilot.until(lambda: len(pilot.app.workspace.recipe.datasets) == 2)
        first, second = pilot.app.workspace.recipe.datasets
        assert (first.path, first.weight, first.steps) == (str(rows), 0.6, ("refusals",))
        assert (second.path, second.weight) == (str(other), 0.4)
        await pilot.press("w")
        await typed(pilot, str(tmp_path / "mixture.jsonl"))
        await said(pilot, "50 rows are in")
        await pilot.press("d")
        await pilot.until(lambda: panel.mixture is not None and len(panel.mixture.sources) == 1)
        await pilot.press("d")  # the last one stays
        assert [Path(one.path) for one in panel.mixture.sources] == [rows]
    lines = (tmp_path / "mixture.jsonl").read_bytes().splitlines()
    assert set(lines) <= {*rows.read_bytes().splitlines(), *other.read_bytes().splitlines()}
    assert sum(b"other asks" in line for line in lines) == 20
