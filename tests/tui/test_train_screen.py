"""The Train screen, driven as a user drives it: look, check, find, choose a preset, launch or be told why not."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pilot import bench
from train_pilot import SIZES, checked, go_to, recipe_of

from tuiwb import resolve, rundir, runs
from tuiwb.base import settings
from tuiwb.base.tasks import Task
from tuiwb.recipe import Launch, Recipe, pairs
from tuiwb.runs import training
from tuiwb.tui.screens import train as screen
from tuiwb.tui.screens import train_launch, train_work


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


async def test_help_says_what_other_values_would_cost(recipe_file: Path) -> None:
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await go_to(pilot, "per_device_train_batch_size")
        await pilot.until_text("MiB now")
        assert "8: " in pilot.text()
        await pilot.until_text("tokens each")
        assert "about" in pilot.text(), "how long it takes"


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


async def test_launch_is_refused_with_the_reason(recipe_file: Path) -> None:
    recipe_file.write_text("method: lora\ndatasets:\n- path: none.jsonl\n")
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("l")
        assert "no model is named" in pilot.toasts()[-1]
        assert "2 errors" in pilot.text()
        assert not settings.runs_root().exists()


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[runs.Job]:
    """What would be launched, on a machine that has nothing else to do."""
    found: list[runs.Job] = []

    def launch(job: runs.Job) -> rundir.RunDir:
        found.append(job)
        return rundir.RunDir(settings.runs_root() / "some-run")

    monkeypatch.setattr(training, "launch", launch)
    monkeypatch.setattr(train_launch, "busy", lambda recipe: "")
    return found


async def test_launch_hands_the_run_to_the_other_screens(recipe_file: Path, launched: list[runs.Job]) -> None:
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


async def test_what_the_rows_say_comes_in_after_the_checks(
    recipe_file: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "and so on " * 200}]}
    rows.write_text(rows.read_text() + (json.dumps(long) + "\n") * 20)
    go = threading.Event()
    measure = train_work.with_rows

    def slowly(assessment: Any, task: Task) -> Any:
        go.wait(20)
        return measure(assessment, task)

    monkeypatch.setattr(train_work, "with_rows", slowly)
    async with bench(screen="train", size=(160, 50), recipe=str(recipe_file)) as pilot:
        await pilot.until_text("being looked at")
        assert "ready" in pilot.text(), "nothing waits for it"
        await pilot.press("a", "a")
        go.set()
        await pilot.until_text("20 of 220 rows are longer than")
        assert "being looked at" not in pilot.text()
        assert "trained tokens" in pilot.text()
        assert "max_length" in [line.key for line in pilot.room._lines if line.wrong == "warning"]


async def test_a_launch_with_something_against_it_is_asked_for(
    recipe_file: Path, rows: Path, launched: list[runs.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = rows.read_text().splitlines()[0]
    rows.write_text((answer + "\n") * 200)
    monkeypatch.setattr(train_launch, "busy", lambda recipe: "another-run is at work")
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        await pilot.press("l")
        await pilot.until_text("Launch it all the same?")
        text = pilot.text()
        for words in ("sft lora of", "the processor of this machine", "at the peak", "time ", "! another-run",
                      "all 200 answers are “Hello.”"):  # fmt: skip
            assert words in text
        await pilot.press("n")
        assert not launched
        await pilot.press("l")
        await pilot.until_text("Launch it all the same?")
        await pilot.press("y")
        await pilot.until(lambda: pilot.app.workspace.run_id == "some-run")
    assert len(launched) == 1


def test_a_processor_that_has_enough_to_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    view = SimpleNamespace(name="its neighbour", active=True, supervised=True, state="running")
    monkeypatch.setattr(runs, "scan", lambda: [view, SimpleNamespace(active=False)])
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0.1, 0.1))
    assert "its neighbour is at work on this processor" in train_launch.busy(Recipe(launch=Launch(gpus=())))
    assert train_launch.busy(Recipe(launch=Launch(gpus=(0,)))) == "", "for a GPU it waits"
    monkeypatch.setattr(runs, "scan", list)
    assert train_launch.busy(Recipe()) == ""
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 9.0, 9.0))
    assert "load 99.0 on" in train_launch.busy(Recipe())


async def test_escape_leaves_what_was_searched_for(recipe_file: Path) -> None:
    async with bench(screen="train", recipe=str(recipe_file)) as pilot:
        await checked(pilot)
        few = [line.key for line in pilot.room._lines]
        await pilot.press("slash")
        await pilot.enter("warmup")
        await pilot.press("enter")
        await pilot.until_text("keys with “warmup”")
        await pilot.press("escape")
        await pilot.until(lambda: [line.key for line in pilot.room._lines] == few)
