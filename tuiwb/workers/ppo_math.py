"""The arithmetic of proximal policy optimization, as pure functions of tensors.

Sources: Schulman et al. 2017 (clipped losses), Schulman et al. 2016 (generalized advantages), Ziegler et al. 2019 (the
penalty for leaving the reference, and how it adapts), Huang et al. 2024 ("The N+ implementation details of RLHF with
PPO"). The numbers are those of TRL 1.12, the last release that had a PPO trainer.

Every tensor of an answer is (rows, width) with the tokens of each answer at its left; `lengths` (rows,) counts them,
the token that ends the answer included. What lies beyond is padding and never counts, whatever it holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "k3"]
Placement = Literal["eos", "after_eos"]


@dataclass(frozen=True, slots=True)
class Rewards:
    """What each token earned.

    Attributes:
        rewards: penalty and score, (rows, width).
        penalties: the part that is the distance from the reference times -beta.
        kl: the estimated distance itself.
        mask: the tokens that count.
        value_mask: the states that count. With the score after the end there is one more than tokens, where it fits.
    """

    rewards: Tensor
    penalties: Tensor
    kl: Tensor
    mask: Tensor
    value_mask: Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """Sums over the tokens that count, to be divided by the number of those of a whole minibatch.

    Attributes:
        total: the loss, with its gradient.
        clipped: tokens whose loss was the clipped one.
    """

    total: Tensor
    clipped: Tensor


def answer_mask(lengths: Tensor, width: int, *, extra: int = 0) -> Tensor:
    """Which places hold a token of the answer, bool (rows, width).

    Args:
        extra: so many places more.
    """
    return torch.arange(width, device=lengths.device) < (lengths + extra)[:, None]


def distances(logprobs: Tensor, reference: Tensor, mask: Tensor, *, estimator: Estimator = "k1") -> Tensor:
    """The estimated distance from the reference at each token, (rows, width)."""
    difference = torch.where(mask, reference - logprobs, 0.0)
    return -difference if estimator == "k1" else difference.exp() - 1 - difference


def token_rewards(
    logprobs: Tensor,
    reference: Tensor,
    scores: Tensor,
    lengths: Tensor,
    *,
    beta: float,
    estimator: Estimator = "k1",
    placement: Placement = "eos",
    whiten_rewards: bool = False,
    added: Callable[[Tensor], Tensor] = lambda value: value,
) -> Rewards:
    """The reward of each token: the penalty for leaving the reference and, at the end, the score of the answer.

    Args:
        logprobs, reference: of the sampled tokens under policy and reference, (rows, width).
        scores: of the whole answers, (rows,).
        estimator: of the distance: k1 is the difference of the logarithms; k3 is never negative (Schulman 2020,
            "Approximating KL divergence").
        placement: the score falls on the token that ends the answer, or on the place after it, as TRL 1.12 has it.
        whiten_rewards: divide the rewards by their deviation.
        added: makes a sum one over all processes.
    """
    rows, width = logprobs.shape
    mask = answer_mask(lengths, width)
    kl = distances(logprobs, reference, mask, estimator=estimator)
    penalties = -beta * kl
    last = lengths - 1
    value_mask = mask
    if placement == "after_eos":
        last = torch.where(lengths < width, lengths, last)
        value_mask = answer_mask(lengths, width, extra=1)
    rewards = penalties.clone()
    rewards[torch.arange(rows, device=rewards.device), last] += scores
    if whiten_rewards:
        rewards = torch.where(value_mask, whiten(rewards, value_mask, shift_mean=False, added=added), 0.0)
    return Rewards(rewards, penalties, kl, mask, value_mask)


def advantages(
    rewards: Tensor, values: Tensor, value_mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation, from the last token to the first.

    Args:
        values: of the state before each token, (rows, width).
        value_mask: the states that count; the others are worth nothing.

    Returns:
        advantages, not yet whitened, and returns, both (rows, width).
    """
    values = torch.where(value_mask, values, 0.0)
    found = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for place in reversed(range(rewards.shape[1])):
        after = values[:, place + 1] if place + 1 < rewards.shape[1] else 0.0
        delta = rewards[:, place] + gamma * after - values[:, place]
        following = delta + gamma * lam * following
        found[:, place] = following
    return found, found + values


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of what counts; 0 where nothing does."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def whiten(
    values: Tensor, mask: Tensor, *, shift_mean: bool = True, added: Callable[[Tensor], Tensor] = lambda value: value
) -> Tensor:
    """Values with a deviation of 1 (the unbiased one) and, unless `shift_mean` is off, a mean of 0 over what counts.

    Args:
        added: makes a sum one over all processes.
    """
    count = added(mask.sum())
    mean = added(torch.where(mask, values, 0.0).sum()) / count.clamp(min=1)
    variance = added(torch.where(mask, (values - mean) ** 2, 0.0).sum()) / (count - 1).clamp(min=1)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return whitened if shift_mean else whitened + mean


def policy_loss(logprobs: Tensor, old: Tensor, gains: Tensor, mask: Tensor, *, cliprange: float) -> Loss:
    """The clipped surrogate.

    Args:
        logprobs: of the sampled tokens under the policy as it is now, with gradient.
        old: of the same tokens when they were sampled.
        gains: the advantages, whitened.
    """
    ratio = torch.where(mask, logprobs - old, 0.0).exp()
    plain = -gains * ratio
    clipped = -gains * ratio.clamp(1 - cliprange, 1 + cliprange)
    total = torch.where(mask, torch.maximum(plain, clipped), 0.0).sum()
    return Loss(total, ((clipped > plain) & mask).sum())


def value_loss(values: Tensor, old: Tensor, returns: Tensor, value_mask: Tensor, *, cliprange: float) -> Loss:
    """Half the squared error, the larger of that of the value and of the value held near its old one."""
    near = torch.minimum(torch.maximum(values, old - cliprange), old + cliprange)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    total = 0.5 * torch.where(value_mask, torch.maximum(plain, clipped), 0.0).sum()
    return Loss(total, ((clipped > plain) & value_mask).sum())


def explained_variance(values: Tensor, returns: Tensor, value_mask: Tensor) -> float:
    """How much of the variance of the returns the values foresaw: 1 is all of it, 0 as much as their mean would."""
    known = returns[value_mask]
    spread = known.var(correction=0)
    if known.numel() < 2 or spread == 0:
        return 0.0
    return float(1 - (known - values[value_mask]).var(correction=0) / spread)


def distance_change(logprobs: Tensor, old: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """How much further from the reference the policy is than when it sampled, summed over each answer, (rows,).

    Each token counts as often as the policy would say it by now, which is unbiased for the tokens; that it would also
    come to other beginnings is left out.
    """
    change = torch.where(mask, logprobs - old, 0.0)
    distance = torch.where(mask, old - reference, 0.0)
    return (change.exp() * (distance + change) - distance).sum(1)


def adapted_beta(beta: float, kl: float, *, target: float, horizon: float, samples: int) -> float:
    """The penalty's next weight: up while the policy is further from the reference than it should be, down while it is
    nearer (Ziegler et al. 2019, 2.2).

    Args:
        kl: mean over the answers of the distance summed over their tokens.
        samples: answers since the last change.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * samples / horizon)
