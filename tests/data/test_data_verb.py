"""The verbs of the data room print what they promise, and one sentence when they cannot."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.cli.main import main

TURNS = [{"role": "user", "content": "Capital of France?"}, {"role": "assistant", "content": "Paris."}]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    good = json.dumps({"messages": TURNS})
    path.write_text("\n".join([good] * 30 + ['{"messages": '] + [good] * 5) + "\n")
    return path


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["data", *arguments, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def test_inspect_json_has_the_promised_names(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "inspect", str(rows))
    assert found.keys() >= {"rows", "bytes", "format", "confidence", "columns", "problems", "lengths"}
    assert (found["rows"], found["usable"], found["bytes"]) == (36, 35, rows.stat().st_size)
    assert found["format"] == "messages"
    assert found["columns"] == ["messages"]
    problem = found["problems"][0]
    assert [one["code"] for one in found["problems"]] == ["broken_json", "duplicate", "few_examples"]
    assert problem.keys() == {"code", "severity", "count", "row", "line", "message", "fix", "examples"}
    assert (problem["code"], problem["row"], problem["line"]) == ("broken_json", 30, 31)


def test_inspect_for_people(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(rows)]) == 0
    out = capsys.readouterr().out
    for words in ("35", "messages", "error", "row 30, line 31", "not valid JSON"):
        assert words in out


def test_the_format_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("q,a\nCapital?,Paris\n")
    assert document(capsys, "inspect", str(path))["format"] is None
    named = document(capsys, "inspect", str(path), "--format", "qa", "--column", "question=q", "--column", "answer=a")
    assert (named["format"], named["mapping"]) == ("qa", {"question": "q", "answer": "a"})


def test_render_shows_what_is_trained(rows: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "render", str(rows), "--row", "3", "--model", str(tiny_model))
    (side,) = found["sides"]
    trained = "".join(token["text"] for token in side["tokens"] if token["trained"])
    assert trained.startswith("Paris.<|im_end|>")
    assert "".join(token["text"] for token in side["tokens"]) == side["text"]
    assert (found["row"], found["line"], side["total"]) == (3, 4, len(side["tokens"]))
    short = document(capsys, "render", str(rows), "--model", str(tiny_model), "--max-length", "10")["sides"][0]
    assert (short["total"], short["truncated"]) == (10, side["total"] - 10)


def test_render_without_colours_names_each_piece(
    rows: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "render", str(rows), "--model", str(tiny_model)]) == 0
    out = capsys.readouterr().out
    assert "[assistant, trained]\nParis.<|im_end|>" in out
    assert "\x1b" not in out


def test_convert_and_read_back(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    done = document(capsys, "convert", str(rows), "--to", "sharegpt", "--output", str(out))
    assert (done["read"], done["written"], done["problems"][0]["code"]) == (36, 35, "broken_json")
    assert document(capsys, "inspect", str(out))["format"] == "sharegpt"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["inspect", "{folder}/nowhere.jsonl"], 3, "no such file"),
        (["inspect", "{rows}", "--format", "alpaca"], 3, "alpaca needs instruction"),
        (["inspect", "{rows}", "--column", "oops"], 2, "PART=NAME"),
        (["render", "{rows}", "--row", "36", "--model", "{model}"], 2, "there are 36 rows"),
        (["render", "{rows}", "--row", "30", "--model", "{model}"], 3, "not valid JSON"),
        (["render", "{rows}", "--model", "{folder}/no-model"], 3, "no-model"),
        (["convert", "{rows}", "--to", "kto", "--output", "{folder}/out.jsonl"], 3, "not one row"),
        (["convert", "{rows}", "--to", "messages", "--output", "{rows}"], 2, "source itself"),
    ],
)
def test_one_sentence_and_the_right_exit_code(
    arguments: list[str],
    code: int,
    says: str,
    rows: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [part.format(rows=rows, model=tiny_model, folder=tmp_path) for part in arguments]
    assert main(["data", *given]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_hostile_text_does_not_reach_the_terminal(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    hostile = "\x1b[31mred\u202egnp.exe\u200b [bold]markup[/bold]"
    row = {hostile: 1, "messages": [{"role": "user", "content": hostile}, {"role": hostile, "content": "x" * 100_000}]}
    path.write_text(json.dumps(row) + "\n")
    assert main(["data", "inspect", str(path)]) == 0
    assert main(["data", "render", str(path), "--model", str(tiny_model)]) == 0
    shown = capsys.readouterr()
    for character in "\x1b\u202e\u200b":
        assert character not in shown.out + shown.err
