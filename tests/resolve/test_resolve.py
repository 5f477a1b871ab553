"""What a recipe leaves out is chosen by what the machine has, with a reason; what it states stays."""

from pathlib import Path

import msgspec
import pytest
from machines import a_gpu, a_host
from tiny import make_tiny_model

from tuiwb import models, recipe
from tuiwb.recipe import DatasetEntry, Launch, Recipe
from tuiwb.recipe.parts import parts_of
from tuiwb.resolve import Resolved, resolve


def on_cpu(one: Recipe, *, bf16: bool = False) -> Resolved:
    return resolve(one, model=None, host=a_host(bf16=bf16), gpus=[])


def test_every_choice_has_a_reason_and_nothing_stated_is_touched() -> None:
    for preset in recipe.presets():
        stated = recipe.load(preset.name)
        resolved = on_cpu(stated)
        assert resolved.stated == stated
        for number, (before, after) in enumerate(zip(parts_of(stated), parts_of(resolved.recipe), strict=True)):
            place = f"stages[{number}]." if stated.stages else ""
            for one in recipe.differences(before, after):
                assert one.before is None, f"{one.key} was stated"
                assert resolved.reasons[place + one.key], one.key


def test_the_resolved_recipe_is_complete_and_resolves_to_itself() -> None:
    once = on_cpu(Recipe(eval_fraction=0.1)).recipe
    again = on_cpu(once)
    assert again.recipe == once
    assert not again.reasons
    assert recipe.loads(recipe.dumps(once)) == once, "it is a valid recipe file"


def test_a_cpu_without_units_for_bfloat16_computes_in_float32() -> None:
    slow, fast = on_cpu(Recipe()).recipe, on_cpu(Recipe(), bf16=True).recipe
    assert (slow.bf16, slow.fp16, slow.dtype) == (False, False, "float32")
    assert (fast.bf16, fast.fp16, fast.dtype) == (True, False, "bfloat16")
    assert slow.use_cpu
    assert slow.gradient_checkpointing is False
    assert slow.tf32 is None
    assert slow.dataloader_pin_memory is False


def test_four_bits_on_a_cpu_compute_in_what_it_has_units_for_unless_told() -> None:
    base = Recipe(method="qlora")
    slow, fast = on_cpu(base), on_cpu(base, bf16=True)
    assert (slow.recipe.bf16, slow.recipe.dtype) == (False, "float32")
    assert (fast.recipe.bf16, fast.recipe.dtype) == (True, "bfloat16")
    assert "no units for bfloat16" in slow.reasons["bf16"]
    assert "this CPU has units for bfloat16" in fast.reasons["bf16"]
    told = on_cpu(Recipe(method="qlora", bf16=False), bf16=True)
    assert (told.recipe.bf16, told.recipe.dtype) == (False, "float32")
    assert told.reasons["dtype"] == "bf16: false is stated"


@pytest.mark.parametrize(
    ("capability", "half"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16"), (None, "bfloat16")]
)
def test_a_gpu_computes_in_the_format_it_has_units_for(capability: tuple[int, int] | None, half: str) -> None:
    gpus = [a_gpu(capability=capability)]
    lora = resolve(Recipe(method="lora"), model=None, host=a_host(), gpus=gpus).recipe
    assert (lora.bf16, lora.fp16, lora.dtype) == (half == "bfloat16", half == "float16", half)
    full = resolve(Recipe(method="full"), model=None, host=a_host(), gpus=gpus).recipe
    assert (full.bf16, full.fp16) == (lora.bf16, lora.fp16)
    assert full.dtype == "float32", "trained weights need a float32 copy"
    assert lora.launch is not None
    assert lora.launch.gpus == (0,)
    assert lora.use_cpu is False


def test_a_stated_format_decides_the_rest() -> None:
    gpus = [a_gpu()]
    assert resolve(Recipe(fp16=True), model=None, host=a_host(), gpus=gpus).recipe.dtype == "float16"
    off = resolve(Recipe(bf16=False), model=None, host=a_host(), gpus=gpus).recipe
    assert (off.bf16, off.fp16, off.dtype) == (False, False, "float32")


def test_the_gpu_with_the_most_free_memory_is_taken_unless_one_is_named() -> None:
    gpus = [a_gpu(0, gib=16), a_gpu(1, gib=80), a_gpu(2, gib=40)]
    chosen = resolve(Recipe(launch=Launch(gpus="auto")), model=None, host=a_host(), gpus=gpus).recipe
    named = resolve(Recipe(launch=Launch(gpus=(2,))), model=None, host=a_host(), gpus=gpus).recipe
    none = resolve(Recipe(launch=Launch(gpus=())), model=None, host=a_host(), gpus=gpus).recipe
    assert chosen.launch is not None
    assert chosen.launch.gpus == (1,)
    assert named.launch is not None
    assert named.launch.gpus == (2,)
    assert none.use_cpu


@pytest.mark.parametrize(
    ("stated", "method", "four", "dora"),
    [
        (Recipe(), "lora", False, False),
        (Recipe(method="qlora"), "qlora", True, False),
        (Recipe(load_in_4bit=True), "qlora", True, False),
        (Recipe(method="lora", load_in_4bit=True), "qlora", True, False),
        (Recipe(method="dora"), "dora", False, True),
        (Recipe(method="lora", use_dora=True), "dora", False, True),
        (Recipe(method="dora", load_in_4bit=True), "dora", True, True),
    ],
)
def test_method_and_quantization_are_both_stated(stated: Recipe, method: str, four: bool, dora: bool) -> None:
    resolved = on_cpu(stated).recipe
    assert (resolved.method, resolved.load_in_4bit, resolved.use_dora) == (method, four, dora)


def test_rates_follow_method_and_stage() -> None:
    def rate(**keys: object) -> float | None:
        return on_cpu(msgspec.convert(keys, Recipe)).recipe.learning_rate

    assert rate(method="lora") == 2e-4
    assert rate(method="full") == 1e-5
    assert rate(stage="dpo", method="full") == 5e-7
    assert rate(stage="dpo", method="lora") == 1e-5
    assert rate(method="lora", learning_rate=3e-3) == 3e-3


def test_examples_are_grouped_by_length_and_not_packed() -> None:
    plain = on_cpu(Recipe()).recipe
    assert (plain.packing, plain.padding_free, plain.train_sampling_strategy) == (False, False, "group_by_length")
    assert on_cpu(Recipe(packing=True)).recipe.train_sampling_strategy == "random"


def test_the_last_two_layers_learn_unless_said_otherwise(tmp_path: Path) -> None:
    model = models.open_model(str(make_tiny_model(tmp_path / "deep", layers=5)))
    assert resolve(Recipe(method="freeze"), model=model, host=a_host(), gpus=[]).recipe.freeze_layers == 3


def test_a_learned_prefix_goes_without_checkpointing() -> None:
    gpus = [a_gpu()]
    assert resolve(Recipe(method="prefix"), model=None, host=a_host(), gpus=gpus).recipe.gradient_checkpointing is False


def test_measuring_follows_what_there_is_to_measure_on() -> None:
    assert on_cpu(Recipe()).recipe.eval_strategy == "no"
    assert on_cpu(Recipe(eval_fraction=0.1)).recipe.eval_strategy == "steps"
    with_set = on_cpu(Recipe(eval_datasets=(DatasetEntry(path="x"),))).recipe
    assert with_set.eval_strategy == "steps"
    assert with_set.eval_fraction is None
    best = on_cpu(Recipe(eval_fraction=0.1, load_best_model_at_end=True)).recipe
    assert best.save_steps == best.eval_steps
    assert (best.metric_for_best_model, best.greater_is_better) == ("eval_loss", False)
    by_epoch = on_cpu(Recipe(eval_fraction=0.1, load_best_model_at_end=True, eval_strategy="epoch")).recipe
    assert by_epoch.save_strategy == "epoch"


def test_length_stays_within_what_the_model_can_read(tiny_model: Path) -> None:
    model = models.open_model(str(tiny_model))
    resolved = resolve(Recipe(), model=model, host=a_host(), gpus=[])
    assert resolved.recipe.max_length == 512


def test_checkpointing_is_off_where_the_plan_says_that_it_fits(tiny_model: Path) -> None:
    model = models.open_model(str(tiny_model))
    roomy = resolve(Recipe(), model=model, host=a_host(), gpus=[a_gpu(gib=40)])
    tight = resolve(Recipe(), model=model, host=a_host(), gpus=[a_gpu(gib=0.25)])
    unknown = resolve(Recipe(), model=None, host=a_host(), gpus=[a_gpu(gib=40)])
    assert roomy.recipe.gradient_checkpointing is False
    assert "fit into 40.0 GiB" in roomy.reasons["gradient_checkpointing"]
    assert tight.recipe.gradient_checkpointing is True
    assert "would be needed" in tight.reasons["gradient_checkpointing"]
    assert unknown.recipe.gradient_checkpointing is True


@pytest.mark.torch
def test_transformers_accepts_the_resolved_values(tmp_path: Path) -> None:
    """The names are those of the installed release, and the values are valid together."""
    from dataclasses import fields

    from transformers import TrainingArguments
    from trl import ModelConfig, SFTConfig

    plain = recipe.to_plain(on_cpu(recipe.load("sft-lora")).recipe)
    known = {field.name for field in fields(SFTConfig)}
    ours = {name: value for name, value in plain.items() if name in known}
    arguments = SFTConfig(output_dir=str(tmp_path), **ours)
    assert isinstance(arguments, TrainingArguments)
    assert arguments.train_sampling_strategy == "group_by_length"
    assert arguments.warmup_steps == 0.03
    assert arguments.bf16 is False
    theirs = {field.name for field in fields(ModelConfig)}
    model = ModelConfig(**{name: value for name, value in plain.items() if name in theirs})
    assert model.lora_r == 16
    names_of_our_own = {
        "stage", "method", "datasets", "eval_fraction", "train_roles", "train_on_eos", "launch",
    }  # fmt: skip
    assert set(plain) - known - theirs <= names_of_our_own
