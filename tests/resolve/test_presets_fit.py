"""Presets for every stage and method, made to fit each class of model and device by the plan; or refused, with why."""

import json
from pathlib import Path

import pytest
from machines import GIB, a_gpu, a_host

from tuiwb import memory, recipe
from tuiwb.base.errors import InputFault
from tuiwb.cli import main
from tuiwb.recipe import pairs
from tuiwb.resolve import resolve
from tuiwb.resolve.sizing import CARDS, SIZES, Fitted, Fitter, Target, card, model_class

DEVICES = [*map(str, CARDS), "cpu"]
USUAL = [f"{stage}-{method}" for stage in ("sft", "dpo", "grpo") for method in ("full", "lora", "qlora")]


def fitter(size: str, device: str, gpus: int = 1) -> Fitter:
    target = Target.of_cpu(64 * GIB) if device == "cpu" else Target.of(card(float(device)), gpus)
    return Fitter(model_class(size), target, a_host())


def must_hold(found: Fitted, device: str) -> None:
    """It fits as a user would run it, or says what would."""
    assert found.plan.fits is not None
    assert found.plan.fits.ok == found.ok, found.preset
    if found.ok:
        assert found.choices, "each value that was derived is said, with its reason"
        assert all(choice.why for choice in found.choices)
        return
    assert found.preset in found.refusal
    assert "needs" in found.refusal
    if device != "cpu":
        assert found.min_gpus is None or found.min_gpus > 1, found.refusal
        assert found.min_gpus is None or f" {found.min_gpus} of them" in found.refusal


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_a_preset_fits_or_says_what_would(size: str, device: str) -> None:
    fits = fitter(size, device)
    for name in USUAL:
        must_hold(fits.fit(name), device)


@pytest.mark.parametrize(("size", "device"), [("8B", "24"), ("70B", "80")])
def test_every_stage_with_every_method(size: str, device: str) -> None:
    fits = fitter(size, device)
    for name in pairs.names():
        must_hold(fits.fit(name), device)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_the_whole_grid(size: str, device: str) -> None:
    fits = fitter(size, device)
    for name in pairs.names():
        must_hold(fits.fit(name), device)


def test_what_is_derived_is_a_recipe_that_fits_when_it_is_resolved_again() -> None:
    found = fitter("8B", "24").fit("dpo-lora")
    gpu = a_gpu(gib=22, capability=(8, 6))
    resolved = resolve(found.recipe, model=model_class("8B"), host=a_host(), gpus=[gpu]).recipe
    assert memory.plan(resolved, model_class("8B"), gpu=gpu).fits.ok  # type: ignore[union-attr]
    of_preset = recipe.load("dpo-lora")
    keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
    examples, of_them = ([getattr(one, key) for key in keys] for one in (found.recipe, of_preset))
    assert examples[0] * examples[1] == of_them[0] * of_them[1], "a step learns from as many examples as before"
    assert found.recipe.gradient_checkpointing is True
    assert found.recipe.max_length == of_preset.max_length


def test_the_most_that_fits_is_taken_and_the_next_one_would_not() -> None:
    found = fitter("8B", "24").fit("sft-lora")
    size = found.recipe.per_device_train_batch_size or 0
    assert size > 1
    more = memory.plan(
        resolve(
            recipe.with_settings(found.recipe, {"per_device_train_batch_size": str(2 * size)}),
            model=model_class("8B"), host=a_host(), gpus=[a_gpu(gib=22)],
        ).recipe,
        model_class("8B"), gpu=Target.of(card(24)),
    )  # fmt: skip
    assert more.fits is not None
    assert not more.fits.ok
    (why,) = (one.why for one in found.choices if one.key == "per_device_train_batch_size")
    assert f"{2 * size} at a time would need" in why


def test_large_models_on_small_gpus_are_refused_with_the_fewest_that_are_enough() -> None:
    found = fitter("70B", "24").fit("sft-full")
    assert not found.ok
    assert found.min_gpus is not None
    enough = fitter("70B", "24", gpus=found.min_gpus).fit("sft-full")
    assert enough.ok
    assert enough.recipe.launch is not None
    assert (enough.recipe.launch.processes, enough.recipe.launch.sharding) == (found.min_gpus, "fsdp")
    assert "sft-qlora fits" in fitter("8B", "16").fit("sft-full").refusal


def test_what_costs_quality_gives_way_last() -> None:
    whole = fitter("8B", "48").fit("sft-dora")
    assert whole.recipe.load_in_4bit is None
    bits = fitter("8B", "16").fit("sft-dora")
    assert (bits.ok, bits.recipe.load_in_4bit) == (True, True)
    assert bits.recipe.max_length == recipe.load("sft-dora").max_length
    tight = fitter("1B", "16").fit("sft-full")
    assert (tight.ok, tight.recipe.optim) == (True, "adamw_bnb_8bit")


def test_pairs_without_a_file_are_their_stage_with_their_method() -> None:
    found = recipe.load("kto-ia3")
    of_stage = recipe.load("kto-lora")
    assert (found.stage, found.method, found.lora_r) == ("kto", "ia3", None)
    assert (found.beta, found.per_device_train_batch_size) == (of_stage.beta, of_stage.per_device_train_batch_size)
    rate = resolve(found, model=None, host=a_host(), gpus=[]).recipe.learning_rate
    assert rate == pytest.approx(2.5e-4), "a twentieth of sft's, as for LoRA"
    (listed,) = (one for one in recipe.presets() if one.name == "kto-ia3")
    assert listed.path is None
    assert "few numbers" in listed.summary


@pytest.mark.parametrize(("stage", "method"), pairs.UNFIT)
def test_a_pair_that_cannot_work_says_why(stage: str, method: str) -> None:
    with pytest.raises(InputFault, match=f"stage {stage} does not go with method {method}: "):
        recipe.load(f"{stage}-{method}")
    assert f"{stage}-{method}" not in pairs.names()


def test_the_documentation_lists_what_is_refused() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (said,) = [line for line in text.split("\n\n") if line.startswith("Not offered")]
    for stage, method in pairs.UNFIT:
        assert f"`{stage}`" in said
        assert f"`{method}`" in said
    for lacking in ("bottleneck adapters", "EWC"):
        assert lacking in said


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.yaml"
    arguments = ["recipe", "presets", "sft-lora", "--model-size", "8B", "--gpu", "24"]
    assert main.main([*arguments, "--output", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"]
    assert recipe.load(out) == recipe.with_settings(recipe.load("sft-lora"), {
        one["key"]: one["value"] for one in found["derived"]
    })  # fmt: skip
    assert "would need" in out.read_text(), "the reasons stand in the file"
    assert main.main(["recipe", "presets", "dpo", "--model-size", "1B", "--gpu", "T4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["preset"] for row in rows] == [name for name in pairs.names() if name.startswith("dpo-")]
    assert main.main(["recipe", "presets", "sft-full", "--model-size", "70B", "--gpu", "24"]) == 3
    assert "are enough with sharding fsdp" in capsys.readouterr().err
    assert main.main(["recipe", "presets"]) == 0
    assert "cannot be: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--model-size", "9B"], 2, "9B is no class of models; there are 1B, 8B, 32B, 70B"),
        (["--gpu", "24"], 2, "say which model too"),
        (["--model-size", "8B", "--gpu", "RTX-4091"], 2, "did you mean"),
        (["--model-size", "8B", "--gpu", "0"], 2, "no size of a GPU"),
        (["--model-size", "8B", "--gpu", "cpu", "--gpus", "2"], 2, "there is one CPU"),
        (["ppo-ia3"], 3, "does not go with"),
        (["sft-lorra"], 3, "did you mean `sft-lora`?"),
        (["rlhf-lora", "--model-size", "8B"], 2, "it has several parts"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["recipe", "presets", *arguments]) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
