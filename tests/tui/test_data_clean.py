"""The cleaning panel: steps are tried before they are used, taken back, and end in the recipe or in a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench
from textual.widgets import OptionList

from tuiwb import data
from tuiwb.data.clean import lists
from tuiwb.tui.screens.data_clean import CleanPanel
from tuiwb.tui.screens.data_problems import ProblemsPane
from tuiwb.tui.widgets.pieces import PieceView
from tuiwb.tui.widgets.table import Table

LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    answers = [" ".join(f"{letter * 4}{n}" for letter in LETTERS) for n in range(40)]
    answers[5] = answers[4].replace("jjjj4", "numerous")
    answers[9] = "short"
    answers[12] = answers[11].upper()
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "Tell", "completion": answer}) + "\n" for answer in answers))
    return path


@pytest.fixture
def recipe(rows: Path, tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"stage: sft\nmodel_name_or_path: {tiny_model}\ndatasets:\n  - path: {rows}\n")
    return path


def panel(pilot: BenchPilot) -> CleanPanel:
    assert isinstance(pilot.app.screen, CleanPanel)
    return pilot.app.screen


def plain(pilot: BenchPilot) -> str:
    return panel(pilot).query_one(PieceView).plain


async def add(pilot: BenchPilot, name: str, *typed: str) -> None:
    """Add a step by its name; `typed` is what stands in the line then."""
    known = len(panel(pilot).steps)
    await pilot.press("a")
    await pilot.until(lambda: type(pilot.app.screen).__name__ == "Choose")
    pilot.app.screen.query_one("Input").value = name  # type: ignore[attr-defined]
    await pilot.until(lambda: pilot.app.screen.query_one(OptionList).option_count == 1)
    await pilot.press("enter")
    for text in typed:
        await pilot.until(lambda: type(pilot.app.screen).__name__ == "Ask")
        pilot.app.screen.query_one("Input").value = text  # type: ignore[attr-defined]
        await pilot.press("enter")
    await pilot.until(lambda: isinstance(pilot.app.screen, CleanPanel) and len(panel(pilot).steps) > known)


async def judged(pilot: BenchPilot) -> Any:
    await pilot.until(lambda: panel(pilot).cleaned is not None and not panel(pilot).task_of("found"))
    return panel(pilot).cleaned


async def opened(pilot: BenchPilot, rows: Path) -> None:
    await pilot.until(lambda: pilot.room.view is not None and pilot.room.view.path == rows and pilot.room.view.complete)
    await pilot.press("C")
    await pilot.until(lambda: isinstance(pilot.app.screen, CleanPanel))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_steps_are_tried_taken_back_and_used(rows: Path, recipe: Path, size: tuple[int, int]) -> None:
    before = rows.read_bytes()
    async with bench("data", size=size) as pilot:
        pilot.app.keeper.open(str(recipe))
        await opened(pilot, rows)
        await add(pilot, "length in words", "words: {min: 5}")
        assert list((await judged(pilot)).removals) == [9]
        await pilot.until(lambda: "row 9  1 words, less than 5 words" in plain(pilot))
        await add(pilot, "length in words", "words: {min: 5, max: 22}")
        await judged(pilot)
        panel(pilot).query_one(Table).cursor = 1
        # The nearest of those that stay, with how far they are.
        await pilot.until(lambda: "Stays, though near the limit\nrow 0  20 words" in plain(pilot))
        await pilot.press("u")
        await add(pilot, "exact_duplicates")
        await add(pilot, "near_duplicates", "near_duplicates: {threshold: 0.6}")
        found = await judged(pilot)
        assert list(found.removals) == [5, 9, 12]
        await pilot.until(lambda: all(part in plain(pilot) for part in ("[-jjjj4-]", "{+numerous+}")))
        assert "near_duplicates (threshold 0.6)" in pilot.text()

        await pilot.press("u")
        assert [step.name for step in panel(pilot).steps] == ["words", "exact_duplicates"]
        await pilot.press("ctrl+r")
        assert len(panel(pilot).steps) == 3
        panel(pilot).query_one(Table).cursor = 2
        await pilot.press("d")
        panel(pilot).query_one(Table).cursor = 1
        await pilot.press("K")
        assert [step.name for step in panel(pilot).steps] == ["exact_duplicates", "words"]

        await pilot.press("s")
        await pilot.until(lambda: pilot.app.workspace.recipe.datasets[0].steps is not None)
        entry = pilot.app.workspace.recipe.datasets[0]
        assert entry.steps == ("exact_duplicates", {"words": {"min": 5.0}})
        await judged(pilot)
        panel(pilot).query_one(Table).cursor = 0
        await pilot.press("enter")
        await pilot.until(lambda: not isinstance(pilot.app.screen, CleanPanel))
        assert (len(pilot.room.pages), pilot.room.row) == (2, 11)  # it stays, and row 12 repeats it
    assert rows.read_bytes() == before
    with data.open(entry) as view:
        assert len(list(view.examples())) == 38


async def test_what_stays_is_written_beside_the_source(rows: Path) -> None:
    async with bench("data", size=(100, 30)) as pilot:
        pilot.room.open(str(rows))
        await opened(pilot, rows)
        await add(pilot, "guides advise")
        assert len(panel(pilot).steps) == 4
        await judged(pilot)
        await pilot.press("w")
        await pilot.until(lambda: type(pilot.app.screen).__name__ == "Ask")
        await pilot.press("enter")
        target, report = rows.with_name("rows-cleaned.jsonl"), rows.with_name("rows-cleaned.report.md")
        await pilot.until(lambda: target.exists() and report.exists() and not panel(pilot).task_of("write"))
        assert len(target.read_text().splitlines()) == 38
        await pilot.press("s")
        assert pilot.toasts()[-1].startswith("No recipe is open")


async def test_a_wrong_step_is_said_and_changes_nothing(rows: Path) -> None:
    async with bench("data", size=(100, 30)) as pilot:
        pilot.room.open(str(rows))
        await opened(pilot, rows)
        await pilot.press("a")
        await pilot.until(lambda: type(pilot.app.screen).__name__ == "Choose")
        await pilot.press(*"regex", "enter")
        await pilot.until(lambda: type(pilot.app.screen).__name__ == "Ask")
        pilot.app.screen.query_one("Input").value = "regex: {patern: x}"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await pilot.until(lambda: any("has no setting patern" in toast for toast in pilot.toasts()))
        await pilot.until(lambda: type(pilot.app.screen).__name__ == "Ask")
        field = pilot.app.screen.query_one("Input")
        assert field.value == "regex: {patern: x}"  # type: ignore[attr-defined]
        assert "Settings: pattern, of, keep" in " ".join(pilot.text().split())
        await pilot.press("escape")
        assert panel(pilot).steps == ()
        assert "a: add a step or a preset" in plain(pilot)


async def test_a_problem_leads_to_the_step_that_puts_it_right(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "odd.jsonl"
    many = [{"prompt": f"Tell {n}", "completion": f"answer {n} that is long enough"} for n in range(20)]
    many[7]["completion"] = "caf\u00c3\u00a9 and more of it"
    many[9]["completion"] = "I'm sorry, but as an AI language model I cannot help with that."
    path.write_text("".join(json.dumps(row) + "\n" for row in many))
    async with bench("data", size=(120, 40)) as pilot:
        pilot.room.open(str(path))
        await pilot.until(lambda: bool(pilot.room.query_one(ProblemsPane).problems))
        pane = pilot.room.query_one(ProblemsPane)
        await pilot.until(lambda: "whole file" in str(pane.border_title))
        for code, name in (("mojibake", "repair"), ("refusal", "problems")):
            await pilot.press("p") if not pane.table.has_focus else None
            pane.table.cursor = next(at for at, one in enumerate(pane.problems) if one.code == code)
            await pilot.press("F")
            await pilot.until(lambda: isinstance(pilot.app.screen, CleanPanel))
            assert panel(pilot).steps[-1].name == name
            await judged(pilot)
            await pilot.press("escape")
            await pilot.until(lambda: not isinstance(pilot.app.screen, CleanPanel))
        await pilot.press("C")
        await pilot.until(lambda: isinstance(pilot.app.screen, CleanPanel))
        panel(pilot).query_one(Table).cursor = 0
        await judged(pilot)
        await pilot.until(lambda: "[-Ã©-]" in plain(pilot) or "{+é+}" in plain(pilot) or "{+café+}" in plain(pilot))
        assert "Changed, 1 rows" in plain(pilot)

        await pilot.press("f")
        await pilot.until(lambda: type(pilot.app.screen).__name__ == "Ask")
        pilot.app.screen.query_one("Input").value = str(tmp_path / "mine.yaml")  # type: ignore[attr-defined]
        await pilot.press("enter")
        await pilot.until(lambda: (tmp_path / "mine.yaml").exists())
    assert [step.name for step in lists.load(tmp_path / "mine.yaml")] == ["repair", "problems"]


async def test_clusters_are_walked_with_the_row_that_stays(rows: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        pilot.room.open(str(rows))
        await opened(pilot, rows)
        await add(pilot, "near_duplicates", "near_duplicates: {threshold: 0.6}")
        await judged(pilot)
        await pilot.press("enter")
        await pilot.until(lambda: not isinstance(pilot.app.screen, CleanPanel))
        room = pilot.room
        assert [room.pages.number(at) for at in range(len(room.pages))] == [4, 5, 11, 12]
        await pilot.until_text("in clusters of near_duplicates")
        await pilot.press("j")
        await pilot.until_text("Row 5 where it differs from row 4, which stays")
        await pilot.until(lambda: "[-jjjj4-]" in room.query_one(PieceView).plain)
        await pilot.press("v")
        await pilot.until_text("Row 5, line 6 as the model sees it")
