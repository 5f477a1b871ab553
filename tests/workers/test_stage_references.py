"""The less usual pairs of stage, method, reference and reward model: each trains, from the distance that is meant."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from stage_runs import result, stage_run, steps
from training import make_run, recipe_of, train, write_rows

from tuiwb.resolve.trainable import LOSSES

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def test_references_methods_and_reward_models(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "sft.jsonl")

    def sft(name: str, **keys: Any) -> Any:
        values = {"num_train_epochs": 1.0, "lora_dropout": 0.0, "max_steps": 3, "save_steps": 3.0} | keys
        return make_run(tmp_path / name, recipe_of(tiny_model, rows, **values))

    def run(name: str, stage: str, **keys: Any) -> Any:
        values = {"max_steps": 2, "save_steps": 2.0} | keys
        return stage_run(name, stage, tiny_model, tmp_path, **values)

    lora, dora = sft("sft"), sft("sft-dora", method="dora", use_dora=True)
    tuned = str(lora.part(1, "sft").path / "checkpoint-3")
    reward = run("reward-on-sft", "reward", adapter_name_or_path=tuned)
    scorer = str(reward.part(1, "reward").path / "checkpoint-2")
    whole = run("reward-full", "reward", method="full")
    full_scorer = str(whole.part(1, "reward").path / "checkpoint-2")
    at_zero = {
        "dpo-dora": run("dpo-dora", "dpo", adapter_name_or_path=str(dora.part(1, "sft").path / "checkpoint-3")),
        "dpo-same": run("dpo-same", "dpo", adapter_name_or_path=tuned, ref_model_name_or_path=tuned),
        "dpo-freeze": run("dpo-freeze", "dpo", method="freeze", freeze_layers=1),
        "dpo-ia3": run("dpo-ia3", "dpo", method="ia3"),
    }
    away = {
        "dpo-base": run("dpo-base", "dpo", adapter_name_or_path=tuned, ref_model_name_or_path=str(tiny_model)),
        "dpo-other": run("dpo-other", "dpo", ref_model_name_or_path=tuned),
        "dpo-full-other": run("dpo-full-other", "dpo", method="full", ref_model_name_or_path=tuned),
        "dpo-prompt": run("dpo-prompt", "dpo", method="prompt", num_virtual_tokens=4),
    }
    scored = {
        "rloo-scored": run("rloo-scored", "rloo", reward_model_name_or_path=scorer, reward_funcs=("length:4",),
                           reward_weights=(0.5, 2.0)),
        "grpo-full": run("grpo-full", "grpo", method="full", reward_model_name_or_path=full_scorer, reward_funcs=None,
                         ref_model_name_or_path=str(tiny_model)),
    }  # fmt: skip
    frozen = run("reward-freeze", "reward", method="freeze", freeze_layers=1)
    everything = [lora, dora, reward, whole, *at_zero.values(), *away.values(), *scored.values(), frozen]
    train(*everything, timeout=900)

    for one in everything:
        assert result(one)["outcome"] == "finished", (one.path.name, result(one))
    for name, one in at_zero.items():
        assert steps(one)[1]["rewards/chosen"] == steps(one)[1]["rewards/margins"] == 0.0, name
    for name, one in away.items():
        assert abs(steps(one)[1]["rewards/chosen"]) > 1e-4, name
    for one in scored.values():
        assert "rewards/reward_model/mean" in steps(one)[1]
    config = json.loads((Path(scorer) / "adapter_config.json").read_bytes())
    assert config["task_type"] == "SEQ_CLS"


def test_each_loss_of_a_stage_trains(tiny_model: Path, tmp_path: Path) -> None:
    def run(stage: str, loss: str) -> Any:
        smoothed = {"label_smoothing": 1e-3} if loss == "exo_pair" else {}
        return stage_run(
            f"{stage}-{loss}", stage, tiny_model, tmp_path, max_steps=3, save_steps=3.0, loss_type=loss, **smoothed
        )

    made = {(stage, loss): run(stage, loss) for stage in ("dpo", "kto", "grpo") for loss in LOSSES[stage]}
    assert len(made) > 15
    train(*made.values(), timeout=900)
    for name, one in made.items():
        assert result(one)["outcome"] == "finished", (name, result(one))
        found = steps(one)
        assert sorted(found) == [1, 2, 3], name
        assert all(math.isfinite(record["loss"]) for record in found.values()), name
        assert any(record["grad_norm"] > 0 for record in found.values()), name
    first = {loss: steps(one)[1]["loss"] for (stage, loss), one in made.items() if stage == "dpo"}
    assert len({round(value, 6) for value in first.values()}) > 5, "they are different losses"
