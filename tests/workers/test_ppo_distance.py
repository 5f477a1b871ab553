"""The limit of the distance from the reference: the weight that reacts, the steps that are refused, the way back."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ppo_tools import ppo_recipe, write_adapter, write_prompts  # noqa: E402

from tuiwb.workers import ppo_math  # noqa: E402
from tuiwb.workers.ppo_distance import DistanceControl  # noqa: E402
from tuiwb.workers.ppo_rollout import Settings  # noqa: E402
from tuiwb.workers.ppo_sequences import AnswerLogprobs, Sequences  # noqa: E402
from tuiwb.workers.ppo_team import build_team  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def control(**keys: Any) -> DistanceControl:
    from tuiwb.recipe import Recipe

    return DistanceControl(Settings.of(Recipe(**({"beta": 0.05, "kl_target": 10.0} | keys))))


def test_the_weight_doubles_at_the_limit_and_never_falls_under_beta() -> None:
    one = control()
    one.before(torch.zeros(16))
    assert one.beta == 0.05
    one.before(torch.full((16,), 7.5))
    assert one.beta == pytest.approx(0.05), "it stays at three quarters"
    one.before(torch.full((16,), 10.0))
    one.before(torch.full((16,), 40.0))
    assert one.beta == pytest.approx(0.2), "twice as much in each update at most"
    one.before(torch.full((16,), 5.0))
    assert one.beta == pytest.approx(0.1)
    uncertain = control()
    uncertain.before(torch.tensor([2.0, 14.0] * 8))
    assert uncertain.beta > 0.05, "two standard errors count"


def test_what_is_over_the_limit_is_refused() -> None:
    one = control()
    assert one.share_to_keep(torch.full((4,), 9.9)) is None
    share = one.share_to_keep(torch.full((4,), 30.0))
    assert share == pytest.approx(0.5), "the distance grows with the square of the way: a quarter of 30 is 7.5"
    assert not one.near(torch.full((4,), 8.0), 1.9)
    assert one.near(torch.full((4,), 8.0), 2.1)
    for free in (control(kl_control="target"), control(kl_target=None)):
        assert free.share_to_keep(torch.full((4,), 99.0)) is None
        assert not free.near(torch.full((4,), 99.0), 9.0)
        free.before(torch.full((4,), 99.0))
        assert free.beta == 0.05
        free.after(torch.full((4,), 99.0))
        assert (free.beta > 0.05) == (free._settings.kl_target is not None)


def test_the_distance_by_now_is_told_from_answers_of_before() -> None:
    torch.manual_seed(0)
    reference, old, now = torch.randn(3, 1, 5).log_softmax(-1)
    tokens = torch.multinomial(old.exp()[0], 200_000, replacement=True)[:, None]
    mask = torch.ones_like(tokens, dtype=torch.bool)
    change = ppo_math.distance_change(now[0, tokens], old[0, tokens], reference[0, tokens], mask)
    exact = [(one.exp() * (one - reference)).sum() for one in (old, now)]
    assert change.mean() == pytest.approx(float(exact[1] - exact[0]), abs=0.05)
    same = ppo_math.distance_change(old[0, tokens], old[0, tokens], reference[0, tokens], mask)
    assert not same.any(), "before the first step it is no further, exactly"


@pytest.mark.parametrize("start", ["new", "continued", "full"])
def test_the_way_back_leads_to_the_reference(tiny_model: Path, tmp_path: Path, start: str) -> None:
    keys: dict[str, Any] = {"method": "full"} if start == "full" else {}
    if start == "continued":
        keys["adapter_name_or_path"] = str(write_adapter(tiny_model, tmp_path / "sft"))
    team = build_team(ppo_recipe(tiny_model, write_prompts(tmp_path / "prompts.jsonl"), **keys), CPU, None)
    policy = team.policy.take() if start == "full" else team
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if start == "full" or ".default." in f"{name}.":
                parameter.add_(torch.randn_like(parameter) * 0.02)
    found = []
    for share in (1.0, 0.5, 0.0):
        team.move_back(share)
        found.append(distance(team))
    assert found[0] > found[1] > 0
    assert found[2] == 0


def distance(team: Any) -> float:
    rows = Sequences.join([[5, 9, 11], [7, 8], [4]], [[20, 21, 2], [30, 31, 32, 33], [2]], pad=2, device=CPU)
    found = []
    for role in (team.policy, team.reference):
        model = role.take()
        catch = AnswerLogprobs(model)
        found.append(catch(model, rows, 1.0)[0].detach())
        catch.close()
    return float((found[0] - found[1]).abs().max())
