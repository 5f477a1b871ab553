"""The Data screen by hand: edits with undo, verdicts, pairs, sorting, charts with drill-down, several sources."""

import json
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench
from textual.widgets import Input, TextArea

from tuiwb import data
from tuiwb.data import edits, journal
from tuiwb.tui.screens.data_charts import ChartPane
from tuiwb.tui.screens.data_edit import Compare, RowEditor, _escaped
from tuiwb.tui.widgets.pieces import PieceView
from tuiwb.tui.widgets.table import Table


def turns(asked: str, said: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], **more}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    many = [turns(f"question {n // 2}", f"answer {n} " + "word " * (n % 9), score=n % 50) for n in range(300)]
    path.write_text("".join(json.dumps(row) + "\n" for row in many))
    return path


async def opened(pilot: BenchPilot, path: Path) -> None:
    pilot.room.open(str(path))
    await pilot.until(lambda: pilot.room.view is not None and pilot.room.view.path == path)
    await pilot.until(lambda: pilot.room.view.verdict is not None and not pilot.room.task_of("problems"))
    await at_row(pilot, pilot.room.row)


async def at_row(pilot: BenchPilot, row: int) -> None:
    room = pilot.room
    await pilot.until(lambda: room.row == row and str(room.query_one("#detail").border_title).startswith(f"Row {row},"))
    await pilot.until(lambda: not room.task_of("detail"))


async def changed(pilot: BenchPilot, words: str) -> None:
    await pilot.until(lambda: any(words in toast for toast in pilot.toasts()) and not pilot.room.task_of("change"))


def detail(pilot: BenchPilot) -> str:
    return pilot.room.query_one(PieceView).plain


def table(pilot: BenchPilot) -> Table:
    found: Table = pilot.room.query_one("#table", Table)
    return found


async def test_a_row_is_corrected_judged_and_all_of_it_undone(rows: Path) -> None:
    before = rows.read_bytes()
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        await pilot.press("U")
        assert "Nothing was changed by hand." in pilot.toasts()
        await pilot.press("e")
        await pilot.until(lambda: isinstance(pilot.app.screen, RowEditor))
        area = pilot.app.screen.query_one(TextArea)
        area.text = area.text.replace("answer 0", "a better answer")[:-1]
        await pilot.press("ctrl+s")
        assert "not valid JSON" in pilot.text()
        area.text = area.text + "}"
        await pilot.press("ctrl+s")
        await changed(pilot, "Row 0 corrected.")
        await pilot.until(lambda: "a better answer" in detail(pilot))
        await pilot.until_text("✎")
        await pilot.press("x")
        await changed(pilot, "Row 0 rejected.")
        await at_row(pilot, 1)
        await pilot.until_text("−")
        await pilot.press("a")
        await changed(pilot, "Row 1 accepted.")
        await at_row(pilot, 2)
        await pilot.press("+")
        await pilot.enter("odd, look")
        await pilot.press("enter")
        await changed(pilot, "Row 2 tagged odd, look.")
        await pilot.until(lambda: "by hand: tagged odd and look" in detail(pilot))
        view = pilot.room.view
        assert {row: (mark.verdict, mark.tags) for row, mark in view.journal.marks.items()} == {
            0: ("rejected", ()),
            1: ("accepted", ()),
            2: (None, ("odd", "look")),
        }
        await pilot.press("f")
        await pilot.enter("is:rejected")
        await pilot.press("enter")
        await pilot.until(lambda: table(pilot).row_count == 1)
        await pilot.press("U")
        await changed(pilot, "Taken back: row 2 tagged")
        assert table(pilot).row_count == 300
        for _ in range(3):
            marks = dict(view.journal.marks)
            await pilot.press("U")
            await pilot.until(lambda was=marks: view.journal.marks != was)
        await at_row(pilot, 0)
        await pilot.until(lambda: "a better answer" not in detail(pilot))
        await pilot.press("ctrl+r")
        await pilot.until(lambda: "a better answer" in detail(pilot))
    assert rows.read_bytes() == before
    assert journal.place_of(rows).is_file()


async def test_what_another_program_did_to_rows_is_shown(rows: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        with data.open(rows, editable=True) as other:
            edits.change(other, 0, journal.tags(("elsewhere",)))
        pilot.room._look_at_the_file()
        await pilot.until(lambda: "by hand: tagged elsewhere" in detail(pilot))
        await pilot.press("U")
        await changed(pilot, "Taken back: row 0 tagged elsewhere")
        assert not pilot.room.view.journal.marks


async def test_an_edit_goes_into_the_open_recipe(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"stage: sft\nmodel_name_or_path: {tiny_model}\ndatasets:\n  - path: {rows}\n")
    async with bench("data", recipe=str(recipe)) as pilot:
        await pilot.until(lambda: pilot.room.view is not None)
        await at_row(pilot, 0)
        await pilot.press("x")
        await pilot.until(lambda: pilot.app.workspace.recipe.datasets[0].journal is not None)
        assert pilot.app.workspace.recipe.datasets[0].journal == str(journal.place_of(rows))


async def test_leaving_the_editor_changes_nothing_and_asks_once(rows: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        await pilot.press("e")
        await pilot.until(lambda: isinstance(pilot.app.screen, RowEditor))
        await pilot.press("x", "escape")
        assert "esc again gives up the changes" in pilot.text()
        await pilot.press("escape")
        await pilot.until(lambda: not isinstance(pilot.app.screen, RowEditor))
        assert not pilot.room.view.journal.marks
        assert not journal.place_of(rows).exists()


def test_what_cannot_be_seen_is_an_escape_in_the_editor() -> None:
    value = {"a": "\x1b[31m\u202e\u200b é 漢 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")}
    text = _escaped(json.dumps(value, ensure_ascii=False, indent=1))
    assert not set("\x1b\u202e\u200b") & set(text)
    assert "é 漢" in text
    assert json.loads(text) == value


async def test_two_answers_are_compared(rows: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        await pilot.press("=", "j")
        await at_row(pilot, 1)
        await pilot.press("=")
        await pilot.until(lambda: isinstance(pilot.app.screen, Compare))
        assert "answer 0" in pilot.text()
        assert "answer 1" in pilot.text()
        await pilot.press("2")
        await changed(pilot, "Row 1 preferred to row 0")
        assert [(pair.chosen, pair.rejected) for pair in pilot.room.view.journal.pairs] == [(1, 0)]
        await pilot.press("w")
        await pilot.until_text("1 compared answers as preference rows")
        await pilot.press("down", "enter")
        await pilot.until_text("Write the pairs to")
        await pilot.press("enter")
        written = rows.with_name("rows-pairs.jsonl")
        await pilot.until(written.exists)
    pair = json.loads(written.read_text())
    assert (pair["chosen"][0]["content"][:8], pair["rejected"][0]["content"][:8]) == ("answer 1", "answer 0")


async def test_sorting_sampling_and_writing_what_is_shown(rows: Path, tmp_path: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        await pilot.press("s")
        await pilot.until_text("Sort by")
        await pilot.enter("score ▼"[:5])
        await pilot.press("down", "enter")
        await pilot.until(lambda: pilot.room.pages.what == "by score ▼")
        await at_row(pilot, 49)
        await pilot.press("j")
        await at_row(pilot, 99)
        await pilot.press("S", *["backspace"] * 3)
        await pilot.enter("7")
        await pilot.press("enter")
        await pilot.until(lambda: table(pilot).row_count == 7)
        ids = pilot.room.pages.ids.tolist()
        await pilot.press("w")
        await pilot.until(lambda: isinstance(pilot.app.focused, Input))
        field = pilot.app.screen.query_one(Input)
        field.value = str(tmp_path / "out.jsonl")
        await pilot.press("enter")
        await pilot.until(lambda: any("7 rows are in" in toast for toast in pilot.toasts()))
    lines = rows.read_bytes().splitlines()
    assert (tmp_path / "out.jsonl").read_bytes().splitlines() == [lines[number] for number in ids]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_charts_and_down_to_the_rows_of_a_bar(
    rows: Path, tiny_model: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"stage: sft\nmodel_name_or_path: {tiny_model}\nmax_length: 60\ndatasets:\n  - path: {rows}\n")
    async with bench("data", size=size, recipe=str(recipe)) as pilot:
        await pilot.until(lambda: pilot.room.view is not None and pilot.room.lens.renderer is not None)
        await at_row(pilot, 0)
        await pilot.press("b")
        pane = pilot.room.query_one(ChartPane)
        await pilot.until(lambda: pane.measures is not None and pane.measures.whole)
        assert pane.measures is not None
        assert pane.measures.unit == "tokens"
        await pilot.until_text("length in tokens")
        await pilot.press("b", "b", "b")
        await pilot.until_text("tokens cut off at max_length 60")
        lost = pane.rows_at(1).tolist()
        assert lost
        await pilot.press("j", "enter")
        await pilot.until(lambda: table(pilot).row_count == len(lost))
        assert pilot.room.pages.ids.tolist() == lost
        await pilot.press("v")
        await at_row(pilot, lost[0])
        assert "cut off" in str(pilot.room.query_one("#detail").border_subtitle)


async def test_two_datasets_are_open_side_by_side(rows: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "p", "completion": "c"}\n' * 5)
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        await pilot.press("j", "j")
        await at_row(pilot, 2)
        await opened(pilot, other)
        await pilot.until_text("other.jsonl  2 of 2")
        await pilot.press("[")
        await at_row(pilot, 2)
        await pilot.until_text("rows.jsonl  1 of 2")
        await pilot.press("]")
        await pilot.until(lambda: pilot.room.view.path == other)


async def test_a_folder_with_splits_asks_which(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"prompt": name, "completion": "c"}) + "\n")
    async with bench("data", size=(120, 40)) as pilot:
        pilot.room.open(str(folder))
        await pilot.until_text("Which split?")
        await pilot.enter("test")
        await pilot.press("enter")
        await pilot.until(lambda: pilot.room.view is not None)
        assert pilot.room.view.row(0).value["prompt"] == "test"
        assert pilot.room.view.part == ("test", None)


async def test_a_key_while_the_dataset_is_being_opened(rows: Path) -> None:
    async with bench("data") as pilot:
        pilot.room.open(str(rows))
        assert pilot.room.reason("view") == "The dataset is being opened."
        await pilot.until(lambda: pilot.room.view is not None)
        assert pilot.room.reason("view") is None


async def test_leaving_while_it_is_opened_does_not_lose_it(rows: Path) -> None:
    async with bench("data") as pilot:
        pilot.room.open(str(rows))
        await pilot.press("7", "2")
        await pilot.until(lambda: pilot.room.view is not None)
