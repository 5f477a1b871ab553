"""PPO where the template brings tokens that the tokenizer lacks: each model on the base has learned its own rows."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch")

from ppo_tools import ppo_recipe, write_prompts  # noqa: E402
from tiny import make_tiny_model  # noqa: E402

from tuiwb.workers.checkpoint import write_companions  # noqa: E402
from tuiwb.workers.model import load_base, make_trainable  # noqa: E402
from tuiwb.workers.ppo_sequences import AnswerLogprobs, Sequences  # noqa: E402
from tuiwb.workers.ppo_team import Team, build_team, shares_base  # noqa: E402
from tuiwb.workers.scorer import Scorer  # noqa: E402
from tuiwb.workers.vocabulary import tokenizer_of  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def saved(recipe: Any, folder: Path, tokenizer: Any) -> Path:
    """What a stage before PPO would have left, its tokens and layers learned."""
    torch.manual_seed(len(folder.name))
    model = make_trainable(load_base(recipe, device=CPU, scores=recipe.stage == "reward"), recipe)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or "delta" in name or "score" in name):
                parameter.normal_(std=0.1)
    model.save_pretrained(str(folder))
    write_companions(folder, tokenizer, None, [], "")
    return folder


@pytest.mark.parametrize("tie", [True, False])
def test_one_base_carries_models_that_learned_tokens(tmp_path: Path, tie: bool) -> None:
    base = make_tiny_model(tmp_path / "base", tie=tie, chat_template=None)
    keys: dict[str, Any] = {"chat_template": "llama-3", "added_tokens": HEADERS}
    recipe = ppo_recipe(base, write_prompts(tmp_path / "prompts.jsonl"), **keys)
    tokenizer = tokenizer_of(recipe)
    new = [tokenizer.token_id(token) or 0 for token in HEADERS]
    sft, reward = (
        saved(msgspec.structs.replace(recipe, stage=stage, reward_funcs=None), tmp_path / stage, tokenizer)
        for stage in ("sft", "reward")
    )
    recipe = msgspec.structs.replace(
        recipe, reward_funcs=None, adapter_name_or_path=str(sft), reward_model_name_or_path=str(reward)
    )
    assert shares_base(str(reward), recipe) == tie, "an output layer of its own has learned rows that it has not"
    scorer = Scorer(str(reward), device=CPU, dtype=torch.float32)
    team = build_team(recipe, CPU, None if tie else scorer)
    team.eval()
    rows = Sequences.join([[new[0], 9, new[1]], [7, new[0]]], [[20, new[2]], [30, 31, new[2]]], pad=2, device=CPU)
    assert torch.equal(logprobs(team, "policy", rows), logprobs(team, "reference", rows))
    whole = [rows.ids[n, : rows.lengths[n]].tolist() for n in range(2)]
    if tie:
        assert torch.allclose(team.scores(rows), scorer.score(whole), atol=1e-6)

    before, values = logprobs(team, "reference", rows), team.values(rows)
    trained = {name: one for name, one in team.named_parameters() if one.requires_grad}
    assert any("tokens_delta.default" in name for name in trained)
    assert any("tokens_delta.critic" in name for name in trained)
    with torch.no_grad():
        for name, parameter in trained.items():
            if "tokens_delta.default" in name:
                parameter.add_(0.5)
    assert not torch.equal(logprobs(team, "policy", rows), before)
    assert torch.equal(logprobs(team, "reference", rows), before)
    assert torch.equal(team.values(rows), values)

    (tmp_path / "saved").mkdir()
    team.save(tmp_path / "saved")
    other = build_team(recipe, CPU, None if tie else scorer)
    other.load(tmp_path / "saved")
    assert torch.equal(logprobs(team, "policy", rows), logprobs(other, "policy", rows))


def logprobs(team: Team, role: str, rows: Sequences) -> Any:
    model = getattr(team, role).take()
    catch = AnswerLogprobs(model)
    try:
        return catch(model, rows, 1.0)[0].detach()
    finally:
        catch.close()
