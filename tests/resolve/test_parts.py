"""A recipe with stages is assessed part by part, and becomes one job with as many parts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from machines import a_host
from tiny import make_tiny_model

from tuiwb import memory, models, recipe
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve import Assessment, assess
from tuiwb.resolve.elsewhere import planning_target
from tuiwb.runs.training import job_of


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    asked = [{"role": "user", "content": "What?"}]
    said = [{"role": "assistant", "content": "That."}]
    rows: dict[str, dict[str, Any]] = {
        "sft": {"messages": asked + said},
        "reward": {"prompt": asked, "chosen": said, "rejected": [{"role": "assistant", "content": "No."}]},
        "ppo": {"prompt": asked},
    }
    for name, row in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(f"{json.dumps(row)}\n" * 40)
    model = make_tiny_model(tmp_path / "model")
    return {"model": str(model), **{name: str(tmp_path / f"{name}.jsonl") for name in rows}}


def chain(files: dict[str, str], **of_ppo: Any) -> Recipe:
    def part(stage: str, **keys: Any) -> Recipe:
        return Recipe(stage=stage, datasets=(DatasetEntry(path=files[stage]),), **keys)  # type: ignore[arg-type]

    stages = (part("sft"), part("reward"), part("ppo", **of_ppo))
    return Recipe(model_name_or_path=files["model"], method="lora", seed=3, stages=stages)


def assessed(one: Recipe) -> Assessment:
    return assess(one, host=a_host(), gpus=[])


def errors(one: Assessment) -> list[str]:
    return [f"{check.key}: {check.message}" for check in one.checks if check.level == "error"]


def test_the_parts_of_a_chain_are_resolved_checked_and_launched_as_one(files: dict[str, str]) -> None:
    found = assessed(chain(files))
    assert errors(found) == []
    sft, reward, ppo = found.resolved.recipe.stages or ()
    assert (sft.stage, reward.stage, ppo.stage) == ("sft", "reward", "ppo")
    assert (sft.learning_rate, ppo.learning_rate) == (2e-4, 1e-4)
    assert (ppo.cliprange, ppo.seed) == (0.2, 3)
    assert found.resolved.reasons["stages[2].cliprange"]
    assert found.plan is not None
    job = job_of(found)
    assert job.parts == ("sft", "reward", "ppo")
    assert recipe.loads(json.dumps(job.input)) == found.resolved.recipe
    assert all(files[name] in job.fingerprints for name in job.parts)


def test_a_plan_is_that_of_the_part_that_needs_the_most(files: dict[str, str]) -> None:
    one = msgspec.structs.replace(
        chain(files, per_device_train_batch_size=64), use_cpu=True, dtype="float32", bf16=False
    )
    model = models.open_model(files["model"])
    resolved, _ = planning_target(one, model, None)
    assert resolved.recipe.stage == "ppo"
    peak = assessed(one).plan
    assert peak is not None
    assert memory.plan(resolved.recipe, model).peak_bytes == pytest.approx(peak.peak_bytes, rel=0.2)


def test_a_fault_of_a_part_names_the_part(files: dict[str, str]) -> None:
    files["reward"] = files["sft"]
    assert [fault.partition(":")[0] for fault in errors(assessed(chain(files)))] == ["stages[1].datasets[0]"]


def test_parts_that_do_not_go_together_are_refused(files: dict[str, str]) -> None:
    found = errors(assessed(chain(files, method="full")))
    assert found == ["stages[2].method: method full trains the model itself, and part 1 leaves an adapter"]
    alone = Recipe(model_name_or_path=files["model"], stage="ppo", datasets=(DatasetEntry(path=files["ppo"]),))
    assert errors(assessed(alone)) == ["reward_funcs: nothing scores the answers"]
    nested = Recipe(model_name_or_path=files["model"], stages=(chain(files),))
    assert any("no parts of its own" in fault for fault in errors(assessed(nested)))


@pytest.mark.parametrize("method", ["freeze", "ia3", "prefix", "prompt"])
def test_ppo_refuses_the_methods_that_cannot_share_a_base(files: dict[str, str], method: str) -> None:
    one = Recipe(
        model_name_or_path=files["model"], stage="ppo", method=method, datasets=(DatasetEntry(path=files["ppo"]),),
        reward_funcs=("length:9",),
    )  # fmt: skip
    assert any(f"stage ppo does not go with method {method}" in fault for fault in errors(assessed(one)))
