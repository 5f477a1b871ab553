"""The dry fit: two real steps in a worker, a figure, and nothing left behind."""

import json
from pathlib import Path

import pytest

from tuiwb.base import settings
from tuiwb.cli.main import main

pytestmark = pytest.mark.torch


def recipe_of(folder: Path, model: Path, **changes: object) -> Path:
    """A LoRA of the tiny model on a few conversations."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": "say " * 4},
                {"role": "assistant", "content": "word " * (4 + number)},
            ]
        }
        for number in range(8)
    ]
    data = folder / "chat.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "model_name_or_path": str(model), "stage": "sft", "method": "lora", "datasets": [{"path": str(data)}],
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_length": 128, "max_steps": 50,
        "dtype": "float32", **changes,
    }  # fmt: skip
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(values))
    return file


@pytest.mark.slow
def test_two_steps_are_measured_and_nothing_stays(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(recipe_of(tmp_path, tiny_model)), "--measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu"
    assert found["peak_bytes"] > 0
    assert found["planned_bytes"] > 0
    assert found["step_s"] > 0
    assert found["first_batch"]["finite"]
    assert 0 < found["first_batch"]["trained_tokens"] < found["first_batch"]["tokens"]
    assert found["first_batch"]["text"]
    root = settings.runs_root(settings.load())
    assert not root.exists() or not list(root.iterdir())


def test_what_cannot_be_trained_is_refused_before_anything_starts(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(tmp_path, tiny_model, datasets=[{"path": str(tmp_path / "nowhere.jsonl")}])
    assert main(["plan", str(recipe), "--measure"]) == 3
    assert "nowhere.jsonl" in capsys.readouterr().err
    root = settings.runs_root(settings.load())
    assert not root.exists() or not list(root.iterdir())


def test_another_gpu_cannot_be_measured(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe_of(tmp_path, tiny_model)), "--measure", "--gpu", "T4"]) == 2
    assert "on this machine" in capsys.readouterr().err
