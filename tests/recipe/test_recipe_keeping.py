"""A recipe that is changed and saved keeps what its author wrote beside the keys."""

from pathlib import Path

import pytest

from tuiwb import recipe
from tuiwb.recipe.keeping import kept

TEXT = """\
# My recipe
stage: sft   # examples
method: lora

# The data
datasets:
  - path: a.jsonl  # mine
    weight: 2
  - path: b.jsonl
learning_rate: 2e-4  # tried 1e-3
launch: {processes: 2}
seed: 42
"""


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, TEXT.splitlines()),
        ({"learning_rate": "1e-4"}, ["learning_rate: 0.0001 # tried 1e-3", "  - path: a.jsonl  # mine"]),
        ({"lora_r": "8", "max_length": "512"}, ["max_length: 512", "lora_r: 8", "stage: sft   # examples"]),
        ({"datasets.1.weight": "3"}, ["  - path: b.jsonl", "    weight: 3.0", "  - path: a.jsonl  # mine"]),
        ({"datasets.2.path": "hub/set"}, ["  - path: hub/set", "  - path: a.jsonl  # mine", "    weight: 2"]),
        ({"launch.sharding": "ddp"}, ["launch: {processes: 2, sharding: ddp}"]),
        ({"eval_strategy": "no"}, ["eval_strategy: 'no'"]),
        ({"seed": ""}, ["# My recipe", "launch: {processes: 2}"]),
    ],
)
def test_only_what_changed_is_written(tmp_path: Path, changes: dict[str, str], lines: list[str]) -> None:
    before = recipe.loads(TEXT, folder=tmp_path)
    after = recipe.with_settings(before, changes)
    text = kept(TEXT, after, folder=tmp_path)
    assert recipe.loads(text, folder=tmp_path) == after
    for line in lines:
        assert line in text.splitlines(), text
    assert text.index("max_length") < text.index("learning_rate") if "max_length" in changes else True


def test_in_another_folder_the_files_are_the_same_ones(tmp_path: Path) -> None:
    read = recipe.loads(TEXT, folder=tmp_path)
    text = kept(TEXT, read, folder=tmp_path / "elsewhere")
    assert recipe.loads(text, folder=tmp_path / "elsewhere") == read
    assert "# tried 1e-3" in text


@pytest.mark.parametrize(
    "text", ["", "nothing: x", "- a", "stage: [", "&a {stage: sft, name: *a}", "stage: dpo\n---\n"]
)
def test_what_cannot_be_kept_is_written_anew(text: str) -> None:
    read = recipe.loads("stage: sft\nmethod: lora")
    assert recipe.loads(kept(text, read)) == read


def test_stages_keep_theirs() -> None:
    text = "method: lora\nstages:\n  - stage: sft  # first\n  - {stage: dpo, beta: 0.1}  # then\n"
    after = recipe.with_settings(recipe.loads(text), {"stages.1.beta": "0.2"})
    assert "- stage: sft  # first" in kept(text, after)
    assert "beta: 0.2" in kept(text, after)
