"""Processes that split a model have the losses of one process with the same batch, and go on exactly."""

from pathlib import Path
from typing import Any

import pytest
from stage_runs import cut_short, result, stage_recipe, steps
from training import make_run, recipe_of, train, write_rows

from tuiwb import rundir
from tuiwb.recipe import Launch, Recipe
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch

SAME = ("loss", "grad_norm", "total_tokens", "trained_tokens")
SAMPLED = {"eval_fraction": None, "eval_strategy": None, "eval_steps": None}
SLOW = [
    ("sft", "full", "ddp", {}),
    ("sft", "lora", "ddp", {"lora_dropout": 0.1}),
    ("sft", "full", "fsdp", {"gradient_accumulation_steps": 2, "max_steps": 6, "num_train_epochs": 3.0}),
    ("sft", "qlora", "fsdp", {"load_in_4bit": True, "bnb_4bit_quant_storage": "float32"}),
    ("pretrain", "full", "fsdp", {"gradient_checkpointing": True}),
    ("dpo", "lora", "ddp", {}),
    ("dpo", "lora", "fsdp", {}),
    ("dpo", "full", "fsdp", {}),
    ("reward", "lora", "ddp", {}),
    ("reward", "lora", "fsdp", {}),
    ("kto", "lora", "ddp", {}),
    ("kto", "lora", "fsdp", {}),
    ("orpo", "full", "ddp", {}),
    ("grpo", "lora", "ddp", SAMPLED),
    ("rloo", "lora", "ddp", SAMPLED),
    ("orpo", "full", "fsdp", {}),
    ("sft", "lora", "zero1", {}),
    ("sft", "lora", "zero2", {}),
    ("sft", "full", "zero3", {}),
    ("dpo", "lora", "zero2", {}),
    ("reward", "lora", "zero3", {}),
]


def two(folder: Path, recipe: Recipe, stage: str, sharding: str, **keys: Any) -> RunDir:
    import msgspec

    split = msgspec.structs.replace(
        recipe, per_device_train_batch_size=2, launch=Launch(processes=2, sharding=sharding, **keys)
    )
    return make_run(folder, split, stage)


def recipe_for(stage: str, method: str, model: Path, folder: Path, **keys: Any) -> Recipe:
    """6 steps in two epochs of 20 rows, evaluated on one batch (so that a process has none) and saved after the third.
    Epochs are whole numbers of steps: otherwise accelerate fills the last one up with rows that were seen already."""
    values: dict[str, Any] = {"method": method, "num_train_epochs": 2.0, "max_steps": 6, "save_steps": 3.0}
    values |= {"eval_fraction": 0.17, "eval_strategy": "steps", "eval_steps": 3.0}
    values |= {"lora_dropout": 0.0, "learning_rate": 1e-3}
    if stage in ("sft", "pretrain"):
        return recipe_of(model, write_rows(folder / "rows.jsonl"), stage=stage, **values | keys)
    return stage_recipe(stage, model, folder, **values | keys)


def assert_the_same(one: RunDir, other: RunDir) -> None:
    alone, together = steps(one), steps(other)
    assert sorted(alone) == sorted(together)
    for step in alone:
        assert together[step]["loss"] == pytest.approx(alone[step]["loss"], rel=1e-5), step
        assert together[step]["grad_norm"] == pytest.approx(alone[step]["grad_norm"], rel=1e-3), step
        assert together[step]["total_tokens"] == alone[step]["total_tokens"]
        assert together[step]["trained_tokens"] == alone[step]["trained_tokens"]
    assert result(other)["metrics"]["eval_loss"] == pytest.approx(result(one)["metrics"]["eval_loss"], rel=1e-5)


def runs_with(run: RunDir) -> str:
    (told,) = [event["runs"]["sharding"] for event in rundir.read_events(run) if event["event"] == "training"]
    return str(told)


def test_split_weights_have_the_losses_of_whole_ones(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    recipe = recipe_for("sft", "lora", tiny_model, tmp_path, sample_prompts=("What is 3?",))
    one, split = make_run(tmp_path / "one", recipe), two(tmp_path / "two", recipe, "sft", "fsdp")
    assert train(one, OMP_NUM_THREADS="1") == 0, one.output_file.read_text()
    assert train(split, processes=2, timeout=900, OMP_NUM_THREADS="1") == 0, split.output_file.read_text()
    assert_the_same(one, split)
    assert runs_with(split) == "fsdp2"
    for name in ("checkpoint-3", "checkpoint-6"):
        assert rundir.verify_checkpoint(split.part(1, "sft").path / name).resumable
    # The adapter is whole, and the one that one process trained.
    both = [PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder) for folder in
            (run.path / result(run)["checkpoint"] for run in (one, split))]  # fmt: skip
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(both[0](ids).logits, both[1](ids).logits, rtol=1e-4, atol=1e-5)


def test_what_deepspeed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from tuiwb.base.errors import EnvironmentFault
    from tuiwb.workers.sharding import sharding_arguments, splits_weights

    def told(sharding: str, **keys: Any) -> dict[str, Any]:
        found: dict[str, Any] = sharding_arguments(Recipe(launch=Launch(processes=2, sharding=sharding, **keys)))
        return found

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="needs the package deepspeed"):
        told("zero2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert told("ddp") == {}
    for stage in (1, 2, 3):
        config = told(f"zero{stage}")["deepspeed"]
        assert config["zero_optimization"]["stage"] == stage
        assert config["gradient_clipping"] == config["train_micro_batch_size_per_gpu"] == "auto"
        # A checkpoint is whole, whatever was split.
        assert config["zero_optimization"].get("stage3_gather_16bit_weights_on_model_save", stage < 3)
        assert splits_weights(Recipe(launch=Launch(sharding=f"zero{stage}"))) == (stage == 3)
    away = told("zero3", offload="all")["deepspeed"]["zero_optimization"]
    assert away["offload_optimizer"]["device"] == away["offload_param"]["device"] == "cpu"
    assert "offload_param" not in told("zero2", offload="optimizer")["deepspeed"]["zero_optimization"]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "method", "sharding", "keys"), SLOW)
def test_two_processes_have_the_losses_of_one_and_go_on_exactly(
    stage: str, method: str, sharding: str, keys: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    if sharding.startswith("zero"):
        pytest.importorskip("deepspeed")
    recipe = recipe_for(stage, method, tiny_model, tmp_path, **keys)
    one, split = make_run(tmp_path / "one", recipe, stage), two(tmp_path / "two", recipe, stage, sharding)
    assert train(one, OMP_NUM_THREADS="1") == 0, one.output_file.read_text()
    assert train(split, processes=2, timeout=900, OMP_NUM_THREADS="1") == 0, split.output_file.read_text()
    # The distance to kto's reference is estimated from the answers of each process; sampling and dropout draw in each.
    if stage not in ("kto", "grpo", "rloo") and not recipe.lora_dropout:
        assert_the_same(one, split)
    assert runs_with(split) == {"fsdp": "fsdp2", "ddp": "multi_cpu"}.get(sharding, sharding)
    again = cut_short(split, tmp_path)
    assert train(again, processes=2, timeout=900, OMP_NUM_THREADS="1") == 0, again.output_file.read_text()
    assert [event["step"] for event in rundir.read_events(again) if event["event"] == "resumed"] == [3]
    before, after = steps(split), steps(again)
    for step in (4, 5, 6):
        for key in SAME:
            assert after[step][key] == before[step][key], (step, key)
