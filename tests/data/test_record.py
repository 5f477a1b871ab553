"""A run can show the very rows that it learned from, and says so when they are no longer what they were."""

import json
from pathlib import Path

import pytest

from tuiwb import data, rundir
from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.cli.main import main
from tuiwb.data import edits, journal, record
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.workers.data import Data, load_data


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{n}", "completion": f"c{n}"}) + "\n" for n in range(20)))
    return path


def loaded(rows: Path, tiny_model: Path, part: Path) -> Data:
    view = data.open(rows, editable=True)
    edits.correct(view, 3, {"prompt": "p3", "completion": "better"})
    edits.change(view, 4, journal.verdict("rejected"))
    other = rows.with_name("general.jsonl")
    other.write_bytes(rows.read_bytes())
    recipe = Recipe(
        stage="sft",
        model_name_or_path=str(tiny_model),
        eval_fraction=0.25,
        datasets=(
            DatasetEntry(path=str(rows), journal=str(journal.place_of(rows)), weight=0.8),
            DatasetEntry(path=str(other), weight=0.2),
        ),
        eval_datasets=(DatasetEntry(path=str(other), max_examples=5),),
    )
    found = load_data(recipe, lambda done, total: None)
    part.mkdir(parents=True, exist_ok=True)
    found.record(part, recipe)
    return found


def test_the_rows_are_those_of_training(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = loaded(rows, tiny_model, tmp_path / "part")
    training, held_out, general = record.read(tmp_path / "part")
    assert (training.name, held_out.name, general.name) == ("training", "held_out", "general")
    shown = [row.value for _, row in record.rows_of(training)]
    texts = [
        found.tokenizer.decode(found.prepared.sequence(int(number))[0].tolist(), skip_special=True)
        for number in found.rows
    ]
    assert [row["prompt"] + row["completion"] for row in shown] == texts
    values = [json.dumps(row) for row in shown] + [json.dumps(row.value) for _, row in record.rows_of(held_out)]
    assert any("better" in value for value in values)
    held = {json.dumps(row.value) for _, row in record.rows_of(held_out)}
    assert held
    assert [row.id for _, row in record.rows_of(general)] == [0, 1, 2, 3, 4]


def test_a_source_that_changed_is_not_shown_as_if_nothing_were(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    loaded(rows, tiny_model, tmp_path / "part")
    training = record.read(tmp_path / "part")[0]
    edits.change(data.open(rows, editable=True), 5, journal.verdict("rejected"))
    with pytest.raises(InputFault, match="has changed since the run"):
        next(record.rows_of(training))
    (tmp_path / "part" / "data" / "data.json").write_text("{")
    with pytest.raises(EnvironmentFault, match="damaged"):
        record.read(tmp_path / "part")
    with pytest.raises(EnvironmentFault, match="not prepared"):
        record.read(tmp_path)


def test_the_verb(
    rows: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rundir.RunDir(tmp_path / "run")
    loaded(rows, tiny_model, run.part(1, "main").path)
    monkeypatch.setattr("tuiwb.runs.find", lambda name: run)
    assert main(["data", "rows", "last", "--limit", "2", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(shown) == 2
    assert shown[0]["path"] == str(rows)
    assert main(["data", "rows", "last", "--set", "nothing"]) == 2
    assert "training, held_out, general" in capsys.readouterr().err
