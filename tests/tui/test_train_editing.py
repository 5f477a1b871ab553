"""The Train screen's recipe changed as a user changes it: by value, from lists, as YAML."""

from pathlib import Path

import pytest
from pilot import bench
from train_pilot import checked, go_to, recipe_of

from tuiwb.tui.widgets.recipe_text import RecipeText
from tuiwb.tui.widgets.table import Table


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
