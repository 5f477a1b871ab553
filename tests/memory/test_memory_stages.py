"""The stages besides SFT: pairs, references, scores, sampled answers."""

from collections.abc import Callable

import pytest

from tuiwb.memory import plan
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Recipe

Make = Callable[..., Recipe]
P = 8_030_261_248


def test_dpo_computes_both_answers_and_keeps_a_reference_only_without_an_adapter(
    llama: ModelInfo, make_recipe: Make
) -> None:
    pair = plan(make_recipe(stage="dpo", per_device_train_batch_size=2), llama)
    single = plan(make_recipe(per_device_train_batch_size=4), llama)
    assert pair.inputs.tokens == single.inputs.tokens
    assert "reference" in [phase.name for phase in pair.phases]
    assert not any("reference model" in phase.parts for phase in pair.phases)
    full = plan(make_recipe(stage="dpo", method="full"), llama)
    assert all(phase.parts["reference model"] == 2 * P for phase in full.phases)


def test_a_reward_model_has_a_score_instead_of_the_output_matrix(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(stage="reward"), llama)
    assert made.parameters == P - 128256 * 4096 + 4096
    assert not any("logits" in phase.parts for phase in made.phases)


def test_ppo_holds_four_models_and_trains_two(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(make_recipe(stage="ppo", method="full", reward_model_name_or_path="judge"), llama)
    parts = made.binding.parts
    # Value and reward have a head of one number in the place of the output matrix.
    scores = P - 128256 * 4096 + 4096
    assert parts["weights"] == parts["reference model"] == 2 * P
    assert parts["value model"] == parts["reward model"] == 2 * scores
    assert (parts["optimizer"], parts["value model's optimizer"]) == (4 * P, 4 * scores)
    phases = {phase.name: phase for phase in made.phases}
    assert phases["optimizer step"].parts["gradients"] == 2 * P + 2 * scores
    # The value learns when the policy's gradients are there already.
    assert phases["training the value"].parts["gradients"] >= 2 * P
    functions = plan(make_recipe(stage="ppo", method="full", reward_funcs=("length:4",)), llama)
    assert not any("reward model" in phase.parts for phase in functions.phases)


def test_ppo_on_one_base_trains_two_adapters(llama: ModelInfo, make_recipe: Make) -> None:
    alone = plan(make_recipe(stage="sft"), llama)
    both = plan(make_recipe(stage="ppo", reward_funcs=("length:4",)), llama)
    assert both.trainable == 2 * alone.trainable
    judged = plan(make_recipe(stage="ppo", reward_model_name_or_path="adapter"), llama)
    # Policy, value, and the half of the policy's beginning that is not zeros; a reward model is one more.
    held = [each.binding.parts["adapters"] / alone.binding.parts["adapters"] for each in (both, judged)]
    assert held == pytest.approx([2.5, 3.5], rel=1e-6)


def test_no_stage_of_ours_makes_all_logits(llama: ModelInfo, make_recipe: Make) -> None:
    for stage in ("sft", "dpo", "kto", "orpo", "ppo", "grpo"):
        made = plan(make_recipe(stage=stage, per_device_train_batch_size=8, max_length=8192), llama)
        assert not any("logits" in phase.parts for phase in made.phases if phase.name == "forward and loss"), stage


def test_sampling_needs_a_cache_for_every_answer_of_a_step(llama: ModelInfo, make_recipe: Make) -> None:
    made = plan(
        make_recipe(stage="grpo", gradient_accumulation_steps=2, max_length=1024, max_completion_length=512), llama
    )
    sampling = next(phase for phase in made.phases if phase.name == "sampling")
    assert sampling.parts["cache of keys and values"] == 32 * 2 * 1024 * 2 * (4 * 2) * (1024 + 512)
    assert not any("reference model" in phase.parts for phase in made.phases)
