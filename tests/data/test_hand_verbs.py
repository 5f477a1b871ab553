"""`tuiwb data edit|select|chart|split|mix`: one JSON document each, nothing written over, every error one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.cli.main import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"p{n % 20}", "completion": f"c{n}", "n": n}) + "\n" for n in range(40))
    )
    return path


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["data", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_editing_undoing_and_what_training_gets(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows.read_bytes()
    done = document(capsys, "edit", rows, "--row", 3, "--set", '{"completion": "better"}')
    assert done["change"] == {"row": 3, "words": "row 3 corrected"}
    document(capsys, "edit", rows, "--row", 4, "--reject")
    document(capsys, "edit", rows, "--row", 5, "--tag", "a, b")
    document(capsys, "edit", rows, "--row", 0, "--prefer", 20)
    assert main(["data", "edit", str(rows), "--list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["row"], one["edited"], one["verdict"], one["tags"]) for one in listed] == [
        (3, True, None, []),
        (4, False, "rejected", []),
        (5, False, None, ["a", "b"]),
    ]
    journal = done["journal"]
    found = document(capsys, "inspect", rows, "--journal", journal)
    assert {problem["code"]: problem["count"] for problem in found["problems"]}["left_out"] == 1
    pairs = rows.with_name("pairs.jsonl")
    assert document(capsys, "edit", rows, "--pairs", pairs)["written"] == 1
    assert json.loads(pairs.read_text()) == {"prompt": "p0", "chosen": "c0", "rejected": "c20"}
    for _ in range(4):
        assert document(capsys, "edit", rows, "--undo")["undone"]
    out = rows.with_name("out.jsonl")
    document(capsys, "select", rows, "--journal", journal, "--output", out)
    assert out.read_bytes() == before == rows.read_bytes()
    document(capsys, "edit", rows, "--redo")
    assert json.loads(rows.with_name("out.jsonl").read_text().splitlines()[3])["completion"] == "c3"


def test_selecting(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["select", str(rows), "--where", "n>5 & prompt:p1", "--sort", "n", "--descending", "--limit", "2"]
    assert main(["data", *arguments, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["row"] for one in found] == [39, 38]
    assert found[0]["value"]["n"] == 39
    out = rows.with_name("subset.jsonl")
    document(capsys, *arguments, "--output", out)
    assert out.read_bytes().splitlines() == [rows.read_bytes().splitlines()[n] for n in (39, 38)]


def test_charts(rows: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "chart", rows, "--model", tiny_model, "--max-length", 4)
    assert (found["unit"], found["rows"], found["whole"]) == ("tokens", 40, True)
    assert sum(bar["rows"] for bar in found["charts"]["length"]["bars"]) == 40
    assert "tokens lost" in found["charts"]["cut"]["note"]
    assert main(["data", "chart", str(rows), "--chart", "turns"]) == 0
    assert "█" in capsys.readouterr().out


def test_splitting_by_group(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = rows.with_name("parts")
    given = ["split", rows, "--parts", "train=0.75,test=rest", "--output", out]
    found = document(capsys, *given, "--group", "prompt")
    parts = {
        name: [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test")
    }
    assert {name: part["rows"] for name, part in found["parts"].items()} == {name: len(parts[name]) for name in parts}
    assert sorted(row["n"] for part in parts.values() for row in part) == list(range(40))
    assert not {row["prompt"] for row in parts["train"]} & {row["prompt"] for row in parts["test"]}
    assert found["recipe"]["datasets"][0]["path"] == str(out / "train.jsonl")


def test_mixing(rows: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = rows.with_name("general.jsonl")
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    other.write_text((json.dumps({"messages": turns}) + "\n") * 10)
    found = document(capsys, "mix", rows, f"{other}=20%", "--model", tiny_model)
    assert [source["examples"] for source in found["sources"]] == [40, 10]
    assert all(source["tokens"] > source["trained"] > 0 for source in found["sources"])
    assert [entry["weight"] for entry in found["recipe"]["datasets"]] == [0.8, 0.2]
    out = rows.with_name("mixed.jsonl")
    document(capsys, "mix", rows, f"{other}=20%", "--to", "messages", "--output", out)
    assert len(out.read_text().splitlines()) == 50
    assert document(capsys, "inspect", out)["format"] == "messages"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["edit", "{rows}", "--accept"], 2, "--row"),
        (["edit", "{rows}", "--row", "99", "--accept"], 2, "there are 40 rows"),
        (["edit", "{rows}", "--row", "1", "--set", "[1]"], 2, "JSON object"),
        (["edit", "{rows}", "--row", "1", "--set", "x"], 2, "not valid JSON"),
        (["edit", "{rows}", "--row", "1", "--rate", "9"], 2, "from 1 to 5"),
        (["edit", "{rows}", "--row", "0", "--prefer", "1"], 2, "different prompts"),
        (["edit", "-", "--undo"], 2, "from a pipe"),
        (["select", "{rows}", "--sort", "m"], 2, "no column 'm'"),
        (["select", "{rows}", "--output", "{rows}", "--force"], 2, "source itself"),
        (["split", "{rows}", "--parts", "a=2", "--output", "{folder}/x"], 2, "add up to"),
        (["mix", "{rows}=0.5", "{rows}=0.2"], 2, "add up to"),
    ],
)
def test_one_sentence_and_the_right_exit_code(
    arguments: list[str], code: int, says: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows.read_bytes()
    assert main(["data", *(part.format(rows=rows, folder=tmp_path) for part in arguments)]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert rows.read_bytes() == before
