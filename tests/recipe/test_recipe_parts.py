"""A recipe with stages: what holds for all of them, and which result goes into which part."""

from tuiwb.recipe import Recipe
from tuiwb.recipe.parts import Feed, Made, fed, feeds, parts_of

CHAIN = Recipe(
    name="chain",
    method="lora",
    model_name_or_path="base",
    seed=7,
    stages=(Recipe(stage="sft", seed=8), Recipe(stage="reward"), Recipe(stage="ppo")),
)


def test_what_stands_beside_the_stages_holds_for_those_that_are_silent() -> None:
    sft, reward, ppo = parts_of(CHAIN)
    assert (sft.seed, reward.seed, ppo.seed) == (8, 7, 7)
    assert {part.model_name_or_path for part in (sft, reward, ppo)} == {"base"}
    assert sft.name is None
    assert sft.stages is None
    assert parts_of(sft) == (sft,)


def test_each_part_goes_on_from_the_one_before_and_ppo_takes_the_reward_model() -> None:
    parts = parts_of(CHAIN)
    going = feeds(parts)
    assert going == (Feed(), Feed(model=0), Feed(model=0, reward=1))
    made = [Made(fed(parts[0], going[0], []), "run/parts/1-sft/checkpoint-9")]
    reward = fed(parts[1], going[1], made)
    assert reward.adapter_name_or_path == made[0].folder
    made.append(Made(reward, "run/parts/2-reward/checkpoint-5"))
    ppo = fed(parts[2], going[2], made)
    assert (ppo.model_name_or_path, ppo.adapter_name_or_path) == ("base", made[0].folder)
    assert ppo.reward_model_name_or_path == made[1].folder


def test_a_model_trained_whole_becomes_the_base_of_what_follows() -> None:
    parts = (
        Recipe(stage="pretrain", method="full", model_name_or_path="base"),
        Recipe(stage="sft", method="lora", model_name_or_path="base"),
        Recipe(stage="dpo", method="lora", model_name_or_path="base"),
    )
    going = feeds(parts)
    made = [Made(parts[0], "first")]
    made.append(Made(fed(parts[1], going[1], made), "second"))
    assert (made[1].recipe.model_name_or_path, made[1].recipe.adapter_name_or_path) == ("first", None)
    last = fed(parts[2], going[2], made)
    assert (last.model_name_or_path, last.adapter_name_or_path) == ("first", "second")


def test_what_a_part_names_itself_stays() -> None:
    parts = (
        Recipe(stage="sft", model_name_or_path="base"),
        Recipe(stage="reward", model_name_or_path="base"),
        Recipe(stage="sft", model_name_or_path="other"),
        Recipe(stage="ppo", model_name_or_path="other", adapter_name_or_path="mine", reward_funcs=("length:9",)),
    )
    assert feeds(parts)[2:] == (Feed(), Feed())
