"""Plain YAML is read as the library reads it, or left to the library."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuiwb.base import paths
from tuiwb.recipe import plain, reading

PLAIN = """# a comment
stage: sft
learning_rate: 2e-4   # why

max_length: 1024
packing: false
lora_target_modules: [q_proj, v_proj]
launch:
  processes: 2
  gpus: [0, 1]
datasets:
  - path: ./data/x-1.jsonl
    weight: 0.5
  - path: /abs/y
tags:
    - one
    - two
name: -3
"""


def by_library(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(plain, "read", lambda _: None)
        document = reading.parse(text, "test")
    return document.values, document.lines


def test_a_plain_recipe_is_read_as_the_library_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plain.read(PLAIN)
    assert found is not None
    assert found == by_library(PLAIN, monkeypatch)


@pytest.mark.parametrize("file", sorted(paths.presets_folder().glob("*.yaml")), ids=lambda file: file.stem)
def test_every_preset_is_read_as_the_library_reads_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = plain.read(file.read_text())
    assert found is None or found == by_library(file.read_text(), monkeypatch)


def test_the_presets_of_one_stage_are_plain() -> None:
    assert plain.read((paths.presets_folder() / "sft-lora.yaml").read_text()) is not None


words = st.sampled_from(
    ["sft", "a-b", "q_proj", "2e-4", "0.5", "1024", "007", "0x1f", "1_000", "true", "True", "no", "null", "~", ".5",
     ".inf", "1.", "-3", "+3", "2026-11-21", "12:30", "'x'", "a b", "a: b", "a #b", "a#b", "/x/y", "./x", "../y", ".",
     "-", "- x", "[a, b]", "[a,b]", "[1, 2.5]", "[]", "[a, ]", "{a: b}", "&x a", "*x", "!t a", "|", ">", "%", "@x",
     "1e400", "é", "=", "<<", "e5", "0o17", "-0", "1e5", "9" * 30, "?", "a,b", "a]", "x:", "x::y", "a\tb"]
)  # fmt: skip
keys = st.sampled_from(["stage", "a", "launch", "datasets", "on", "null", "Key", "x-y", "1", "-", "name"])
indents = st.sampled_from(["", "", "", "  ", "    ", "  - ", "- ", " "])
rows = st.one_of(
    st.tuples(indents, keys, words).map(lambda row: f"{row[0]}{row[1]}: {row[2]}"),
    st.tuples(indents, keys).map(lambda row: f"{row[0]}{row[1]}:"),
    st.tuples(indents, words).map("".join),
    st.just("# note"),
    st.just(""),
)


@given(text=st.lists(rows, min_size=1, max_size=7).map("\n".join))
def test_what_is_read_here_is_what_the_library_reads(text: str) -> None:
    found = plain.read(text)
    if found is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        assert found == by_library(text, patch)
    assert str(found[0]) == str(by_library(text, pytest.MonkeyPatch())[0])  # 1 is not 1.0, and True neither
