"""`tuiwb data clean|dedup|contamination|steps`: what they print, write and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.cli.main import main

BASE = " ".join(f"w{n}" for n in range(60))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    texts = [BASE, BASE.upper(), BASE.replace("w30", "x"), "short", "another text with some more words in it"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["data", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_clean(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, target = rows.read_bytes(), tmp_path / "out.jsonl"
    words = ("clean", rows, "--step", "words: {min: 3}", "--step", "exact_duplicates", "--output", target)
    found = asked(capsys, *words, "--report", tmp_path / "why.md", "--save-steps", tmp_path / "steps.yaml")
    assert (found["rows"], found["kept"], found["removed"], found["written"]) == (5, 3, 2, 3)
    assert [(step["name"], step["removed"]) for step in found["steps"]] == [("words", 1), ("exact_duplicates", 1)]
    assert found["steps"][0]["samples"][0]["text"] == "short"
    assert target.read_bytes().splitlines() == [before.splitlines()[n] for n in (0, 2, 4)]
    assert rows.read_bytes() == before
    assert "| 3 | 4 | words | 1 words, less than 3 words | short |" in (tmp_path / "why.md").read_text()
    again = asked(capsys, "clean", rows, "--steps", tmp_path / "steps.yaml")
    assert (again["kept"], again["output"], again["written"]) == (3, None, None)
    assert main(["data", *map(str, words)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["data", "clean", str(rows), "--step", "words: {min: 8}"]) == 0
    shown = capsys.readouterr()
    assert "stays, though near: row 4: 8 words" in shown.out
    assert "4 of 5 rows stay." in shown.err


def test_dedup(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.jsonl"
    found = asked(capsys, "dedup", rows, "--output", target, "--threshold", "0.8")
    assert found == {
        "rows": 5, "kept": 3, "removed": 2, "unusable": 0,
        "exact_duplicates": 1, "near_duplicates": 1, "threshold": 0.8,
        "clusters": [{"kept": 0, "rows": [{"row": 1, "similarity": 1.0}, {"row": 2, "similarity": round(55 / 61, 4)}]}],
        "written": 3, "output": str(target), "report": None,
    }  # fmt: skip
    assert target.read_text().splitlines() == [rows.read_text().splitlines()[n] for n in (0, 3, 4)]
    assert asked(capsys, "dedup", rows, "--exact")["removed"] == 1
    assert main(["data", "dedup", str(rows), "--threshold", "loose"]) == 0
    shown = capsys.readouterr().out
    assert "row 0 stays: w0 w1" in shown
    assert "[-w30-] {+x+}" in shown
    assert main(["data", "dedup", str(rows), "--output", str(rows), "--force"]) == 2
    assert "source itself" in capsys.readouterr().err


def test_contamination(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "eval.jsonl"
    other.write_text(json.dumps({"prompt": BASE[:100]}) + "\n")
    found = asked(capsys, "contamination", rows, "--against", other, "--output", tmp_path / "out.jsonl")
    assert (found["rows"], found["contaminated"], found["prompts"], found["written"]) == (5, 3, 1, 2)
    assert found["matches"][0] == {"row": 0, "prompt": 0, "file": str(other), "cover": found["matches"][0]["cover"]}
    assert main(["data", "contamination", str(rows), "--against", str(other)]) == 0
    assert "3 of 5 rows hold 1 prompts" in capsys.readouterr().out


def test_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "steps")
    assert {"words", "near_duplicates", "contamination"} < {step["name"] for step in found["steps"]}
    assert [preset["name"] for preset in found["presets"]] == ["guides", "lima-like", "strict"]
    assert main(["data", "steps", "guides"]) == 0
    path = tmp_path / "guides.yaml"
    path.write_text(capsys.readouterr().out)
    assert asked(capsys, "steps", path) == asked(capsys, "steps", "guides")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["clean", "{rows}"], 2, "name some steps"),
        (["clean", "{rows}", "--step", "wrods: {min: 1}"], 3, "did you mean words"),
        (["clean", "{rows}", "--step", "[1]"], 3, "is no step"),
        (["dedup", "{rows}", "--threshold", "1.5"], 3, "threshold"),
        (["clean", "{rows}", "--steps", "guides", "--save-steps", "{rows}/x.yaml"], 4, "cannot be written"),
        (["contamination", "{rows}", "--against", "none.jsonl"], 3, "no such file"),
    ],
)
def test_wrong_use(rows: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    assert main(["data", *(word.replace("{rows}", str(rows)) for word in words)]) == code
    assert message in capsys.readouterr().err
