"""The Data screen on real files: paging, what the model sees, problems, search, formats, and files that misbehave."""

import json
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench

from tuiwb.data import filestore
from tuiwb.tui.screens.data_problems import ProblemsPane
from tuiwb.tui.widgets.pieces import PieceView, wrap
from tuiwb.tui.widgets.table import Table


def turns(asked: str, said: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}


def write(path: Path, rows: list[Any], end: str = "\n") -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + end)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    many: list[Any] = [turns(f"question {n}", f"answer {n}") for n in range(3000)]
    many[12] = '{"messages": [{"role": "us'
    many[700] = turns("needle in here", "found")
    many[800] = turns("needle too", "")
    return write(tmp_path / "rows.jsonl", many)


@pytest.fixture
def recipe(rows: Path, tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"stage: sft\nmodel_name_or_path: {tiny_model}\nmax_length: 60\ndatasets:\n  - path: {rows}\n")
    return path


async def opened(pilot: BenchPilot, path: Path) -> None:
    """The file is open, indexed, checked, and the first row is shown."""
    pilot.room.open(str(path))
    await settled(pilot, path)


async def settled(pilot: BenchPilot, path: Path) -> None:
    room = pilot.room
    await pilot.until(lambda: room.view is not None and room.view.path == path)
    await pilot.until(lambda: room.view.verdict is not None and not room.task_of("problems"))
    await pilot.until(lambda: shown_row(pilot) == room.row and not room.task_of("detail"))


def shown_row(pilot: BenchPilot) -> int | None:
    title = str(pilot.room.query_one("#detail").border_title)
    digits = title.removeprefix("Row ").split(" ")[0].rstrip(",").replace(",", "")
    return int(digits) if digits.isdigit() else None


async def at_row(pilot: BenchPilot, row: int) -> None:
    await pilot.until(lambda: pilot.room.row == row and shown_row(pilot) == row)


def detail(pilot: BenchPilot) -> str:
    return pilot.room.query_one(PieceView).plain


async def test_empty_state_says_what_to_press() -> None:
    async with bench("data") as pilot:
        await pilot.until_text("No dataset is open.")
        await pilot.until_text("another…")
        await pilot.press("v")
        assert pilot.toasts() == ["No dataset is open: press o."]


async def test_datasets_are_offered_before_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a-notes.txt", "README.md", "rows.jsonl", "z.parquet"):
        (tmp_path / name).write_text("x\n")
    monkeypatch.chdir(tmp_path)
    async with bench("data") as pilot:
        await pilot.until_text("a-notes.txt")
        text = pilot.text()
        places = [text.index(name) for name in ("rows.jsonl", "z.parquet", "README.md", "a-notes.txt", "another…")]
        assert places == sorted(places)


async def test_what_is_not_in_a_list_can_be_typed_still(rows: Path) -> None:
    async with bench("data") as pilot:
        await opened(pilot, rows)
        await pilot.press("m")
        await pilot.until_text("type to filter")
        await pilot.enter("/no/such/thing")
        await pilot.until_text("another…")
        await pilot.press("enter")
        await pilot.until_text("a name, a folder, a .gguf file or a hub id")


async def test_a_file_is_opened_by_typing_and_completing(tmp_path: Path, rows: Path) -> None:
    async with bench("data") as pilot:
        await pilot.press("o")
        await pilot.enter(str(tmp_path / "ro"))
        await pilot.until_text("rows.jsonl")
        await pilot.press("tab")
        assert pilot.app.screen.query_one("Input").value == str(rows)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settled(pilot, rows)
        text = pilot.text()
        assert "messages 99%" in text or "messages 100%" in text
        assert "rows sampled: messages is a list of turns with role and content" in " ".join(text.split())
        assert "3,000 rows, JSON lines" in text
        await pilot.press("o")
        await pilot.until(lambda: str(rows) in "".join(line.strip("│ ") for line in pilot.text().splitlines()))


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (60, 16)])
async def test_paging_and_jumping(rows: Path, size: tuple[int, int]) -> None:
    async with bench("data", size=size) as pilot:
        await opened(pilot, rows)
        table = pilot.room.query_one("#table", Table)
        await pilot.press("j", "j", "pagedown")
        await at_row(pilot, table.cursor)
        assert f"question {table.cursor}" in pilot.text()
        await pilot.press("G")
        await at_row(pilot, 2999)
        await pilot.until_text("question 2999")
        await pilot.press("#")
        await pilot.enter("1,234")
        await pilot.press("enter")
        await at_row(pilot, 1234)
        await pilot.until_text("question 1234")
        await pilot.press("g")
        await at_row(pilot, 0)


async def test_what_the_model_sees(recipe: Path) -> None:
    async with bench("data", size=(120, 40), recipe=str(recipe)) as pilot:
        await pilot.until(lambda: pilot.room.lens.renderer is not None)
        await pilot.until(lambda: "<|im_start|>assistant" in detail(pilot))
        lines = pilot.room.query_one(PieceView)._lines
        tones = {text: tone for line in lines for text, tone in line}
        assert tones["answer 0"] == "trained"
        assert tones["<|im_end|>"] == "stop"
        assert tones["question 0"] == "masked"
        assert "trained" in str(pilot.room.query_one("#detail").border_subtitle)
        # A margin mark tells trained lines without colours.
        assert "▌ answer 0" in pilot.text()
        await pilot.press("v")
        await pilot.until(lambda: "tokens" in detail(pilot) and "<|im_start|>" not in detail(pilot))
        await pilot.press("v")
        await pilot.until(lambda: '"role": "assistant"' in detail(pilot))


async def test_the_cut_at_max_length_is_drawn(recipe: Path, rows: Path) -> None:
    write(rows, [turns("q", "a long answer " * 30)] * 3)
    async with bench("data", size=(120, 40), recipe=str(recipe)) as pilot:
        await pilot.until(lambda: "tokens are cut off below" in detail(pilot))
        assert "max_length 60" in detail(pilot)
        assert "cut off" in str(pilot.room.query_one("#detail").border_subtitle)
        problems = pilot.room.query_one(ProblemsPane)
        await pilot.until(lambda: any(one.code == "cut_off" and one.count == 3 for one in problems.problems))


async def test_without_a_model_the_turns_are_shown(rows: Path) -> None:
    async with bench("data") as pilot:
        await opened(pilot, rows)
        assert "No model is open: m chooses one" in detail(pilot)
        assert "answer 0" in detail(pilot)


async def test_problems_are_listed_and_jumped_to(rows: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        found = pilot.room.query_one(ProblemsPane).problems
        assert {problem.code: problem.row for problem in found} == {"broken_json": 12, "empty_answer": 800}
        await pilot.until_text("Problems in the whole file")
        await pilot.press("p", "j", "enter")
        await at_row(pilot, 800)
        assert "the answer is empty" in detail(pilot)
        await pilot.press("k", "enter")
        await at_row(pilot, 12)
        assert "not valid JSON" in detail(pilot)
        assert '{"messages": [{"role": "us' in detail(pilot)
        await pilot.until_text("✗")


async def test_search_forwards_backwards_and_around(rows: Path) -> None:
    async with bench("data") as pilot:
        await opened(pilot, rows)
        await pilot.press("/")
        await pilot.enter("needle")
        await pilot.press("enter")
        await at_row(pilot, 700)
        await pilot.press("n")
        await at_row(pilot, 800)
        await pilot.press("n")
        await at_row(pilot, 700)
        await pilot.press("N")
        await at_row(pilot, 800)
        await pilot.press("/")
        await pilot.enter("x no such words")
        await pilot.press("enter")
        await pilot.until(lambda: any("is in no row" in toast for toast in pilot.toasts()))


async def test_filter_and_back(rows: Path) -> None:
    async with bench("data") as pilot:
        await opened(pilot, rows)
        await pilot.press("f")
        await pilot.enter("needle")
        await pilot.press("enter")
        table = pilot.room.query_one("#table", Table)
        await pilot.until(lambda: table.row_count == 2)
        await at_row(pilot, 700)
        await pilot.until_text("2 with “needle” of 3,000 rows")
        await pilot.press("j")
        await at_row(pilot, 800)
        await pilot.press("f", *["backspace"] * 6, "enter")
        await pilot.until(lambda: table.row_count == 3000)
        await at_row(pilot, 800)


async def test_a_format_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.jsonl", [{"q": f"q{n}", "a": f"a{n}"} for n in range(5)])
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, path)
        await pilot.until_text("format unknown")
        assert "t: name it" in pilot.text()
        await pilot.press("t")
        await pilot.enter("qa")
        await pilot.press("enter")
        await pilot.until_text("which column plays which part?")
        await pilot.press("enter")
        await pilot.until_text("qa needs a column for question and answer")
        await pilot.press("right", "j", "right", "right")
        preview = pilot.app.screen.query_one(PieceView)
        await pilot.until(lambda: "user\nq0" in preview.plain and "assistant\na0" in preview.plain)
        await pilot.press("n")
        await pilot.until(lambda: "user\nq1" in preview.plain)
        await pilot.press("enter")
        await pilot.until(lambda: pilot.room.view.format.name == "qa")
        assert dict(pilot.room.view.format.columns) == {"question": "q", "answer": "a"}
        await pilot.until_text("assistant")
        state = pilot.room.layout_state()
    async with bench("data") as pilot:
        pilot.room.restore_layout({**state, "start": True})  # whatever the session of before has kept so far
        named = ("qa", {"question": "q", "answer": "a"})
        await pilot.until(lambda: pilot.room.view is not None and pilot.room.view.given == named)


async def test_columns_that_are_named_after_parts_are_offered(tmp_path: Path) -> None:
    rows = [{"nr": n, "user_question": f"q{n}", "finalAnswer": f"a{n}", "answering": "no"} for n in range(5)]
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, write(tmp_path / "odd.jsonl", rows))
        await pilot.until_text("format unknown")
        await pilot.press("t")
        await pilot.enter("qa")
        await pilot.press("enter")
        await pilot.until_text("which column plays which part?")
        preview = pilot.app.screen.query_one(PieceView)
        await pilot.until(lambda: "user\nq0" in preview.plain and "assistant\na0" in preview.plain)


async def test_the_dataset_goes_into_the_recipe(recipe: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", [{"prompt": "p", "completion": "c"}] * 3)
    async with bench("data", recipe=str(recipe)) as pilot:
        await pilot.until(lambda: pilot.app.workspace.recipe is not None)
        await opened(pilot, other)
        await pilot.press("u")
        assert [entry.path for entry in pilot.app.workspace.recipe.datasets] == [str(other)]
        assert pilot.app.workspace.changed


async def test_a_file_that_grows_or_vanishes_is_said_and_reloaded(rows: Path) -> None:
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, rows)
        with rows.open("a") as file:
            file.write(json.dumps(turns("late", "row")) + "\n")
        pilot.room._look_at_the_file()
        await pilot.until_text("The file grew since it was opened; r: read it again")
        await pilot.press("r")
        await pilot.until(lambda: pilot.room.view.known == 3001)
        rows.unlink()
        pilot.room._look_at_the_file()
        await pilot.until_text("The file is no longer there; what is shown can still be read")
        await pilot.press("G")
        await at_row(pilot, 3000)
        assert "late" in detail(pilot)
        await pilot.press("r")
        await pilot.until(lambda: any("no such file" in toast for toast in pilot.toasts()))
        assert pilot.room.view is not None


async def test_what_cannot_be_opened_leaves_what_was(rows: Path, tmp_path: Path) -> None:
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"\x7fELF\x00\x00\x01more")
    async with bench("data") as pilot:
        await opened(pilot, rows)
        pilot.room.open(str(binary))
        await pilot.until(lambda: any("a binary file" in toast for toast in pilot.toasts()))
        assert pilot.room.view.path == rows


async def test_hostile_text_is_shown_as_symbols(tmp_path: Path) -> None:
    hostile = "\x1b[31mred\u202egnp.exe\u200b [bold]x[/bold] " + "z" * 1_000_000
    path = write(tmp_path / "rows.jsonl", [{**turns(hostile, hostile), hostile[:30]: hostile}])
    async with bench("data", size=(120, 40)) as pilot:
        await opened(pilot, path)
        for look in range(3):
            text = pilot.text() + detail(pilot)
            assert not set("\x1b\u202e\u200b") & set(text)
            if look != 2:
                assert "[bold]x[/bold]" in text
            assert "characters more" in detail(pilot)
            await pilot.press("v")
            await pilot.until(lambda: not pilot.room.task_of("detail"))


async def test_zero_rows(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text("\n")
    async with bench("data", size=(120, 40)) as pilot:
        pilot.room.open(str(path))
        await pilot.until(lambda: pilot.room.query_one(ProblemsPane).problems)
        await pilot.until_text("the file has no rows")
        assert "0 rows" in pilot.text()
        await pilot.press("j", "G", "v", "n")


async def test_rows_are_there_while_the_file_is_indexed(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filestore, "HEAD", 2000)
    monkeypatch.setattr(filestore, "BLOCK", 2000)
    async with bench("data") as pilot:
        pilot.room.open(str(rows))
        await pilot.until_text("question 1")
        await settled(pilot, rows)
        assert pilot.room.query_one("#table", Table).row_count == 3000


async def test_the_session_brings_back_file_row_and_view(rows: Path) -> None:
    async with bench("data") as pilot:
        await opened(pilot, rows)
        await pilot.press("j", "v")
        await at_row(pilot, 1)
        state = pilot.room.layout_state()
    assert (state["path"], state["row"], state["look"]) == (str(rows), 1, "turns")
    async with bench("data") as pilot:
        pilot.room.restore_layout({**state, "start": True, "nonsense": 1})
        await settled(pilot, rows)
        await at_row(pilot, 1)


@pytest.mark.parametrize("width", [1, 7, 20, 80])
def test_wrapping_keeps_every_character_but_spaces(width: int) -> None:
    text = "one two  three\n\n    indented 漢字とかな words and-a-very-long-word-without-a-space 👩‍👩‍👧 end"
    lines = wrap([(text[:20], "text"), (text[20:], "trained")], width)
    from rich.cells import cell_len

    assert all(cell_len("".join(part for part, _ in line)) <= max(width, 2) for line in lines)
    joined = "".join(part for line in lines for part, _ in line)
    assert joined.replace(" ", "") == text.replace(" ", "").replace("\n", "")


async def test_a_folder_is_gone_into_and_opened_whole(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a", "b"):
        write(folder / f"{name}.jsonl", [{"prompt": name, "completion": "c"}] * 2)
    (folder / "a.jsonl.edits.jsonl").write_text('{"journal":1}\n')
    (folder / "round").symlink_to(folder / "round")
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    async with bench("data", size=(120, 40)) as pilot:
        await pilot.press("o")
        await pilot.enter(str(folder))
        await pilot.press("enter")
        await pilot.until_text("all files of this folder")
        assert "edits" not in pilot.text()
        await pilot.press("enter")
        await pilot.until(lambda: pilot.room.view is not None and pilot.room.view.known == 4)
