"""The Train screen, driven as a user drives it: edit, check, see the YAML, launch or be told why not."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench

from tuiwb import resolve, rundir, runs
from tuiwb.base import settings
from tuiwb.base.tasks import Task
from tuiwb.recipe import Recipe, pairs
from tuiwb.runs import training
from tuiwb.tui.screens import train as screen
from tuiwb.tui.screens import train_work
from tuiwb.tui.widgets.recipe_text import RecipeText
from tuiwb.tui.widgets.table import Table

SIZES = [(80, 24), (120, 40), (160, 50)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(200)))
    return path


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model: Path, rows: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"method: lora\nmodel_name_or_path: {tiny_model}\ndatasets:\n- path: {rows}\nmax_length: 128\nlora_r: 16\n"
    )
    return path


async def checked(pilot: BenchPilot) -> None:
    """Wait until the open recipe has been checked."""
    room = pilot.room
    await pilot.until(lambda: room._assessment is not None and room._assessment.resolved.stated == room.recipe)
    await pilot.pilot.pause()


async def go_to(pilot: BenchPilot, key: str) -> None:
    """Put the cursor on a key."""
    keys = [line.key for line in pilot.room._lines]
    pilot.room.query_one(Table).cursor = keys.index(key)
    await pilot.pilot.pause()


def recipe_of(pilot: BenchPilot) -> Recipe:
    found: Recipe = pilot.app.workspace.recipe
    return found


async def test_without_a_recipe_it_says_what_to_press() -> None:
    async with bench(screen="train") as pilot:
        await pilot.until_text("No recipe is open.")
        await pilot.press("l")
        assert pilot.toasts() == ["No recipe is open: press p to choose a preset."]
        await pilot.press("p")
        await pilot.until_text("type to filter")
        await pilot.enter("sft-q")
        await pilot.until_text("sft-qlora")


@pytest.mark.parametrize("size", SIZES)
async def test_form_checks_and_memory_are_there(recipe_file: Path, size: tuple[int, int]) -> None:
    async with bench(screen="train", size=size, recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        text = pilot.text()
        assert "per_device_train_batch_size" in text
        assert "GiB" in text
        assert "ready" in text
        assert "lora" in text
        assert max(len(line) for line in text.splitlines()) <= size[0]


@pytest.mark.parametrize("size", SIZES)
async def test_each_view_can_be_reached(recipe_file: Path, size: tuple[int, int]) -> None:
    async with bench(screen="train", size=size, recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        seen = ""
        for _ in screen.VIEWS:
            seen += pilot.text()
            await pilot.press("v")
        for words in ("accepts", "ready to launch", "max_length: 128", "no difference to"):
            assert words in seen


async def test_a_value_is_typed_checked_and_compared(recipe_file: Path) -> None:
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "lora_r")
        await pilot.press("enter")
        await pilot.press("backspace", "backspace")
        await pilot.enter("8")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).lora_r == 8)
        await checked(pilot)
        text = pilot.text()
        assert "instead of 16" in text
        assert "lora_r: 8" in text, "the YAML"
        assert pilot.room._lines[pilot.room.query_one(Table).cursor].key == "lora_r", "the cursor stays"
        await pilot.press("v")
        assert "- 16" in pilot.text()
        assert pilot.app.workspace.changed


async def test_a_wrong_value_is_refused_where_it_was_typed(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "learning_rate")
        await pilot.press("enter")
        await pilot.enter("x")
        await pilot.press("enter")
        await pilot.until_text("must be a number above 0")
        assert "0.0002x" in pilot.text(), "what was typed is still there"
        await pilot.press("escape")
        assert recipe_of(pilot).learning_rate is None


async def test_a_choice_is_made_from_a_list_that_says_what_each_costs(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "method")
        await pilot.press("enter")
        await pilot.until_text("MiB, +")
        await pilot.enter("full")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).method == "full")
        await checked(pilot)
        assert "lora_r" not in [line.key for line in pilot.room._lines], "it does not apply"


async def test_a_list_says_what_cannot_be(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("method: lora", "method: prefix"))
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "stage")
        await pilot.press("enter")
        await pilot.until_text("does not go with method prefix")


async def test_help_says_what_other_values_would_cost(recipe_file: Path) -> None:
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "per_device_train_batch_size")
        await pilot.until_text("MiB now")
        assert "8: " in pilot.text()
        await pilot.until_text("tokens each")
        assert "about" in pilot.text(), "how long it takes"


async def test_the_yaml_is_edited_and_the_form_follows(recipe_file: Path) -> None:
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("t")
        area = pilot.room.query_one(RecipeText)
        area.move_cursor(area.document.end)
        await pilot.enter("lora_alpha: 7")
        await pilot.until(lambda: recipe_of(pilot).lora_alpha == 7)
        await checked(pilot)
        assert any(line.key == "lora_alpha" and line.stated == 7 for line in pilot.room._lines)
        assert pilot.room.query_one(RecipeText).text.endswith("lora_alpha: 7"), "what is typed stays as it is typed"
        await pilot.enter("x")
        await pilot.until_text("must be a whole number")
        assert recipe_of(pilot).lora_alpha == 7, "the form keeps the last that was right"
        await pilot.press("backspace")
        await pilot.until(lambda: "must be" not in pilot.text())
        await pilot.press("escape", "l")
        assert "lora_alpha: 7l" not in pilot.room.query_one(RecipeText).text, "escape leads out of the text"


async def test_what_was_wrong_with_the_yaml_goes_with_it(recipe_file: Path) -> None:
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("t")
        await pilot.enter("x: y: ")
        await pilot.until_text("not valid YAML")
        await pilot.press("escape")
        await go_to(pilot, "lora_r")
        await pilot.press("enter")
        await pilot.enter("0")
        await pilot.press("enter")
        await pilot.until(lambda: "lora_r: 160" in pilot.room.query_one(RecipeText).text)
        await pilot.until(lambda: "not valid YAML" not in pilot.text())


async def test_the_form_is_edited_and_the_yaml_follows(recipe_file: Path) -> None:
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("t", "escape")
        pilot.room.query_one(Table).focus()
        await pilot.press("a")
        await go_to(pilot, "packing")
        await pilot.press("enter")
        await pilot.until(lambda: "packing: true" in pilot.room.query_one(RecipeText).text)
        assert "1 change" in pilot.text()


@pytest.mark.parametrize("stage", ["dpo", "grpo"])
async def test_the_keys_of_the_stage_come_first(recipe_file: Path, stage: str) -> None:
    recipe_file.write_text(recipe_file.read_text() + f"stage: {stage}\n")
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        keys = [line.key for line in pilot.room._lines]
        assert ("loss_type" in keys, "num_generations" in keys) == (stage == "dpo", stage == "grpo")
        assert keys[:2] == ["stage", "method"]


async def test_a_key_with_something_amiss_is_there(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text() + "optim: galore_adamw\n")
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.until(lambda: "optim" in [line.key for line in pilot.room._lines])


async def test_a_switch_turns_and_can_be_left_out_again(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("a")
        await go_to(pilot, "gradient_checkpointing")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).gradient_checkpointing is True)
        await pilot.press("delete")
        await pilot.until(lambda: recipe_of(pilot).gradient_checkpointing is None)
        await pilot.press("delete")
        assert pilot.toasts()[-1] == "The recipe leaves gradient_checkpointing out already."


async def test_every_key_can_be_found(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        few = len(pilot.room._lines)
        await pilot.press("a")
        keys = [line.key for line in pilot.room._lines]
        assert len(keys) > 90 > few
        assert {"launch.sharding", "datasets.0.weight", "datasets.1.path", "eval_datasets.0.path"} <= set(keys)
        await pilot.press("slash")
        await pilot.enter("warmup")
        await pilot.press("enter")
        await pilot.until(lambda: "warmup_steps" in [line.key for line in pilot.room._lines])
        assert len(pilot.room._lines) < 5


async def test_a_dataset_is_chosen_from_the_folder(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.jsonl").write_text('{"text": "x"}\n')
    monkeypatch.chdir(tmp_path)
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("d")
        await pilot.until_text("other.jsonl")
        await pilot.enter("other")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).datasets[0].path == str(tmp_path / "other.jsonl"))  # type: ignore[index]


async def test_a_model_that_is_not_in_the_list_is_typed_there(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("m")
        await pilot.until_text("type to filter")
        await pilot.enter("/no/such/model")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).model_name_or_path == "/no/such/model")


async def test_launch_is_refused_with_the_reason(recipe_file: Path) -> None:
    recipe_file.write_text("method: lora\ndatasets:\n- path: none.jsonl\n")
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("l")
        assert "no model is named" in pilot.toasts()[-1]
        assert "2 errors" in pilot.text()
        assert not settings.runs_root().exists()


async def test_launch_hands_the_run_to_the_other_screens(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[runs.Job] = []

    def launch(job: runs.Job) -> rundir.RunDir:
        launched.append(job)
        return rundir.RunDir(settings.runs_root() / "some-run")

    monkeypatch.setattr(training, "launch", launch)
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("l")
        await pilot.until(lambda: pilot.app.workspace.run_id == "some-run")
    (job,) = launched
    assert job.kind == "train"
    assert job.input["lora_r"] == 16
    assert job.input["bf16"] in (True, False), "the resolved recipe"
    assert "bf16" not in job.source, "the stated one"
    assert job.plan is not None


async def test_keys_work_while_a_check_takes_its_time(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def slowly(recipe: Recipe, task: Task) -> Any:
        go.wait(20)
        return resolve.assess(recipe, task=task)

    monkeypatch.setattr(train_work, "assess", slowly)
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await pilot.until_text("checking…")
        await pilot.press("l")
        assert pilot.toasts()[-1] == "The recipe is still being checked."
        await pilot.press("a")
        await go_to(pilot, "packing")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).packing is True)
        go.set()
        await checked(pilot)
        assert pilot.room._assessment.resolved.stated.packing is True, "the latest wins"


async def test_text_from_outside_cannot_reach_the_terminal(recipe_file: Path) -> None:
    hostile = 'name: "\\e[2J\\u202e[bold]x"\n'
    recipe_file.write_text(hostile + recipe_file.read_text())
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "name")
        text = pilot.text()
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[bold]x" in text


async def test_the_layout_is_remembered(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("a", "v")
        await go_to(pilot, "lora_r")
        state = pilot.room.layout_state()
        await pilot.press("a", "v")
        pilot.room.restore_layout(state)
        assert pilot.room.layout_state() == state == {"everything": True, "view": "checks", "key": "lora_r"}


async def test_copy_takes_the_line_or_the_yaml(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "lora_r")
        assert pilot.room.copyable() == "lora_r: 16"
        await pilot.press("v", "v")
        assert "max_length: 128\n" in pilot.room.copyable()


async def test_a_recipe_of_another_tool_is_imported_with_its_account(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("stage: sft\nfinetuning_type: lora\nmodel_name_or_path: m\nlora_rank: 4\nmask_history: true\n")
    async with bench(screen="train", size=(120, 40)) as pilot:
        await pilot.press("p")
        await pilot.until_text("type to filter")
        await pilot.enter("import")
        await pilot.press("enter")
        await pilot.until_text("another tool's YAML")
        await pilot.enter(str(theirs))
        await pilot.press("enter")
        await pilot.until_text("✗ mask_history")
        assert "lora_r: 4" in pilot.text()
        await pilot.press("escape")
        assert recipe_of(pilot).lora_r == 4
        assert pilot.app.workspace.changed, "it is in no file yet"


async def test_a_preset_is_made_to_fit_and_says_what_gave_way(
    recipe_file: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "names", lambda: ("sft-full", "sft-dora"))
    async with bench(screen="train", size=(120, 40), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        for wanted, then in (
            ("make one fit", "Which model is it to fit?"),
            ("8B", "On which device?"),
            ("24 GiB", "What fits a GPU with 24 GiB"),
        ):
            if wanted == "make one fit":
                await pilot.press("p")
                await pilot.until_text("type to filter")
            await pilot.enter(wanted)
            await pilot.press("enter")
            await pilot.until_text(then)
        await pilot.enter("sft-full")
        await pilot.until_text("does not fit: ")
        await pilot.press(*["backspace"] * 8)
        await pilot.enter("sft-dora")
        await pilot.until_text("checkpointing")
        await pilot.press("enter")
        await pilot.until_text("would be needed")
        found = recipe_of(pilot)
        assert (found.method, found.gradient_checkpointing) == ("dora", True)
        assert found.datasets is not None
        assert found.datasets[0].path == str(rows), "the data stay those of the open recipe"
        await pilot.press("escape")
        await checked(pilot)
        assert "Recipe from sft-dora" in pilot.text(), "the difference to the preset can be seen"


async def test_comments_stay_on_screen_and_in_the_file(recipe_file: Path) -> None:
    recipe_file.write_text("# For the report\n" + recipe_file.read_text() + "seed: 3  # as last time\n")
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.until(lambda: "# as last time" in pilot.room.query_one(RecipeText).text)
        await go_to(pilot, "max_length")
        await pilot.press("e")
        await pilot.until_text("Longest example")
        await pilot.press(*["backspace"] * 3)
        await pilot.enter("64")
        await pilot.press("enter")
        await pilot.until(lambda: recipe_of(pilot).max_length == 64)
        await pilot.until(lambda: "max_length: 64" in pilot.room.query_one(RecipeText).text)
        assert "# For the report" in pilot.room.query_one(RecipeText).text
        await pilot.press("ctrl+s")
        await pilot.until_text("Save the recipe as")
        await pilot.press("enter")
        await pilot.until(lambda: not pilot.app.workspace.changed)
    saved = recipe_file.read_text()
    assert saved.startswith("# For the report\n")
    assert "max_length: 64\n" in saved
    assert "seed: 3  # as last time" in saved


async def test_what_is_typed_is_costed_while_it_is_typed(recipe_file: Path) -> None:
    async with bench(screen="train", size=(80, 24), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "per_device_train_batch_size")
        await pilot.press("e")
        await pilot.until_text("Examples that each device computes at once.")
        await pilot.enter("0")  # after the 4 that stands there
        await pilot.until_text("at the peak, +")
        await pilot.enter("x")
        await pilot.until_text("must be a whole number")
        await pilot.press("escape")
        assert recipe_of(pilot).per_device_train_batch_size is None, "nothing was taken"
