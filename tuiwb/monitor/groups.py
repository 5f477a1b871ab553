"""What a metric is about, told from its name, so that the metrics of a stage can be looked at group by group.

The names are those of transformers, of TRL's trainers and of ours: `eval_rewards/margins`, `completions/mean_length`,
`objective/kl`, `mean_token_accuracy`, `tokens_per_s`.
"""

import re
from collections.abc import Iterable

GROUPS = (
    "loss", "eval", "rewards", "KL", "accuracies", "lengths", "learning rate", "gradient norm", "tokens/s", "others",
)  # fmt: skip
"""In the order in which they are shown."""

# The first whose pattern is found tells the group; losses come late, since `loss/kl` is about KL.
_PATTERNS = tuple(
    (group, re.compile(pattern))
    for group, pattern in (
        ("eval", r"^eval[_/]"),
        ("learning rate", r"^(lr|learning_rate)(_|$)"),
        ("gradient norm", r"grad_norm"),
        ("tokens/s", r"(tokens|samples|steps)_per_s|^step_s$|^step_time$|throughput"),
        ("KL", r"(^|[/_])(approx_?)?kl([/_]|$)|^beta$|kl_coef"),
        ("accuracies", r"accurac|/acc(uracy)?$"),
        ("lengths", r"length|clipped_ratio|num_tokens"),
        ("rewards", r"reward|margin|^score|scores?$|advantage"),
        ("loss", r"loss$|^loss/|_loss_|^loss_"),
    )
)


def group_of(metric: str) -> str:
    """One of GROUPS."""
    name = metric.lower()
    return next((group for group, pattern in _PATTERNS if pattern.search(name)), GROUPS[-1])


def groups_of(metrics: Iterable[str]) -> list[str]:
    """Those that these metrics fill, in the order of GROUPS."""
    found = {group_of(name) for name in metrics}
    return [group for group in GROUPS if group in found]
