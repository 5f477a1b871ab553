"""The models of PPO on one base: who computes what, what is trained, and what a checkpoint gives back."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ppo_tools import ppo_recipe, write_adapter, write_prompts  # noqa: E402

from tuiwb.base.errors import InputFault  # noqa: E402
from tuiwb.workers.ppo_sequences import AnswerLogprobs, Sequences  # noqa: E402
from tuiwb.workers.ppo_team import SharedTeam, Team, build_team, shares_base  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
SEQUENCES = Sequences.join([[5, 9, 11], [7, 8], [4]], [[20, 21, 2], [30, 31, 32, 33], [2]], pad=2, device=CPU)


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("adapters")
    return SimpleNamespace(
        sft=write_adapter(tiny_model, folder / "sft"),
        reward=write_adapter(tiny_model, folder / "reward", scores=True, seed=2),
    )


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Any:
    prompts = write_prompts(tmp_path / "prompts.jsonl")
    return lambda **keys: ppo_recipe(tiny_model, prompts, **keys)


def logprobs_of(team: Team, role: str) -> Any:
    model = getattr(team, role).take()
    catch = AnswerLogprobs(model)
    try:
        return catch(model, SEQUENCES, 0.7)
    finally:
        catch.close()


def test_logprobs_are_those_of_the_softmax_with_the_same_gradients(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = []
    for fused in (True, False):
        model = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32)
        if fused:
            logprobs, entropy = AnswerLogprobs(model)(model, SEQUENCES, 0.7)
        else:
            everything = (model(input_ids=SEQUENCES.ids, use_cache=False).logits / 0.7).log_softmax(-1)
            states = everything.gather(1, SEQUENCES.states[..., None].expand(-1, -1, everything.shape[-1]))
            tokens = SEQUENCES.ids.gather(1, (SEQUENCES.states + 1).clamp(max=SEQUENCES.ids.shape[1] - 1))
            logprobs = torch.where(SEQUENCES.mask, states.gather(2, tokens[..., None])[..., 0], 0.0)
            entropy = torch.where(SEQUENCES.mask, -(states.exp() * states).sum(-1), 0.0)
        (logprobs * torch.arange(1, 5)).sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append((logprobs.detach(), entropy.detach(), gradients))
    (ours, our_entropy, our_gradients), (plain, entropy, gradients) = found
    assert torch.allclose(ours, plain, atol=1e-5)
    assert torch.allclose(our_entropy, entropy, atol=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(our_gradients[name], gradient, atol=1e-4, rtol=1e-4), name


@pytest.mark.parametrize("start", ["new", "continued", "full"])
def test_at_first_the_policy_is_the_reference_exactly(recipe: Any, adapters: SimpleNamespace, start: str) -> None:
    keys: dict[str, Any] = {"method": "full"} if start == "full" else {}
    if start == "continued":
        keys["adapter_name_or_path"] = str(adapters.sft)
    team = build_team(recipe(**keys), CPU, None)
    policy, reference = logprobs_of(team, "policy")[0], logprobs_of(team, "reference")[0]
    assert torch.equal(policy.detach(), reference.detach())
    if start == "continued":
        bare = build_team(recipe(), CPU, None)
        away = (logprobs_of(bare, "reference")[0] - policy).abs().max()
        assert away > 1e-3, "against the base alone the first update would be a punishment"


def test_an_adapter_scores_as_the_whole_reward_model_does(recipe: Any, adapters: SimpleNamespace) -> None:
    from tuiwb.workers.scorer import Scorer

    made = recipe(adapter_name_or_path=str(adapters.sft), reward_model_name_or_path=str(adapters.reward))
    assert shares_base(made.reward_model_name_or_path, made)
    team = build_team(made, CPU, None)
    rows = [SEQUENCES.ids[n, : SEQUENCES.lengths[n]].tolist() for n in range(3)]
    wanted = Scorer(str(adapters.reward), device=CPU, dtype=torch.float32).score(rows)
    assert torch.allclose(team.scores(SEQUENCES), wanted, atol=1e-6)
    # The value begins as the reward model: at the last token it is worth what it scores.
    values = team.values(SEQUENCES)
    assert values[1, 3] != 0
    assert torch.allclose(values[2, 1], wanted[2], atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_step_changes_policy_and_value_alone(recipe: Any, adapters: SimpleNamespace, method: str) -> None:
    keys: dict[str, Any] = {"method": method}
    if method != "full":
        keys |= {"adapter_name_or_path": str(adapters.sft), "reward_model_name_or_path": str(adapters.reward)}
    if method == "qlora":
        keys |= {"load_in_4bit": True}
    team = build_team(recipe(**keys), CPU, None)
    team.eval()
    before = {name: tensor.clone() for name, tensor in team.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in team.parameters() if p.requires_grad], lr=1e-2)
    logprobs, _ = logprobs_of(team, "policy")
    (-logprobs.sum()).backward()
    with torch.no_grad():
        logprobs_of(team, "reference")
    (team.values(SEQUENCES) - 1).square().sum().backward()
    optimizer.step()
    if method == "full":
        # A head of zeros passes no gradient on at its first step.
        assert team.value_head.weight.abs().max() > 0
        return
    changed = {name for name, tensor in team.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any(".default." in name for name in changed)
    assert any(".critic." in name for name in changed)
    assert "value_head.weight" in changed
    assert not [name for name in changed if ".reference." in name or ".reward." in name or "score_head" in name]
    assert not [name for name in changed if "base_layer" in name or "embed" in name]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_checkpoint_gives_back_policy_and_value(
    recipe: Any, adapters: SimpleNamespace, method: str, tmp_path: Path
) -> None:
    made = recipe(method=method, **({"reward_model_name_or_path": str(adapters.reward)} if method == "lora" else {}))
    one, other = build_team(made, CPU, None), build_team(made, CPU, None)
    with torch.no_grad():
        for parameter in one.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.01)
    (tmp_path / "saved").mkdir()
    one.save(tmp_path / "saved")
    other.load(tmp_path / "saved")
    assert torch.equal(logprobs_of(one, "policy")[0], logprobs_of(other, "policy")[0])
    assert torch.equal(one.values(SEQUENCES), other.values(SEQUENCES))


def test_what_does_not_go_together_is_said(recipe: Any, adapters: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="no reward head"):
        SharedTeam(recipe(), CPU, str(adapters.sft))
    from tiny import make_tiny_model

    wide = make_tiny_model(tmp_path / "wide", hidden=64)
    foreign = write_adapter(wide, tmp_path / "foreign")
    with pytest.raises(InputFault, match="does not fit this model"):
        build_team(recipe(ref_model_name_or_path=str(foreign)), CPU, None)
    assert not shares_base(str(foreign), recipe())
