"""What a stage builds on is looked at before launch: data, adapter, reference, reward model, rewards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machines import a_host
from safetensors.numpy import save_file
from tiny import make_tiny_model

from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve import Assessment, assess

TURN = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello."}
ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [TURN, ANSWER]},
    "preference": {"prompt": [TURN], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "No."}]},
    "kto": {"prompt": [TURN], "completion": [ANSWER], "label": True},
    "prompt_only": {"prompt": [TURN], "answer": "Hello."},
    "text": {"text": "Plain words, as they stand in a book."},
    "prompt_completion": {"prompt": "Say it. ", "completion": "It."},
    "alpaca": {"instruction": "Say it.", "input": "", "output": "It."},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
    "hh_rlhf": {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
    "stepwise": {"prompt": "1 + 1?", "completions": ["1 + 1", "is 2"], "labels": [True, True]},
    "tokenized": {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]},
}
TALK = {"messages", "prompt_completion", "alpaca", "sharegpt"}
PAIRS = {"preference", "hh_rlhf"}
FITS = {
    "pretrain": {*TALK, "text", "tokenized"},
    "sft": {*TALK, "text", "tokenized"},
    "reward": PAIRS,
    "dpo": PAIRS,
    "orpo": PAIRS,
    "kto": {"kto", *PAIRS},
    "ppo": {"prompt_only", *TALK, *PAIRS},
    "grpo": {"prompt_only", *TALK},
    "rloo": {"prompt_only", *TALK},
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DatasetEntry]:
    folder = tmp_path_factory.mktemp("formats")
    found = {}
    for name, row in ROWS.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for _ in range(64)))
        found[name] = DatasetEntry(path=str(path), format=name)  # type: ignore[arg-type]
    return found


def look(model: Path, entry: DatasetEntry, stage: str, **keys: Any) -> Assessment:
    values = {"model_name_or_path": str(model), "datasets": (entry,), "stage": stage, "max_length": 256} | keys
    return assess(Recipe(**values), host=a_host(), gpus=[])


def errors(found: Assessment) -> dict[str, str]:
    return {check.key: check.message for check in found.checks if check.level == "error"}


@pytest.mark.parametrize("stage", FITS)
def test_a_stage_takes_its_own_formats_and_refuses_the_others_in_a_sentence(
    tiny_model: Path, data: dict[str, DatasetEntry], stage: str
) -> None:
    keys: dict[str, Any] = {"reward_funcs": ("length:8",)} if stage in ("ppo", "grpo", "rloo") else {}
    for name, entry in data.items():
        found = errors(look(tiny_model, entry, stage, **keys))
        if name in FITS[stage]:
            assert not found, (name, found)
        else:
            assert f"stage {stage} learns from" in found["datasets[0]"], name


def write_adapter(folder: Path, base: str, *, width: int = 32, head: bool = False) -> Path:
    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{layer}.lora_A.weight": np.zeros((2, width), np.float32),
        f"{layer}.lora_B.weight": np.zeros((width, 2), np.float32),
    }
    if head:
        tensors["base_model.model.score.weight"] = np.zeros((1, width), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_for_another_base_is_refused(
    tiny_model: Path, data: dict[str, DatasetEntry], tmp_path: Path
) -> None:
    own = write_adapter(tmp_path / "own", str(tiny_model))
    wide = write_adapter(tmp_path / "wide", "another/base", width=64)
    renamed = write_adapter(tmp_path / "renamed", "another/base")

    def on(adapter: Path) -> Assessment:
        return look(tiny_model, data["preference"], "dpo", adapter_name_or_path=str(adapter))

    assert on(own).ok
    assert (
        "wide is an adapter for another base model: it was made for a q_proj of 64"
        in errors(on(wide))["adapter_name_or_path"]
    )
    warned = [check for check in on(renamed).checks if check.key == "adapter_name_or_path"]
    assert [check.level for check in warned] == ["warning"]
    assert "is no folder of an adapter" in errors(on(tiny_model))["adapter_name_or_path"]


def test_a_reference_that_is_not_the_beginning_is_said(
    tiny_model: Path, data: dict[str, DatasetEntry], tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "sft", str(tiny_model))
    keys = {"adapter_name_or_path": str(adapter)}
    same = look(tiny_model, data["preference"], "dpo", **keys, ref_model_name_or_path=str(adapter))
    assert not [check for check in same.checks if check.key == "ref_model_name_or_path"]
    base = look(tiny_model, data["preference"], "dpo", **keys, ref_model_name_or_path=str(tiny_model))
    (warned,) = (check for check in base.checks if check.key == "ref_model_name_or_path")
    assert warned.level == "warning"
    assert "does not begin at 0" in warned.message
    gone = look(tiny_model, data["preference"], "dpo", ref_model_name_or_path=str(tmp_path / "gone"))
    assert "ref_model_name_or_path" in errors(gone)


def test_a_reward_model_needs_its_head(tiny_model: Path, data: dict[str, DatasetEntry], tmp_path: Path) -> None:
    key = "reward_model_name_or_path"

    def with_model(folder: Path) -> Assessment:
        return look(tiny_model, data["prompt_only"], "rloo", **{key: str(folder)})

    assert with_model(write_adapter(tmp_path / "whole", str(tiny_model), head=True)).ok
    for headless in (write_adapter(tmp_path / "headless", str(tiny_model)), tiny_model):
        assert "has no reward head (score.weight)" in errors(with_model(headless))[key]
    orphan = write_adapter(tmp_path / "orphan", str(tmp_path / "gone"), head=True)
    assert key in errors(with_model(orphan))
    scorer = make_tiny_model(tmp_path / "scorer")
    config = json.loads((scorer / "config.json").read_text())
    (scorer / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    writes = look(scorer, data["messages"], "sft")
    assert "is a reward model, which writes no text" in errors(writes)["model_name_or_path"]


def test_rewards_are_looked_at_and_not_run(tiny_model: Path, data: dict[str, DatasetEntry], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def score(prompts, completions, **rest):\n    return [0.0 for _ in completions]\n\nprint(1 / 0)\n")
    (tmp_path / "bad.py").write_text("def score(:\n")

    def with_rewards(*names: str, **keys: Any) -> dict[str, str]:
        return errors(look(tiny_model, data["prompt_only"], "grpo", reward_funcs=names or None, **keys))

    assert not with_rewards(f"{file}:score", "exact:answer", "length:10")
    assert with_rewards()["reward_funcs"] == "nothing scores the answers"
    for name, sentence in (
        (f"{file}:other", "mine.py has no function other; it has score"),
        (f"{tmp_path}/gone.py:score", "cannot be read"),
        (f"{tmp_path}/bad.py:score", "line 1"),
        ("exact:solution", "has no column solution; there are prompt, answer"),
        ("regex:(", "is no regular expression"),
        ("best", "is no reward"),
        ("judge:nobody", "there is no endpoint `nobody`"),
    ):
        assert sentence in with_rewards(name)["reward_funcs"], name
    assert "reward_weights" in with_rewards("length:8", reward_weights=(1.0, 2.0))
    assert "num_generations" in with_rewards("length:8", num_generations=7)
    assert "num_generations" in with_rewards("length:8", num_generations=1)


@pytest.mark.parametrize(
    ("stage", "keys", "key"),
    [
        ("kto", {"per_device_train_batch_size": 1}, "per_device_train_batch_size"),
        ("dpo", {"loss_type": "kto"}, "loss_type"),
        ("dpo", {"loss_type": ("sigmoid", "sft"), "loss_weights": (1.0,)}, "loss_weights"),
        ("dpo", {"loss_type": "exo_pair"}, "label_smoothing"),
        ("reward", {"loss_type": "sigmoid"}, "loss_type"),
        ("reward", {"method": "prompt"}, "method"),
    ],
)
def test_what_does_not_go_together(
    tiny_model: Path, data: dict[str, DatasetEntry], stage: str, keys: dict[str, Any], key: str
) -> None:
    assert key in errors(look(tiny_model, data["preference"], stage, **keys))


def test_early_stopping_brings_the_best_checkpoint_with_it(tiny_model: Path, data: dict[str, DatasetEntry]) -> None:
    found = look(tiny_model, data["preference"], "dpo", early_stopping_patience=2, eval_fraction=0.2)
    assert found.ok
    assert found.resolved.recipe.load_best_model_at_end
    idle = look(tiny_model, data["preference"], "dpo", early_stopping_patience=2)
    assert any(check.key == "early_stopping_patience" and check.level == "note" for check in idle.checks)
