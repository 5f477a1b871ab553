"""Every way of training that the recipe offers does what it says: one process trains them all with tiny models."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file
from stage_runs import result
from tiny import make_tiny_model
from training import make_run, recipe_of, train, write_rows

from tuiwb import rundir
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch

PLAIN = {"max_steps": 2, "num_train_epochs": None, "save_steps": 1.0, "lora_dropout": 0.0, "learning_rate": 1e-2}
SOFT = {"lora_r": None, "lora_alpha": None, "lora_target_modules": None, "num_virtual_tokens": 4}
FOUR = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "freeze": {"method": "freeze", "freeze_layers": 1},
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"method": "dora", "use_dora": True},
    "qlora": {"method": "qlora", **FOUR},
    "qdora": {"method": "dora", "use_dora": True, **FOUR},
    "int8": {"load_in_8bit": True},
    "ia3": {"method": "ia3", "lora_target_modules": None},
    "ia3 on 4 bits": {"method": "ia3", "lora_target_modules": None, **FOUR},
    "prefix": {"method": "prefix", **SOFT, "prefix_projection": True},
    "prompt": {"method": "prompt", **SOFT, "prompt_tuning_init_text": "Answer the question."},
    "prompt on 4 bits": {"method": "prompt", **SOFT, **FOUR},
    "modules to save": {"lora_modules_to_save": ("embed_tokens",)},
    "by expression": {"lora_target_modules": r".*\.layers\.1\..*(q|v)_proj"},
    "by name": {"lora_target_modules": ("q_proj", "mlp.up_proj")},
    "experts": {"lora_target_modules": ("q_proj",), "lora_target_parameters": ("mlp.experts.gate_up_proj",)},
    "paged": {"method": "qlora", **FOUR, "optim": "paged_adamw_8bit"},
}
SAME = {
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
    # bitsandbytes packs 64 columns at a time.
    model = make_tiny_model(folder / "model", hidden=64)
    rows = write_rows(folder / "rows.jsonl")
    found: dict[str, RunDir] = {}

    def add(name: str, **keys: Any) -> None:
        base = tiny_mixture(folder / "mixture-of-experts") if name == "experts" else model
        values = PLAIN | {"train_sampling_strategy": "sequential"} | keys
        found[name] = make_run(folder / name.replace(" ", "-"), recipe_of(base, rows, **values))

    for name, keys in METHODS.items():
        add(name, **keys)
    for name, (_, keys) in SAME.items():
        add(name, **keys)
    add("continued", adapter_name_or_path=str(checkpoint(found["lora"], 2)))
    general = write_rows(folder / "general.jsonl", 12)
    held = [write_rows(folder / f"{name}.jsonl", 8) for name in ("task", "kept")]
    add(
        "mixture", max_steps=4, save_steps=4.0, eval_strategy="steps", eval_steps=2.0,
        datasets=(DatasetEntry(path=str(rows), weight=3), DatasetEntry(path=str(general), weight=1)),
        eval_datasets=tuple(DatasetEntry(path=str(path)) for path in held),
    )  # fmt: skip
    mixed = rundir.read_job(found["mixture"])["input"]
    found["one at a time"] = make_run(
        folder / "one-at-a-time", msgspec.convert(mixed | {"per_device_eval_batch_size": 1}, Recipe)
    )
    train(*found.values(), timeout=600)
    return found


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
    run = runs[name]
    assert result(run)["outcome"] == "finished", result(run)
    assert len(losses(run)) == 2
    assert all(0 < loss < 10 for loss in losses(run))
    stirred, held = changed(run), set(tensors(run, 2))
    if name == "freeze":
        assert stirred
        assert all(".layers.1." in tensor or "norm" in tensor or "lm_head" in tensor for tensor in stirred)
        return
    # All that is saved is what was trained: the magnitudes of DoRA too, which never move in bfloat16. Which experts a
    # batch reaches, and the bias that int8 brings, may differ.
    assert stirred == held, held - stirred
    if name not in ("full",):
        assert (checkpoint(run, 2) / "adapter_config.json").is_file()


@pytest.mark.parametrize("name", SAME)
def test_what_must_not_change_the_losses(runs: dict[str, RunDir], name: str) -> None:
    other = runs[SAME[name][0]]
    assert result(runs[name])["outcome"] == "finished", result(runs[name])
    assert losses(runs[name]) == pytest.approx(losses(other), abs=2e-5)
    ours, theirs = tensors(runs[name], 2), tensors(other, 2)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert np.allclose(ours[key], theirs[key], atol=2e-3), key


def test_what_the_methods_are(runs: dict[str, RunDir]) -> None:
    def config(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((checkpoint(runs[name], 2) / "adapter_config.json").read_text())
        return found

    assert config("rslora")["use_rslora"]
    assert config("dora")["use_dora"]
    assert config("qdora")["use_dora"]
    assert config("ia3")["peft_type"] == "IA3"
    assert config("prefix")["peft_type"] == "PREFIX_TUNING"
    assert config("prompt")["peft_type"] == "PROMPT_TUNING"
    assert any("embed_tokens" in key for key in tensors(runs["modules to save"], 2))
    assert all(".layers.1." in key for key in tensors(runs["by expression"], 2))
    assert {key.split(".")[-3] for key in tensors(runs["by name"], 2)} == {"q_proj", "up_proj"}
    assert any("experts" in key for key in tensors(runs["experts"], 2))


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


def test_general_examples_are_mixed_in_and_measured_beside_the_task(runs: dict[str, RunDir]) -> None:
    run = runs["mixture"]
    assert result(run)["outcome"] == "finished", result(run)
    (prepared,) = (event for event in rundir.read_events(run) if event["event"] == "prepared")
    assert prepared["held_out"] == {"task": 8, "kept": 8}
    measured = [record for record in metrics(run) if "eval_loss" in record]
    assert len(measured) == 2
    for record in measured:
        task, kept = record["eval_task_loss"], record["eval_kept_loss"]
        assert min(task, kept) > 0
        assert min(task, kept) <= record["eval_loss"] <= max(task, kept)


def test_what_is_measured_does_not_depend_on_the_batch(runs: dict[str, RunDir]) -> None:
    """Trap 19: the mean of the batches' means would."""
    several, one = ([r["eval_loss"] for r in metrics(runs[name]) if "eval_loss" in r] for name in
                    ("mixture", "one at a time"))  # fmt: skip
    assert one == pytest.approx(several, abs=1e-6)
