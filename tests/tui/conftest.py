"""What the tests of several screens begin with."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    asked = {"role": "user", "content": "Hi"}
    rows = [{"messages": [asked, {"role": "assistant", "content": answer}]} for answer in ("Hello.", "Good day.")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 100))
    return path


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model: Path, rows: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"method: lora\nmodel_name_or_path: {tiny_model}\ndatasets:\n- path: {rows}\nmax_length: 128\nlora_r: 16\n"
    )
    return path
