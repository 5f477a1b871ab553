"""`tuiwb recipe …` and `tuiwb train …` as they are typed."""

import json
from pathlib import Path

import pytest

from tuiwb.base import settings
from tuiwb.cli import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(200)))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_list_names_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recipe", "list", "--json")
    presets = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert "LoRA" in presets["sft-lora"]["summary"]
    assert Path(presets["sft-lora"]["path"]).is_file()


def test_schema_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recipe", "schema")
    assert code == 0
    assert json.loads(out)["$defs"]["Recipe"]["properties"]["lora_r"]["description"]


def test_show_prints_values_with_reasons(capsys: pytest.CaptureFixture[str], tiny_model: Path, rows: Path) -> None:
    code, out, _ = run(
        capsys, "recipe", "show", "sft-qlora", "--json",
        "--set", f"model_name_or_path={tiny_model}", "--set", f"datasets.0.path={rows}", "--set", "lora_r=4",
    )  # fmt: skip
    shown = json.loads(out)
    assert code == 0
    assert shown["recipe"]["load_in_4bit"] is True
    assert shown["recipe"]["lora_r"] == 4
    assert shown["reasons"]["load_in_4bit"] == "method is qlora"
    assert "lora_r" not in shown["reasons"]
    assert "load_in_4bit" not in shown["stated"]


def test_check_ends_with_3_when_something_is_wrong(
    capsys: pytest.CaptureFixture[str], tiny_model: Path, rows: Path
) -> None:
    code, out, err = run(capsys, "recipe", "check", "sft-lora", "--json")
    assert code == 3
    assert json.loads(out)["ok"] is False
    assert "error: model_name_or_path" in err
    code, out, _ = run(
        capsys, "recipe", "check", "sft-lora",
        "--set", f"model_name_or_path={tiny_model}", "--set", f"datasets.0.path={rows}",
    )  # fmt: skip
    assert (code, out) == (0, "this recipe can be launched\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("recipe", "check", "sft-lorra"), 3, "did you mean `sft-lora`?"),
        (("recipe", "check", "sft-lora", "--set", "lora_r"), 2, "KEY=VALUE"),
        (("recipe", "check", "sft-lora", "--set", "lora_rr=3"), 3, "did you mean `lora_r`?"),
        (("train", "sft-lora"), 3, "no model is named"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    ended, out, err = run(capsys, *arguments)
    assert ended == code
    assert not out
    assert words in err.splitlines()[-1]


def test_train_refuses_before_any_run_exists(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "train", "sft-lora", "--json")
    assert code == 3
    assert json.loads(out)["key"] == "model_name_or_path"
    assert not settings.runs_root().exists()
