"""Guards that no other test of the workers looks at."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from ppo_tools import ppo_recipe, write_prompts  # noqa: E402

from tuiwb.recipe import Recipe  # noqa: E402

pytestmark = pytest.mark.torch


def test_answers_are_sampled_from_the_whole_distribution(tiny_model: Path, tmp_path: Path) -> None:
    """Whatever the model usually samples with: what top-k and top-p leave out would have other probabilities than those
    that ratio and distance are computed from."""
    from tuiwb.workers.data import load_data
    from tuiwb.workers.ppo_rollout import Sampler
    from tuiwb.workers.ppo_team import build_team

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "generation_config.json").write_text(json.dumps({"do_sample": True, "top_k": 1, "top_p": 0.1}))
    recipe = ppo_recipe(model, write_prompts(tmp_path / "prompts.jsonl"), reward_funcs=("length:4",))
    device = torch.device("cpu")
    data, team = load_data(recipe, lambda done, total: None), build_team(recipe, device, None)
    Sampler(recipe, data, team, [], [], device=device, autocast=nullcontext, told=lambda: None)
    config = team.policy.take().generation_config
    assert (config.do_sample, config.top_k, config.top_p) == (True, 0, 1.0)
    assert not {"top_p", "top_k", "min_p"} & set(Recipe.__struct_fields__)
