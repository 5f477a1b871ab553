"""Tensor, pipeline, context and expert parallel: what each GPU holds."""

from collections.abc import Callable
from typing import Any

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.memory import plan
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Launch, Recipe

Make = Callable[..., Recipe]
P = 8_030_261_248


def weights(made: Any) -> float:
    return float(made.binding.parts["weights"])


def of(make_recipe: Make, **launch: Any) -> Recipe:
    more = {"method": "full", "gradient_accumulation_steps": launch.pop("batches", 1)}
    return make_recipe(**more, bf16=False, launch=Launch(**launch))


def test_a_tensor_parallel_group_shares_matrices_and_tokens(llama: ModelInfo, make_recipe: Make) -> None:
    alone = plan(of(make_recipe, processes=1), llama)
    shared = plan(of(make_recipe, processes=4, tensor_parallel=4), llama)
    norms = 65 * 4096
    assert weights(shared) == pytest.approx(2 * ((P - norms) / 4 + norms), rel=1e-6)
    assert shared.peak_bytes < 0.3 * alone.peak_bytes
    assert shared.parameters == alone.parameters == P
    assert shared.trainable == P


def test_the_stages_of_a_pipeline_hold_the_model_between_them(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(of(make_recipe, processes=4, pipeline_parallel=4, batches=8), llama)
    assert sum(step.inputs.architecture.parameters for step in made.stages) == P
    ranks = made.to_json()["ranks"]
    assert [rank["stage"] for rank in ranks] == [0, 1, 2, 3]
    assert made.peak_bytes == max(rank["peak_bytes"] for rank in ranks)
    # The first stage keeps four batches, the last one.
    first, last = made.stages[0].inputs, made.stages[-1].inputs
    assert (first.grid.in_flight(8), last.grid.in_flight(8)) == (4, 1)
    assert not any("logits" in phase.parts or "loss" in phase.parts for phase in made.stages[0].phases())


def test_context_parallel_gpus_share_the_tokens(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(of(make_recipe, processes=2, context_parallel=2), llama)
    assert made.inputs.tokens == 4 * 2048 // 2


def test_experts_are_divided_over_their_gpus(llama_config: dict[str, Any], make_model: Any, make_recipe: Make) -> None:
    config = {**llama_config, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    model = make_model({**config, "architectures": ["MixtralForCausalLM"]})
    alone = plan(of(make_recipe, processes=1), model)
    shared = plan(of(make_recipe, processes=8, expert_parallel=8), model)
    experts = 32 * 8 * 3 * 4096 * 14336
    assert weights(alone) - weights(shared) == pytest.approx(2 * experts * 7 / 8, rel=1e-6)


@pytest.mark.parametrize(
    ("launch", "key"),
    [
        ({"processes": 6, "tensor_parallel": 4}, "launch.processes"),
        ({"processes": 3, "tensor_parallel": 3}, "launch.tensor_parallel"),
        ({"processes": 64, "pipeline_parallel": 64}, "launch.pipeline_parallel"),
        ({"processes": 2, "expert_parallel": 2}, "launch.expert_parallel"),
    ],
)
def test_groups_that_cannot_be_made_are_refused_with_their_key(
    launch: dict[str, Any], key: str, llama: ModelInfo, make_recipe: Make
) -> None:
    with pytest.raises(InputFault) as caught:
        plan(of(make_recipe, **launch), llama)
    assert caught.value.key == key


def test_fsdp_2_fetches_a_layer_ahead_and_reduces_the_root_last(llama: ModelInfo, make_recipe: Make) -> None:
    recipe = make_recipe(method="full", ranks=4)
    one, two = (plan(recipe, llama, assume={"fsdp": version}) for version in "12")
    layer, root = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096, 2 * 128256 * 4096 + 4096

    def parts(made: Any, name: str) -> dict[str, float]:
        found: dict[str, float] = next(phase.parts for phase in made.phases if phase.name == name)
        return found

    for name in ("forward and loss", "recomputing a layer"):
        assert parts(two, name)["gathered weights"] - parts(one, name)["gathered weights"] == 2 * layer
    last = parts(two, "reducing the root's gradients")
    assert last["buffer of a reduction"] == 2 * root
    assert last["gradients"] == 4 * P / 4 + 2 * root
    assert not any(phase.name == "reducing the root's gradients" for phase in one.phases)


def test_fsdp_1_keeps_what_frozen_layers_got_only_where_checkpoints_are_reentrant(
    llama: ModelInfo, make_recipe: Make
) -> None:
    """tests/benchmarks/fsdp_cycle.py: with the other kind a layer's input is no leaf, and there is no cycle."""
    recipe = make_recipe(method="lora", ranks=4, gradient_checkpointing=True)
    kept, gone = (plan(recipe, llama, assume={"fsdp": "1", "reentrant": word}) for word in ("true", "false"))
    assert any("kept by FSDP's hooks" in phase.parts for phase in kept.phases)
    assert not any("kept by FSDP's hooks" in phase.parts for phase in gone.phases)
    assert kept.peak_bytes > gone.peak_bytes
