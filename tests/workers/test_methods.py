"""Every way of training that the recipe offers does what it says: one process trains them all with tiny models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from stage_runs import result
from tiny import make_tiny_model
from training import make_run, recipe_of, train, write_rows

from tuiwb import rundir
from tuiwb.monitor.groups import group_of
from tuiwb.recipe import DatasetEntry
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch

PLAIN = {"max_steps": 2, "num_train_epochs": None, "save_steps": 1.0, "lora_dropout": 0.0, "learning_rate": 1e-2}
SOFT = {"lora_r": None, "lora_alpha": None, "lora_target_modules": None, "num_virtual_tokens": 4}
FOUR = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "freeze": {"method": "freeze", "freeze_layers": 1},
    "lora": {},
    "dora": {"method": "dora", "use_dora": True},
    "qlora": {"method": "qlora", **FOUR},
    "int8": {"load_in_8bit": True},
    "ia3": {"method": "ia3", "lora_target_modules": None},
    "prefix": {"method": "prefix", **SOFT, "prefix_projection": True},
    "prompt": {"method": "prompt", **SOFT, "prompt_tuning_init_text": "Answer the question."},
    "modules to save": {"lora_modules_to_save": ("embed_tokens",)},
}
MORE: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "qdora": {"method": "dora", "use_dora": True, **FOUR},
    "ia3 on 4 bits": {"method": "ia3", "lora_target_modules": None, **FOUR},
    "prompt on 4 bits": {"method": "prompt", **SOFT, **FOUR},
    "by expression": {"lora_target_modules": r".*\.layers\.1\..*(q|v)_proj"},
    "by name": {"lora_target_modules": ("q_proj", "mlp.up_proj")},
    "experts": {"lora_target_modules": ("q_proj",), "lora_target_parameters": ("mlp.experts.gate_up_proj",)},
    "paged": {"method": "qlora", **FOUR, "optim": "paged_adamw_8bit"},
}
SAME: dict[str, tuple[str, dict[str, Any]]] = {
    # What each must have the losses of: gradients must reach an adapter through checkpointing (nothing is trained
    # otherwise), and each trained token of a step counts the same however the step is divided.
    "checkpointing": ("lora", {"gradient_checkpointing": True}),
    "accumulation": ("lora", {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}),
}


def tiny_mixture(folder: Path) -> Path:
    """The tiny model's tokenizer with a mixture of four experts."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    make_tiny_model(folder)
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=json.loads((folder / "config.json").read_text())["vocab_size"], hidden_size=32,
        intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        num_local_experts=4, num_experts_per_tok=2, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        max_position_embeddings=512,
    )  # fmt: skip
    (folder / "model.safetensors").unlink()
    MixtralForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    folder = tmp_path_factory.mktemp("methods")
    found = {name: prepared(folder, name, keys) for name, keys in METHODS.items()}
    found |= {name: prepared(folder, name, keys) for name, (_, keys) in SAME.items()}
    found["continued"] = prepared(folder, "continued", {"adapter_name_or_path": str(checkpoint(found["lora"], 2))})
    general, *held = (write_rows(folder / f"{name}.jsonl", 12) for name in ("general", "task", "kept"))
    task = DatasetEntry(path=str(folder / "rows.jsonl"), weight=3)
    mixed = {
        "max_steps": 4, "save_steps": 4.0, "eval_strategy": "steps", "eval_steps": 2.0,
        "datasets": (task, DatasetEntry(path=str(general), weight=1)),
        "eval_datasets": tuple(DatasetEntry(path=str(path)) for path in held),
    }  # fmt: skip
    found["adapter plus"] = prepared(folder, "adapter plus", {"loraplus_lr_ratio": 16.0})
    found["mixture"] = prepared(folder, "mixture", mixed)
    found["one at a time"] = prepared(folder, "one at a time", mixed | {"per_device_eval_batch_size": 1})
    drawn = {"max_steps": 4, "save_steps": 4.0, "train_sampling_strategy": "random", "lora_dropout": 0.3}
    for name, seed in {"seed": 7, "same seed": 7, "another seed": 8}.items():
        found[name] = prepared(folder, name, drawn | {"seed": seed})
    train(*found.values(), timeout=600)
    return found


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    folder = tmp_path_factory.mktemp("more")
    found = {name: prepared(folder, name, keys) for name, keys in MORE.items()}
    train(*found.values(), timeout=600)
    return found


def prepared(folder: Path, name: str, keys: dict[str, Any]) -> RunDir:
    model = folder / ("experts-model" if name == "experts" else "model")
    if not model.exists():
        # bitsandbytes packs 64 columns at a time.
        tiny_mixture(model) if name == "experts" else make_tiny_model(model, hidden=64)
    rows = folder / "rows.jsonl"
    if not rows.exists():
        write_rows(rows)
    values: dict[str, Any] = {**PLAIN, "train_sampling_strategy": "sequential", **keys}
    return make_run(folder / name.replace(" ", "-"), recipe_of(model, rows, **values))


def checkpoint(run: RunDir, step: int) -> Path:
    return run.part(1, "sft").path / f"checkpoint-{step}"


def tensors(run: RunDir, step: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in checkpoint(run, step).glob("*model*.safetensors"):
        found |= load_file(file)
    return found


def metrics(run: RunDir) -> list[dict[str, Any]]:
    return rundir.read_all(run.part(1, "sft").metrics_file)


def losses(run: RunDir) -> list[float]:
    return [record["loss"] for record in metrics(run) if "loss" in record]


def changed(run: RunDir) -> set[str]:
    before, after = tensors(run, 1), tensors(run, 2)
    assert before.keys() == after.keys()
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.mark.parametrize("name", [*METHODS, "continued"])
def test_each_method_trains_what_it_says(runs: dict[str, RunDir], name: str) -> None:
    must_train(runs[name], name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_so_does_each_kind_of_it(more: dict[str, RunDir], name: str) -> None:
    must_train(more[name], name)


def must_train(run: RunDir, name: str) -> None:
    assert result(run)["outcome"] == "finished", result(run)
    assert len(losses(run)) == 2
    assert all(0 < loss < 10 for loss in losses(run))
    stirred, held = changed(run), set(tensors(run, 2))
    if name == "freeze":
        assert stirred
        assert all(".layers.1." in tensor or "norm" in tensor or "lm_head" in tensor for tensor in stirred)
        return
    # All that is saved is what was trained: the magnitudes of DoRA too, which never move in bfloat16.
    assert stirred == held, held - stirred
    assert name == "full" or (checkpoint(run, 2) / "adapter_config.json").is_file()


@pytest.mark.parametrize("name", SAME)
def test_what_must_not_change_the_losses(runs: dict[str, RunDir], name: str) -> None:
    other = runs[SAME[name][0]]
    assert result(runs[name])["outcome"] == "finished", result(runs[name])
    assert losses(runs[name]) == pytest.approx(losses(other), abs=2e-5)
    ours, theirs = tensors(runs[name], 2), tensors(other, 2)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert np.allclose(ours[key], theirs[key], atol=2e-3), key


def config(run: RunDir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint(run, 2) / "adapter_config.json").read_text())
    return found


def test_what_the_methods_are(runs: dict[str, RunDir]) -> None:
    assert config(runs["dora"])["use_dora"]
    kinds = [config(runs[name])["peft_type"] for name in ("ia3", "prefix", "prompt")]
    assert kinds == ["IA3", "PREFIX_TUNING", "PROMPT_TUNING"]
    assert any("embed_tokens" in key for key in tensors(runs["modules to save"], 2))


@pytest.mark.slow
def test_what_their_kinds_are(more: dict[str, RunDir]) -> None:
    assert config(more["rslora"])["use_rslora"]
    assert config(more["qdora"])["use_dora"]
    assert all(".layers.1." in key for key in tensors(more["by expression"], 2))
    assert {key.split(".")[-3] for key in tensors(more["by name"], 2)} == {"q_proj", "up_proj"}
    assert any("experts" in key for key in tensors(more["experts"], 2))


def test_an_adapter_goes_on_as_itself(runs: dict[str, RunDir]) -> None:
    """Trap 25: a second adapter is never put on the first."""
    before, after = tensors(runs["lora"], 2), tensors(runs["continued"], 1)
    assert before.keys() == after.keys()
    assert losses(runs["continued"])[0] < losses(runs["lora"])[0]


def test_layers_trained_whole_come_back_as_they_were(runs: dict[str, RunDir], tmp_path: Path) -> None:
    """Trap 13: modules_to_save on tied weights."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = runs["modules to save"]
    base = rundir.read_job(run)["input"]["model_name_or_path"]
    ids = torch.arange(3, 40)[None]
    found = []
    for _ in range(2):
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), checkpoint(run, 2)).eval()
        with torch.no_grad():
            found.append(model(ids).logits)
        model.save_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again/adapter_model.safetensors")
    trained = tensors(run, 2)
    assert saved.keys() == trained.keys()
    assert all(np.array_equal(saved[key], trained[key]) for key in saved)
    assert torch.equal(*found)
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    with torch.no_grad():
        assert not torch.allclose(plain(ids).logits, found[0], atol=1e-3)


def test_one_rate_for_each_side_of_an_adapter(runs: dict[str, RunDir]) -> None:
    """LoRA+: the outer matrices learn so many times as fast, the inner ones as fast as without."""
    plain, plus = tensors(runs["lora"], 1), tensors(runs["adapter plus"], 1)
    outer = [key for key in plain if "lora_B" in key]
    # B begins at zero, and Adam's first step is as long as the rate.
    assert outer
    for key in outer:
        assert np.abs(plus[key]).max() == pytest.approx(16 * np.abs(plain[key]).max(), rel=1e-2)


def test_a_seed_settles_what_is_drawn(runs: dict[str, RunDir]) -> None:
    """The order of the rows, the adapter's beginning and its dropout: every loss to the last digit."""
    assert losses(runs["seed"]) == losses(runs["same seed"])
    assert len(losses(runs["seed"])) == 4
    assert losses(runs["seed"])[0] != losses(runs["another seed"])[0]
    one, same = tensors(runs["seed"], 4), tensors(runs["same seed"], 4)
    assert all(np.array_equal(one[key], same[key]) for key in one)


def test_general_examples_are_mixed_in_and_measured_beside_the_task(runs: dict[str, RunDir]) -> None:
    run = runs["mixture"]
    assert result(run)["outcome"] == "finished", result(run)
    (told,) = (event for event in rundir.read_events(run) if event["event"] == "prepared")
    assert told["held_out"] == {"task": 12, "kept": 12}
    measured = [record for record in metrics(run) if "eval_loss" in record]
    assert len(measured) == 2
    for record in measured:
        task, kept = record["eval_task_loss"], record["eval_kept_loss"]
        assert min(task, kept) > 0
        assert min(task, kept) <= record["eval_loss"] <= max(task, kept)
    drawn = {group_of(name) for name in ("eval_loss", "eval_task_loss", "eval_kept_loss")}
    assert len(drawn) == 1, "the Runs screen draws them beside each other"


def test_what_is_measured_does_not_depend_on_the_batch(runs: dict[str, RunDir]) -> None:
    """Trap 19: the mean of the batches' means would."""
    several, one = ([r["eval_loss"] for r in metrics(runs[name]) if "eval_loss" in r] for name in
                    ("mixture", "one at a time"))  # fmt: skip
    assert one == pytest.approx(several, abs=1e-6)
