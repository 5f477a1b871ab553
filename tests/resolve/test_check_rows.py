"""What is wrong with the rows is said before a run exists, and without torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machines import a_host

from tuiwb import resolve
from tuiwb.base import settings
from tuiwb.cli import main
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve import Assessment, check_rows


def chat(answer: str, question: str = "Hi") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def assessed(model: Path, data: Path, **keys: Any) -> Assessment:
    keys = {"max_length": 64, "num_train_epochs": 9.0} | keys
    recipe = Recipe(model_name_or_path=str(model), datasets=(DatasetEntry(path=str(data)),), **keys)
    return resolve.assess(recipe, host=a_host(), gpus=[], rows=True)


def said(found: Assessment, key: str) -> list[tuple[str, str, str]]:
    return [(check.level, check.message, check.fix) for check in found.checks if check.key == key]


def test_what_length_costs_is_a_warning_with_the_length_that_would_do(tiny_model: Path, tmp_path: Path) -> None:
    rows = [*(chat(f"answer {n}") for n in range(90)), *(chat(f"{n}" * 200) for n in range(10, 20))]
    data = written(tmp_path / "rows.jsonl", rows)
    found = assessed(tiny_model, data)
    assert found.rows is not None
    ((level, message, fix),) = said(found, "max_length")
    assert level == "warning"
    assert message.startswith("10 of 100 rows are longer than max_length and are cut, which loses ")
    assert fix == f"max_length: {found.rows.longest} would cut none"
    assert not said(assessed(tiny_model, data, max_length=found.rows.longest), "max_length")


def test_what_hardly_matters_is_a_note(tiny_model: Path, tmp_path: Path) -> None:
    rows = [*(chat(f"the answer {n}", "question") for n in range(400)), chat("a" * 52)]
    ((level, message, _),) = said(assessed(tiny_model, written(tmp_path / "rows.jsonl", rows)), "max_length")
    assert level == "note", message


def test_where_nothing_is_left_no_run_is_made(tiny_model: Path, tmp_path: Path, capsys: Any) -> None:
    data = written(tmp_path / "rows.jsonl", [chat("never seen", "a long question " * 30)] * 30)
    found = assessed(tiny_model, data)
    ((level, message, _),) = said(found, "datasets")
    assert level == "error"
    assert "none of the 30 rows can be trained on" in message
    assert "has no trained token within max_length" in message
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"model_name_or_path: {tiny_model}\ndatasets: [{{path: {data}}}]\nmax_length: 64\n")
    assert main.main(["train", str(recipe)]) == 3
    assert "none of the 30 rows" in capsys.readouterr().err
    assert not settings.runs_root().exists()


def test_a_sample_that_is_all_lost_is_no_proof(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_rows, "SAMPLE", 50)
    data = written(tmp_path / "rows.jsonl", [chat("never seen", "a long question " * 30)] * 300)
    assert [level for level, _, _ in said(assessed(tiny_model, data), "datasets")] == ["warning"]


def test_of_a_run_in_parts_each_part_is_named(tiny_model: Path, tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", [chat(f"answer {n}") for n in range(40)])
    second = written(tmp_path / "b.jsonl", [chat("yes", f"question {n}") for n in range(40)])
    parts = tuple(
        Recipe(stage="sft", method="lora", datasets=(DatasetEntry(path=str(one)),)) for one in (first, second)
    )
    recipe = Recipe(model_name_or_path=str(tiny_model), max_length=64, stages=parts)
    found = resolve.assess(recipe, host=a_host(), gpus=[], rows=True)
    assert [level for level, message, _ in said(found, "stages[1].datasets") if "“yes”" in message] == ["warning"]
    assert not [check for check in found.checks if check.key == "stages[0].datasets"]


def test_it_is_looked_at_once_until_something_changes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuiwb.data import outlook

    data = written(tmp_path / "rows.jsonl", [chat(f"answer {n}") for n in range(40)])
    looked: list[int] = []
    real = outlook.outlook

    def counted(*arguments: Any, **named: Any) -> Any:
        looked.append(1)
        return real(*arguments, **named)

    monkeypatch.setattr(outlook, "outlook", counted)
    monkeypatch.setattr(check_rows, "_seen", {})
    for learning_rate in (1e-4, 2e-4):
        assessed(tiny_model, data, learning_rate=learning_rate)
    assert len(looked) == 1, "the learning rate changes no row"
    assessed(tiny_model, data, max_length=32)
    written(data, [chat("yes", f"question {n}") for n in range(40)])
    assert "“yes”" in said(assessed(tiny_model, data), "datasets")[0][1]
    assert len(looked) == 3


def test_what_cannot_be_read_is_said_by_the_checks_alone(tiny_model: Path, tmp_path: Path) -> None:
    pairs = written(tmp_path / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}] * 30)
    found = assessed(tiny_model, pairs)
    assert found.rows is None
    assert len([check for check in found.checks if check.level == "error"]) == 1


def test_the_verb_says_it_without_torch(tiny_model: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "rows.jsonl", [chat(f"{n}" * 200) for n in range(40)])
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"model_name_or_path: {tiny_model}\ndatasets: [{{path: {data}}}]\nmax_length: 64\n")
    code = (
        "import sys; from tuiwb.cli import main; code = main.main(sys.argv[1:]); "
        "assert not {'torch', 'transformers'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "recipe", "check", str(recipe), "--json"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)["checks"]
    (length,) = [check for check in checks if check["key"] == "max_length"]
    assert length["level"] == "warning"
    assert "trained tokens" in length["message"]
