"""How far the policy of PPO may go from its reference: what `kl_target` promises, and how that is kept.

With `kl_control: limit` the distance of an update's answers (KL summed over an answer, mean of the answers) stays under
`kl_target`, whatever the reward pays:

1. the penalty's weight reacts at once: it doubles within an update that is at the limit, and never falls under `beta`;
2. the policy's steps of an update end as soon as one has brought it near the limit; the value goes on learning;
3. answers that are further than the limit are not learned from: the policy's weights are moved back along the straight
   line to the reference's, and it answers again. At the end of that line the distance is 0, so this comes to an end.

What is near is told by the answers themselves: a mean of few of them is uncertain, so two of its standard errors are
added. With `kl_control: target` the weight alone rises and falls, slowly and about the target (Ziegler et al. 2019).
"""

import math

import torch
from torch import Tensor

from tuiwb.workers import ppo_math
from tuiwb.workers.ppo_processes import count, gathered
from tuiwb.workers.ppo_rollout import Settings

# Where the penalty's weight stays as it is, as a share of the limit: one update goes past the rest rarely.
_AIM = 0.75
# At the limit the weight doubles within an update; a weight of 0 would stay 0.
_MOST, _LEAST = 2.0, 1e-3
TRIES = 8
"""So often a policy is moved back, where its reference is none that the line leads to."""


class DistanceControl:
    """The penalty's weight, and what is refused.

    Attributes:
        beta: the weight as it is now.
    """

    def __init__(self, settings: Settings) -> None:
        self.beta = settings.beta
        self._settings = settings
        self._limit = settings.kl_target if settings.kl_control == "limit" else None

    def share_to_keep(self, kl: Tensor) -> float | None:
        """How much of its way from the reference the policy may keep; None where it may stay.

        Args:
            kl: distance of each answer, (answers,).
        """
        if self._limit is None or (mean := float(gathered(kl).mean())) < self._limit:
            return None
        # The distance grows with the square of the way, as a second-order expansion about the reference has it.
        return math.sqrt(_AIM * self._limit / mean)

    def before(self, kl: Tensor) -> None:
        """Before an update: these are its answers' distances."""
        if self._limit is None:
            return
        used = _at_most(gathered(kl)) / self._limit
        factor = _MOST ** min(max((used - _AIM) / (1 - _AIM), -1.0), 1.0)
        self.beta = max(self._settings.beta, max(self.beta, _LEAST) * factor if factor > 1 else self.beta * factor)

    def near(self, kl: Tensor, change: float) -> bool:
        """Whether the next step would begin near the limit.

        Args:
            change: how much further than on the answers of the update the policy is by now.
        """
        return self._limit is not None and _at_most(gathered(kl)) + change >= self._limit

    def after(self, kl: Tensor) -> None:
        """After an update."""
        settings = self._settings
        if settings.kl_target is not None and settings.kl_control == "target":
            self.beta = ppo_math.adapted_beta(
                self.beta,
                float(gathered(kl).mean()),
                target=settings.kl_target,
                horizon=settings.kl_horizon,
                samples=len(kl) * count(),
            )


def _at_most(kl: Tensor) -> float:
    """The mean and two of its standard errors."""
    return float(kl.mean() + 2 * torch.std(kl) / math.sqrt(len(kl))) if len(kl) > 1 else float(kl.mean())
