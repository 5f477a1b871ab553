"""The arithmetic of PPO against TRL 1.12's, whose functions made the numbers here, and against the published ones."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tuiwb.workers import ppo_math  # noqa: E402

pytestmark = pytest.mark.torch

CASES = Path(__file__).parent / "ppo_cases.json"
# The same document with more digits of explanation, where it lies beside the repository.
SHARED = Path(__file__).parents[3] / "shared" / "ppo_reference.json"
MODES = {
    "trl_1_12": {"placement": "after_eos"},
    "trl_1_12_k3": {"placement": "after_eos", "estimator": "k3"},
    "trl_1_12_whiten_rewards": {"placement": "after_eos", "whiten_rewards": True},
    "score_on_eos": {"placement": "eos"},
}


def documents() -> list[Path]:
    return [file for file in (CASES, SHARED) if file.is_file()]


def close(found: Any, wanted: Any) -> bool:
    return torch.allclose(found, torch.tensor(wanted, dtype=found.dtype), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("file", documents(), ids=lambda file: file.stem)
def test_it_agrees_with_trl(file: Path, mode: str) -> None:
    document = json.loads(file.read_text())
    params, wanted = document["params"], document[mode]
    given = {name: torch.tensor(values, dtype=torch.float64) for name, values in document["inputs"].items()}
    lengths = torch.tensor(wanted["seq_len"]) + 1
    made = ppo_math.token_rewards(
        given["logprobs"], given["ref_logprobs"], given["scores"], lengths, beta=params["kl_coef"], **MODES[mode]
    )
    assert close(made.rewards, wanted["rewards"])
    assert float(made.kl.sum(1).mean()) == pytest.approx(wanted["kl_sum_mean"], abs=1e-6)
    gains, returns = ppo_math.advantages(
        made.rewards, given["values"], made.value_mask, gamma=params["gamma"], lam=params["lam"]
    )
    assert close(returns, wanted["returns"])
    gains = torch.where(made.mask, ppo_math.whiten(gains, made.mask), 0.0)
    assert close(gains, wanted["advantages_whitened"])

    policy = ppo_math.policy_loss(
        given["new_logprobs"], given["logprobs"], gains, made.mask, cliprange=params["cliprange"]
    )
    old = torch.where(made.value_mask, given["values"], 0.0)
    value = ppo_math.value_loss(given["vpred"], old, returns, made.value_mask, cliprange=params["cliprange_value"])
    tokens, states = made.mask.sum(), made.value_mask.sum()
    pg_loss, vf_loss = float(policy.total / tokens), float(value.total / states)
    assert pg_loss == pytest.approx(wanted["pg_loss"], abs=1e-6)
    assert vf_loss == pytest.approx(wanted["vf_loss"], abs=1e-6)
    assert pg_loss + params["vf_coef"] * vf_loss == pytest.approx(wanted["total"], abs=1e-6)
    assert float(policy.clipped / tokens) == pytest.approx(wanted["pg_clipfrac"], abs=1e-6)
    assert float(value.clipped / states) == pytest.approx(wanted["vf_clipfrac"], abs=1e-6)


def test_padding_never_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    one, reference, values = (torch.randn(3, 5, generator=generator) for _ in range(3))
    lengths, scores = torch.tensor([2, 5, 1]), torch.tensor([1.0, -1.0, 0.5])

    def outcome(filling: float) -> list[Any]:
        mask = ppo_math.answer_mask(lengths, 5)
        given = [torch.where(mask, tensor, filling) for tensor in (one, reference, values)]
        made = ppo_math.token_rewards(given[0], given[1], scores, lengths, beta=0.1)
        gains, returns = ppo_math.advantages(made.rewards, given[2], made.value_mask, gamma=0.9, lam=0.8)
        gains = ppo_math.whiten(gains, made.mask)
        policy = ppo_math.policy_loss(given[0] + 0.3, given[0], gains, made.mask, cliprange=0.2)
        value = ppo_math.value_loss(given[2] + 0.3, given[2], returns, made.value_mask, cliprange=0.2)
        return [made.rewards, torch.where(mask, gains, 0), policy.total, value.total, policy.clipped, value.clipped]

    for found, again in zip(outcome(0.0), outcome(1e6), strict=True):
        assert torch.equal(found, again)


def test_whitening_as_published() -> None:
    """Huang et al. 2024, with the unbiased variance."""
    values = torch.tensor([[1.2, 1.3, 1.4], [1.5, 1.6, 1.7], [1.8, 1.9, 2.0]])
    whitened = ppo_math.whiten(values, torch.ones_like(values, dtype=torch.bool), shift_mean=False)
    assert whitened[0, 0].item() == pytest.approx(0.1394, abs=1e-4)
    assert whitened[2, 2].item() == pytest.approx(3.0606, abs=1e-4)
    alone = ppo_math.whiten(values, values == 1.2)
    assert alone[0, 0] == 0, "one value has no deviation to divide by"


def test_the_penalty_adapts_within_its_bounds() -> None:
    settings: dict[str, Any] = {"target": 6.0, "horizon": 10000, "samples": 100}
    assert ppo_math.adapted_beta(0.2, 60.0, **settings) == pytest.approx(0.2 * 1.002)
    assert ppo_math.adapted_beta(0.2, 0.0, **settings) == pytest.approx(0.2 * 0.998)
    assert ppo_math.adapted_beta(0.2, 6.0, **settings) == 0.2


def test_explained_variance() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0]])
    counts = torch.ones(1, 3, dtype=torch.bool)
    assert ppo_math.explained_variance(returns, returns, counts) == 1.0
    assert math.isclose(ppo_math.explained_variance(torch.full_like(returns, 2.0), returns, counts), 0.0)
