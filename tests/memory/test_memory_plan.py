"""The plan: exact where it can be, monotone everywhere, and its parts add up."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.hardware.catalogue import GpuSpec, gpu_named
from tuiwb.memory import plan
from tuiwb.memory.search import batch_map, needed
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Recipe

Make = Callable[..., Recipe]
GIB = 1 << 30
P = 8_030_261_248  # Llama-3-8B, as its safetensors index says
QV = 32 * (16 * (4096 + 4096) + 16 * (4096 + 1024))

recipes = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["full", "lora", "qlora"]),
        "gradient_checkpointing": st.booleans(),
        "per_device_train_batch_size": st.integers(1, 16),
        "max_length": st.integers(16, 8192),
        "gradient_accumulation_steps": st.sampled_from([1, 4]),
        "attn_implementation": st.sampled_from(["eager", "sdpa", "flash_attention_2"]),
        "dtype": st.sampled_from(["bfloat16", "float32"]),
        "optim": st.sampled_from(["adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit"]),
    }
)
a_few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def part(made: Any, name: str) -> int:
    return next(component.bytes for component in made.components if component.name == name)


def test_full_training_in_half_precision_needs_six_bytes_and_ten_at_the_step(
    llama: ModelInfo, make_recipe: Make
) -> None:
    made = plan(make_recipe(method="full", per_device_train_batch_size=1, max_length=128), llama)
    assert made.parameters == P
    assert made.steady_bytes == 6 * P + 17_039_360 + 24 * 128
    assert made.binding.name == "optimizer step"
    assert made.peak_bytes == 10 * P + 17_039_360 + 24 * 128
    assert part(made, "gradients") == 2 * P


def test_full_training_with_a_fused_optimizer_saves_the_copy(llama: ModelInfo, make_recipe: Make) -> None:
    short = {"method": "full", "per_device_train_batch_size": 1, "max_length": 128}
    foreach = plan(make_recipe(**short), llama)
    fused = plan(make_recipe(**short, optim="adamw_torch_fused"), llama)
    assert foreach.peak_bytes - fused.peak_bytes == 2 * P


def test_an_adapter_costs_twelve_bytes_a_parameter(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(), llama)
    assert made.trainable == QV
    assert part(made, "adapters") == 4 * QV
    assert part(made, "optimizer") == 8 * QV
    assert made.steady_bytes == 2 * P + 12 * QV + 17_039_360 + 24 * 4 * 2048


def test_nf4_with_nested_constants_is_half_a_byte_and_a_bit(llama: ModelInfo, make_recipe: Make) -> None:
    assume = {"kbit_upcast": "false"}
    nested = plan(make_recipe(method="qlora", load_in_4bit=True, use_bnb_nested_quant=True), llama, assume=assume)
    plain = plan(make_recipe(method="qlora", load_in_4bit=True, use_bnb_nested_quant=False), llama, assume=assume)
    linear = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    rest = 2 * (P - linear)
    assert part(nested, "weights") == pytest.approx(linear * (0.5 + 1 / 64 + 4 / 16384) + rest, rel=2e-4)
    assert part(plain, "weights") == pytest.approx(linear * (0.5 + 4 / 64) + rest, rel=2e-4)
    cast = {"kbit_upcast": "true"}
    upcast = plan(make_recipe(method="qlora", load_in_4bit=True, use_bnb_nested_quant=True), llama, assume=cast)
    assert part(upcast, "weights") - part(nested, "weights") == rest


def test_the_loss_of_all_logits_takes_fourteen_bytes_each(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(), llama, assume={"loss": "full_logits", "transformers": "4.48"})
    tokens = 4 * 2048
    phase = next(phase for phase in made.phases if phase.name == "forward and loss")
    assert phase.parts["logits"] + phase.parts["loss"] == pytest.approx(14 * 128256 * tokens)
    chunked = plan(make_recipe(), llama, assume={"loss": "chunked"})
    assert made.peak_bytes > 1.5 * chunked.peak_bytes


@a_few
@given(values=recipes)
def test_the_components_of_a_phase_add_up_to_it(values: dict[str, Any], llama: ModelInfo, make_recipe: Make) -> None:
    document = plan(make_recipe(**values), llama).to_json()
    for phase in document["phases"]:
        assert phase["bytes"] == sum(phase["components"].values())
        assert all(value >= 0 for value in phase["components"].values())
    highest = max(document["phases"], key=lambda phase: phase["bytes"])
    assert document["binding_phase"] == highest["name"]
    assert document["peak_bytes"] == pytest.approx(highest["bytes"], abs=16)
    names = {component["name"] for component in document["components"]}
    assert all(set(phase["components"]) <= names for phase in document["phases"])
    assert document["steady_bytes"] <= document["peak_bytes"]
    json.dumps(document)


@a_few
@given(values=recipes, factor=st.integers(2, 4))
def test_the_peak_grows_with_batch_and_length(
    values: dict[str, Any], factor: int, llama: ModelInfo, make_recipe: Make
) -> None:
    peak = plan(make_recipe(**values), llama).peak_bytes
    for key in ("per_device_train_batch_size", "max_length"):
        assert plan(make_recipe(**{**values, key: values[key] * factor}), llama).peak_bytes >= peak


@a_few
@given(values=recipes, rank=st.integers(1, 128))
def test_the_peak_grows_with_the_rank(values: dict[str, Any], rank: int, llama: ModelInfo, make_recipe: Make) -> None:
    values = {**values, "method": "lora"}
    low, high = (plan(make_recipe(**values, lora_r=one), llama) for one in (rank, rank + 8))
    assert high.peak_bytes > low.peak_bytes
    assert high.steady_bytes > low.steady_bytes


@a_few
@given(values=recipes, ranks=st.integers(2, 64), sharding=st.sampled_from(["ddp", "zero1", "zero2", "zero3", "fsdp"]))
def test_sharding_never_raises_the_weights_of_a_gpu(
    values: dict[str, Any], ranks: int, sharding: str, llama: ModelInfo, make_recipe: Make
) -> None:
    values = {**values, "dtype": "float32"}
    alone = plan(make_recipe(**values), llama)
    shared = plan(make_recipe(**values, ranks=ranks, sharding=sharding), llama)
    # ZeRO-1 and 2 keep a half-precision copy beside the split float32 weights: 2 + 4/N of 4.
    for name in ("weights", "optimizer"):
        assert part(shared, name) <= part(alone, name)
    more = plan(make_recipe(**values, ranks=2 * ranks, sharding=sharding), llama)
    assert part(more, "weights") <= part(shared, "weights")


def test_the_search_is_right_at_its_edges(llama: ModelInfo, make_recipe: Make) -> None:
    gpu = gpu_named("A100-80GB")
    made = plan(make_recipe(), llama, gpu=gpu)
    found = made.search
    assert found.max_batch is not None
    assert found.max_length is not None
    for key, most in (("per_device_train_batch_size", found.max_batch), ("max_length", found.max_length)):
        fits = plan(make_recipe(**{key: most}), llama, gpu=gpu).fits
        above = plan(make_recipe(**{key: most + 1}), llama, gpu=gpu).fits
        assert fits is not None
        assert fits.ok
        assert above is not None
        assert not above.ok


def test_the_fewest_gpus_are_found_for_a_model_that_one_cannot_hold(llama: ModelInfo, make_recipe: Make) -> None:
    short = {"method": "full", "per_device_train_batch_size": 1, "max_length": 512, "optim": "adamw_torch_fused"}
    gpu = gpu_named("RTX-4090")
    made = plan(make_recipe(**short), llama, gpu=gpu)
    assert made.fits is not None
    assert not made.fits.ok
    least = made.search.min_gpus
    assert least is not None
    enough = plan(make_recipe(**short, ranks=least), llama, gpu=gpu).fits
    too_few = plan(make_recipe(**short, ranks=least - 1), llama, gpu=gpu).fits
    assert enough is not None
    assert enough.ok
    assert too_few is not None
    assert not too_few.ok


def test_a_map_agrees_with_the_plans(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(), llama)
    shares = batch_map(made.step, 80 * GIB, (1, 4), (512, 2048))
    assert shares[1][1] == pytest.approx(needed(made.step) / (80 * GIB))
    assert shares[0][0] < shares[0][1] < shares[1][1]


def test_every_remedy_saves_what_it_says(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(gradient_checkpointing=False, attn_implementation="eager"), llama)
    assert {"gradient_checkpointing=true", "attn_implementation=sdpa"} <= {one.change for one in made.remedies}
    for remedy in made.remedies:
        assert made.changed(remedy.recipe).peak_bytes == made.peak_bytes - remedy.saves_bytes
        assert remedy.cost
    savings = [remedy.saves_bytes for remedy in made.remedies]
    assert savings == sorted(savings, reverse=True)


def test_assumptions_are_shown_and_can_be_set(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(), llama, assume={"adapter_dtype": "bf16"})
    shown = {one.name: one for one in made.assumptions}
    assert shown["adapter_dtype"].set
    assert part(made, "adapters") == 2 * QV
    assert not shown["loss"].set
    assert shown["loss"].reason


def test_an_unknown_assumption_names_the_nearest_and_a_wrong_value_the_right_ones(
    llama: ModelInfo, make_recipe: Make
) -> None:
    with pytest.raises(UsageFault, match="did you mean foreach"):
        plan(make_recipe(), llama, assume={"forech": "true"})
    with pytest.raises(UsageFault, match="chunked, full_logits"):
        plan(make_recipe(), llama, assume={"loss": "magic"})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"lora_target_modules": ("c_attn",)}, "lora_target_modules"),
        ({"method": "full", "load_in_4bit": True}, "method"),
        ({"optim": "galore_adamw"}, "optim"),
        ({"method": "freeze", "freeze_layers": 99}, "freeze_layers"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_its_key(
    changes: dict[str, Any], key: str, llama: ModelInfo, make_recipe: Make
) -> None:
    with pytest.raises(InputFault) as caught:
        plan(make_recipe(**changes), llama)
    assert caught.value.key == key


def test_fits_counts_context_and_slack(llama: ModelInfo, make_recipe: Make) -> None:
    peak = plan(make_recipe(), llama).peak_bytes
    tight = plan(make_recipe(), llama, gpu=GpuSpec("tight", peak)).fits
    roomy = plan(make_recipe(), llama, gpu=GpuSpec("roomy", int(peak * 1.1) + 2 * GIB)).fits
    assert tight is not None
    assert not tight.ok
    assert roomy is not None
    assert roomy.ok


def test_a_live_gpu_counts_with_what_is_free(llama: ModelInfo, make_recipe: Make) -> None:
    from tuiwb.hardware import Gpu

    gpu = Gpu(index=0, uuid="", name="busy", memory_total=80 * GIB, memory_free=3 * GIB)
    fits = plan(make_recipe(), llama, gpu=gpu).fits
    assert fits is not None
    assert fits.memory_bytes == 3 * GIB
    assert not fits.ok


def test_llm_int8_keeps_its_inputs_past_a_checkpoint(llama: ModelInfo, make_recipe: Make) -> None:
    keys = {"gradient_checkpointing": True, "per_device_train_batch_size": 2, "max_length": 512}
    four, eight = (plan(make_recipe(**{how: True}, **keys), llama) for how in ("load_in_4bit", "load_in_8bit"))
    # In each layer what attention, its output, the MLP and its output begin with, in 16 bits.
    kept = 32 * (3 * 4096 + 14336) * 2 * 2 * 512
    assert eight.phases[0].parts["layer inputs"] - four.phases[0].parts["layer inputs"] == kept
