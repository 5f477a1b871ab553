"""To which group a metric belongs: the names that transformers, TRL's trainers and ours log."""

import pytest

from tuiwb.monitor.groups import GROUPS, group_of, groups_of


@pytest.mark.parametrize(
    ("names", "group"),
    [
        ("loss train_loss loss/policy loss/value policy_loss nll_loss aux_loss", "loss"),
        ("eval_loss eval_rewards/margins eval_kl", "eval"),
        ("reward reward_std rewards/chosen rewards/margins rewards/short/mean frac_reward_zero_std scores", "rewards"),
        ("kl objective/kl policy/approxkl policy/approx_kl", "KL"),
        ("rewards/accuracies mean_token_accuracy", "accuracies"),
        ("completions/mean_length completions/clipped_ratio answer_length num_tokens", "lengths"),
        ("lr learning_rate lr_value", "learning rate"),
        ("grad_norm", "gradient norm"),
        ("tokens_per_s step_s train_steps_per_second", "tokens/s"),
        ("entropy logps/chosen clip_ratio/region_mean", "others"),
    ],
)
def test_a_name_tells_its_group(names: str, group: str) -> None:
    assert {name: group_of(name) for name in names.split()} == dict.fromkeys(names.split(), group)


def test_groups_come_in_one_order() -> None:
    assert groups_of(["grad_norm", "rewards/chosen", "loss", "step_s"]) == [
        "loss", "rewards", "gradient norm", "tokens/s",
    ]  # fmt: skip
    assert {group_of(name) for name in ("x", "loss")} < set(GROUPS)
