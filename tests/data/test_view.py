"""Opening, verifying and reading datasets as a whole, good and bad."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb import data
from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data import verify
from tuiwb.data.problems import Problem
from tuiwb.recipe import DatasetEntry

GOOD = {"instruction": "Capital of France?", "input": "", "output": "Paris."}


def jsonl(path: Path, rows: list[Any], end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + end)
    return path


def problems(path: Path, **named: Any) -> dict[str, Problem]:
    return {problem.code: problem for problem in data.open(path, **named).verify().problems}


def test_a_sound_file(tmp_path: Path) -> None:
    with data.open(
        jsonl(tmp_path / "rows.jsonl", [{**GOOD, "instruction": f"Question {n}?"} for n in range(300)])
    ) as view:
        verdict = view.verify()
        assert (len(view), verdict.rows, verdict.usable, verdict.problems) == (300, 300, 300, ())
        assert view.columns == ("instruction", "input", "output")
        assert verdict.types["output"] == {"text": 300}
        assert verdict.lengths["answer"].to_json() == {"mean": 6.0, "min": 6, "p50": 6, "p90": 6, "p99": 6, "max": 6}
        assert [example.id for example in view.examples()] == list(range(300))


def test_the_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [*[GOOD] * 20, {"instruction": 1}], end='\n{"half')
    before = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
    with data.open(path) as view:
        view.verify()
        list(view.examples())
    assert (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) == before


def test_zero_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n")
    found = problems(path)
    assert list(found) == ["no_rows"]
    assert (found["no_rows"].row, found["no_rows"].line) == (None, None)
    with pytest.raises(InputFault, match="there are no rows"):
        data.open(path, task=Task())


def test_each_fault_is_counted_with_its_first_row_and_true_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(GOOD).encode()
    lines = [good] * 400
    lines[20] = b'{"instruction": "broken'
    lines[30] = lines[31] = b'{"instruction": "no answer", "output": " "}'
    lines[40] = b'{"instruction": "a number", "output": 4}'
    lines[50] = b'{"instruction": "no output"}'
    lines[60] = b'{"instruction": "\xff", "output": "bytes"}'
    lines[70] = b""
    path.write_bytes(b"\n".join(lines) + b'\n{"instruction": "half')
    found = problems(path)
    # The blank line is no row, so rows after it are one less than their line says.
    places = {code: (p.count, p.row, p.line) for code, p in found.items()}
    assert places == {
        "broken_json": (1, 20, 21),
        "empty_answer": (2, 30, 31),
        "wrong_type": (1, 40, 41),
        "missing_column": (1, 50, 51),
        "invalid_utf8": (1, 60, 61),
        "half_written": (1, 399, 401),
        "duplicate": (393, 1, 2),
        "mixed_types": (1, 40, 41),
    }
    assert found["mixed_types"].message == "output is text in 395 rows and a number in 1"
    with data.open(path) as view:
        assert (view.verify().rows, len(view)) == (400, 400)
        assert view.verify().usable == 393
        assert len(list(view.examples())) == 393


def test_late_oddities_lose_no_row(tmp_path: Path) -> None:
    """The rows that other readers drop, cast or corrupt: a late column, late list content, null first."""
    usual = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}", "name": None}]}
        for n in range(3000)
    ]
    listed = {"messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}]}, usual[0]["messages"][1]]}
    late = {"messages": usual[1]["messages"], "tools": [{"name": "f"}]}
    with data.open(jsonl(tmp_path / "rows.jsonl", [*usual, listed, late, *usual])) as view:
        examples = list(view.examples())
        assert len(examples) == 6002
        assert [e.messages for e in examples[3002:]] == [e.messages for e in examples[:3000]]
        assert examples[3000].messages is not None
        assert examples[3000].messages[0]["content"] == "parts"
        assert examples[3001].tools == [{"type": "function", "function": {"name": "f"}}]
        assert examples[2999].messages == [
            {"role": "user", "content": "q2999"},
            {"role": "assistant", "content": "a2999"},
        ]


def test_a_format_that_only_later_rows_contradict(tmp_path: Path) -> None:
    """The first hundred rows are not the file: rows from anywhere are asked once the index knows them."""
    other = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path = jsonl(tmp_path / "rows.jsonl", [GOOD] * 30_000 + [other] * 60_000)
    view = data.open(path)
    assert view.format.name == "alpaca"
    assert not view.complete
    view.index()
    assert view.format.name is None
    assert "like messages" in view.format.reason


def test_an_unclear_format_is_a_problem_and_no_guess(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"a": "x", "b": "y"}])
    assert "no known format" in problems(path)["unknown_format"].message
    with pytest.raises(InputFault, match="no known format"):
        data.open(path, task=Task())
    with data.open(path, columns={"question": "a", "answer": "b"}) as view:
        assert view.format.name == "qa"


def test_a_recipes_entry(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"q": f"q{n}", "a": "yes"} for n in range(10)])
    entry = DatasetEntry(path=str(path), format="qa", columns={"question": "q", "answer": "a"}, max_examples=4)
    with data.open(entry) as view:
        assert len(view) == 4
        assert [example.id for example in view.examples()] == [0, 1, 2, 3]
        assert view.verify().rows == 4
        with pytest.raises(IndexError):
            view.row(4)
    with pytest.raises(InputFault, match=r"rows\.jsonl.*alpaca needs"):
        data.open(DatasetEntry(path=str(path), format="alpaca"))
    with pytest.raises(InputFault, match="has no splits"):
        data.open(DatasetEntry(path=str(path), split="test"))


def test_a_name_of_the_hub_that_cannot_be_asked() -> None:
    with pytest.raises(EnvironmentFault, match=r"no such file.*hub is switched off"):
        data.open("tatsu-lab/alpaca")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    from tuiwb.data import hub
    from tuiwb.models import hub as models_hub

    def get(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("Got: ConnectError: Name or service not known\nPlease check your connection.")

    monkeypatch.setattr(models_hub, "offline", lambda: False)
    monkeypatch.setattr(hub, "_get", get)
    with pytest.raises(EnvironmentFault, match=r"no such file.*the hub cannot be reached.*Name or service not known"):
        data.open("tatsu-lab/alpaca")


def test_the_fingerprint_follows_contents_and_format(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", [GOOD, GOOD])
    copy = jsonl(tmp_path / "b.jsonl", [GOOD, GOOD])
    other = jsonl(tmp_path / "c.jsonl", [GOOD])
    prints = [data.open(path).fingerprint for path in (first, copy, other)]
    assert prints[0] == prints[1] != prints[2]
    assert data.open(first, name="prompt_completion", columns={"prompt": "instruction"}).fingerprint != prints[0]


def test_verifying_can_be_cancelled(tmp_path: Path) -> None:
    view = data.open(jsonl(tmp_path / "rows.jsonl", [GOOD] * 10))
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        view.verify(task)
    assert view.verdict is None
    assert view.verify().rows == 10


@pytest.mark.parametrize("container", ["jsonl", "json"])
def test_processes_find_what_one_reader_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str) -> None:
    rows: list[Any] = [
        {"instruction": f"q{n}", "output": "a" * (n % 50), "n": n if n % 7 else None} for n in range(999)
    ]
    rows[500]["output"] = 4
    rows[501]["late"] = True
    path = tmp_path / f"rows.{container}"
    path.write_text(
        "\n".join(map(json.dumps, rows)) + '\n{"half' if container == "jsonl" else json.dumps(rows, indent=1)
    )
    alone = data.open(path).verify()
    started: list[Any] = []
    popen = verify.subprocess.Popen
    monkeypatch.setattr(verify, "APART_FROM", 10)
    monkeypatch.setattr(verify.os, "cpu_count", lambda: 3)
    monkeypatch.setattr(verify.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    assert data.open(path).verify() == alone
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)


def test_a_process_that_dies_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [GOOD] * 50)
    monkeypatch.setattr(verify, "APART_FROM", 10)
    monkeypatch.setattr(verify.sys, "executable", "/bin/false")
    assert data.open(path).verify().rows == 50


def test_what_a_row_has_wrong_keeps_it_from_training(tmp_path: Path) -> None:
    view = data.open(jsonl(tmp_path / "rows.jsonl", [GOOD, {**GOOD, "output": ""}]))
    assert view.example(view.row(0)).kind == "messages"
    with pytest.raises(data.BadRow, match="the answer is empty"):
        view.example(view.row(1))
    assert view.translate(view.row(1)).messages
