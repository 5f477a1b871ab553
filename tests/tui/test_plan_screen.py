"""The Plan screen: what is typed changes the plan at once, remedies change the open recipe, nothing is cramped."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench
from textual.geometry import Region

from tuiwb.base.tasks import Task
from tuiwb.base.units import unit_of
from tuiwb.memory.history import Past
from tuiwb.runs.measuring import Measured
from tuiwb.tui.screens import plan_measured
from tuiwb.tui.screens.plan_fields import Fields
from tuiwb.tui.widgets.sheet import Sheet

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
    "dtype": "bfloat16",
}
RECIPE = """
stage: sft
method: lora
model_name_or_path: {model}
per_device_train_batch_size: 4
max_length: 4096
lora_r: 16
gradient_checkpointing: false
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A LoRA of an 8B model, of which only the configuration is here."""
    model = tmp_path / "llama-8b"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    file = tmp_path / "lora.yaml"
    file.write_text(RECIPE.format(model=model))
    return file


@asynccontextmanager
async def planned(recipe: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[BenchPilot, Any]]:
    """The screen with its first plan drawn."""
    async with bench("plan", size=size, recipe=str(recipe)) as pilot:
        await pilot.until(lambda: pilot.room._view is not None)
        yield pilot, pilot.room


async def go(pilot: BenchPilot, key: str) -> None:
    """Highlight a field."""
    fields = pilot.room.query_one(Fields)
    fields.focus()
    at = [field.key for field in fields.fields].index(key)
    await pilot.press("home", *["down"] * at)
    assert fields.current is not None
    assert fields.current.key == key


async def test_without_a_recipe_it_says_what_to_press() -> None:
    async with bench("plan") as pilot:
        await pilot.until_text("Begin with one of these")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 50)])
async def test_it_says_whether_it_fits_and_what_decides(recipe_file: Path, size: tuple[int, int]) -> None:
    async with planned(recipe_file, size) as (pilot, room):
        plan = room._view.plan
        await pilot.until_text("✗ does not fit RTX-4090")
        assert f"{plan.peak_bytes / (1 << 30):.1f}" in pilot.text()
        assert plan.binding.name in pilot.text()
        await pilot.until_text("GiB too much")


async def test_it_says_how_long_a_step_takes_of_stages_that_sample_too(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        await pilot.until_text("a step takes")
        await go(pilot, "stage")
        for stage in ("rloo", "grpo", "ppo"):
            await pilot.press("left")
            await pilot.until(lambda wanted=stage: room._view is not None and room._view.plan.inputs.stage == wanted)
        await pilot.until_text("an update takes")
        assert "answers of 25% to all of" in " ".join(pilot.text().split())


async def test_digits_change_a_number_and_the_plan_follows(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        before = room._view.plan.peak_bytes
        await go(pilot, "per_device_train_batch_size")
        await pilot.press("1", "6")
        await pilot.until(lambda: room._view.plan.inputs.batch == 16)
        assert pilot.app.workspace.recipe.per_device_train_batch_size == 16
        assert room._view.plan.peak_bytes > 2 * before
        # The digits are also the numbers of the screens, which they must not open here.
        assert pilot.app.current_room == "plan"
        await pilot.press("left")
        await pilot.until(lambda: room._view.plan.inputs.batch == 8)


async def test_left_and_right_step_through_a_choice(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        before = room._view.plan.steady_bytes
        await go(pilot, "method")
        await pilot.press("right")
        await pilot.until(lambda: room._view.plan.inputs.quantization == "nf4")
        assert room._view.plan.steady_bytes < before
        await pilot.press("left")
        await pilot.until(lambda: room._view.plan.inputs.quantization == "")


async def test_a_remedy_is_applied_to_the_open_recipe(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        before = room._view.plan
        first = before.remedies[0]
        assert first.change == "gradient_checkpointing=true"
        await pilot.press("r")
        await pilot.until_text("Apply to the open recipe")
        await pilot.press("enter")
        await pilot.until(lambda: pilot.app.workspace.recipe.gradient_checkpointing is True)
        await pilot.until(lambda: room._view.plan.inputs.checkpointing)
        assert room._view.plan.peak_bytes == before.peak_bytes - first.saves_bytes


async def test_another_gpu_is_chosen_and_remembered(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        await pilot.press("g")
        await pilot.until_text("The GPU to plan for")
        await pilot.enter("b300")
        await pilot.press("enter")
        await pilot.until(lambda: room._view.plan.gpu.name == "B300")
        await pilot.until_text("✓ fits B300")
        assert room.layout_state()["gpu"] == "B300"


async def test_an_assumption_is_set_and_stands_out(recipe_file: Path) -> None:
    async with planned(recipe_file, (160, 50)) as (pilot, room):
        before = room._view.plan.peak_bytes
        await pilot.press("a")
        await pilot.until_text("What no recipe says")
        await pilot.enter("loss")
        await pilot.press("enter")
        await pilot.until_text("by default")
        await pilot.enter("full")
        await pilot.press("enter")
        await pilot.until(lambda: room._assume == {"loss": "full_logits"})
        await pilot.until(lambda: room._view.plan.peak_bytes > before)
        await pilot.until_text("you set it")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 50)])
async def test_remedies_assumptions_and_rules_are_there_in_full(recipe_file: Path, size: tuple[int, int]) -> None:
    async with planned(recipe_file, size) as (_, room):
        plan = room._view.plan
        for name, sentences in (
            ("remedies", [word for one in plan.remedies[:8] for word in (one.change, one.cost)]),
            ("assumptions", [one.reason for one in plan.assumptions]),
            ("formulas", [one.formula for one in plan.components]),
            ("rules", [one.assumes for one in plan.rules]),
        ):
            shown = " ".join(room.query_one(f"#{name}-text").text.split())
            assert "…" not in shown
            for sentence in sentences:
                assert " ".join(sentence.split()) in shown


async def test_a_gpu_that_nobody_chose_is_said_to_be_assumed(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        await pilot.until_text("no GPU is here: this one is assumed")
        assert room.layout_state()["gpu"] == ""
        await pilot.press("g")
        await pilot.enter("b300")
        await pilot.press("enter")
        await pilot.until(lambda: room._view.plan.gpu.name == "B300")
        assert "is assumed" not in pilot.text()


async def test_one_of_a_thing_is_said_in_the_singular(recipe_file: Path) -> None:
    async with planned(recipe_file) as (_, room):
        fields = room.query_one(Fields)
        (accumulation,) = (field for field in fields.fields if field.key == "gradient_accumulation_steps")
        assert unit_of("1", accumulation.unit) == "batch"
        assert unit_of("4", accumulation.unit) == "batches"


async def test_v_turns_the_pages(recipe_file: Path) -> None:
    async with planned(recipe_file, (80, 24)) as (pilot, _):
        for title in ("What fits", "What would help", "Assumed", "Formulas", "Why the rules disagree", "Phases"):
            await pilot.press("v")
            await pilot.until_text(f"─ {title} ")


async def test_a_tall_terminal_shows_what_fits_below_the_phases(recipe_file: Path) -> None:
    async with planned(recipe_file, (120, 36)) as (pilot, room):
        await pilot.until_text("largest batch")
        phases, found = room.query_one("#phases").region, room.query_one("#map").region
        assert phases.bottom == found.y
        assert found.height >= 12  # all batches and what follows from them
        await pilot.press("v")
        await pilot.until_text("─ What would help ")
        assert not room.query_one("#map").display


async def test_a_taller_one_shows_what_was_assumed_below_that(recipe_file: Path) -> None:
    async with planned(recipe_file, (120, 46)) as (pilot, room):
        await pilot.until(lambda: room.query_one("#assumptions").region.height > 4)
        assert room.query_one("#map").region.bottom == room.query_one("#assumptions").region.y
        assert room.query_one("#map").region.height >= 10
        for title in ("What would help", "Formulas", "Why the rules disagree", "Phases"):
            await pilot.press("v")
            await pilot.until_text(f"─ {title} ")


async def test_every_field_has_help(recipe_file: Path) -> None:
    async with planned(recipe_file) as (pilot, room):
        fields = room.query_one(Fields)
        fields.focus()
        await pilot.press("home")
        for field in fields.fields:
            assert field.help
            await pilot.until(lambda field=field: field.help.split()[0] in room.query_one("#help-text").text)
            await pilot.press("down")


async def test_a_model_that_cannot_be_planned_is_said(tmp_path: Path) -> None:
    model = tmp_path / "strange"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({**CONFIG, "model_type": "strange"}))
    file = tmp_path / "lora.yaml"
    file.write_text(RECIPE.format(model=model))
    async with bench("plan", size=(100, 30), recipe=str(file)) as pilot:
        await pilot.until_text("'strange' is not known")


async def test_what_is_drawn_again_is_only_what_changed(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str | None, tuple[Region, ...]]] = []
    refresh = Sheet.refresh

    def noted(self: Sheet, *regions: Region, **how: bool) -> Sheet:
        drawn.append((self.id, regions))
        return refresh(self, *regions, **how)

    async with planned(recipe_file) as (pilot, room):
        await pilot.until_text("does not fit")
        await go(pilot, "per_device_train_batch_size")
        monkeypatch.setattr(Sheet, "refresh", noted)
        await pilot.press("8")
        await pilot.until(lambda: room._view.plan.inputs.batch == 8)
        await pilot.until(lambda: any(name == "verdict" for name, _ in drawn))
        assert "assumptions-text" not in {name for name, _ in drawn}  # it assumes the same
        (verdict,) = (regions for name, regions in drawn if name == "verdict")
        assert 0 < sum(region.area for region in verdict) < room.query_one("#verdict").region.area


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_no_figure_is_parted_from_its_unit(recipe_file: Path, size: tuple[int, int]) -> None:
    async with planned(recipe_file, size) as (pilot, _):
        await pilot.until_text("on the GPU")
        (line,) = (line for line in pilot.text().splitlines() if "on the GPU" in line)
        assert line.rstrip(" │").endswith("GiB")


async def test_past_runs_are_shown_beside_their_plans(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = (Past("sft-one", "lora", "cuda", 9 << 30, 10 << 30, None), Past("sft-two", "lora", "cpu", 1, 2, None))
    monkeypatch.setattr(plan_measured, "past_runs", lambda: runs)
    async with planned(recipe_file) as (pilot, _):
        await pilot.press("h")
        await pilot.until_text("Past runs on this machine")
        await pilot.until_text("-10.0%")
        await pilot.until_text("resident memory")


async def test_two_steps_are_measured_without_blocking_and_can_be_ended(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = {"examples": 1, "trained_tokens": 7, "tokens": 9, "loss": 2.5, "finite": True, "text": "Once upon"}
    allowed = threading.Event()
    ended: list[Task] = []

    def measure(_: object, task: Task) -> Measured:
        while not allowed.wait(0.01):
            if task.cancelled:
                ended.append(task)
            task.step("two steps")
        return Measured("cpu", 200 << 20, 150 << 20, 1.5, batch)

    monkeypatch.setattr(plan_measured, "measure", measure)
    async with planned(recipe_file) as (pilot, room):
        await pilot.press("t")
        await pilot.until(lambda: room.task_of("measure") is not None)
        await go(pilot, "per_device_train_batch_size")
        await pilot.press("8")
        await pilot.until(lambda: room._view.plan.inputs.batch == 8)
        await pilot.press("t")
        await pilot.until(lambda: ended)
        allowed.set()
        await pilot.press("t")
        await pilot.until_text("Two steps on this machine")
        await pilot.until_text("(-25.0% of what was measured)")
        await pilot.until_text("Once upon")
