"""Folders of files, saved datasets and copies of the hub: what is read, what is named and not read, and from where."""

import gzip
import io
import json
import os
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuiwb import data
from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.cli.main import main
from tuiwb.data.folder import Choice


def rows(first: int, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(first, first + count)]


def lines(path: Path, first: int, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(first, count)))
    return path


def arrow(path: Path, first: int, count: int) -> None:
    table = pa.Table.from_pylist(rows(first, count))
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def prompts(view: data.View) -> list[str]:
    return [row.value["prompt"] for row in view.scan()]


def test_a_folder_of_every_kind_is_one_source(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    lines(folder / "a.jsonl", 0, 10)
    pq.write_table(pa.Table.from_pylist(rows(10, 5)), folder / "b.parquet")
    (folder / "c.json").write_text(json.dumps(rows(15, 3), indent=1))
    (folder / "d.csv").write_text("prompt,completion\np18,c18\n")
    (folder / "deep").mkdir()
    with gzip.open(folder / "deep" / "e.jsonl.gz", "wb") as file:
        file.write(lines(tmp_path / "e", 19, 4).read_bytes())
    (folder / "README.md").write_text("words")
    (folder / "notes.txt").write_text("words")
    (folder / "model.bin").write_bytes(b"\x00")
    view = data.open(folder)
    assert view.row(0).value["prompt"] == "p0"
    assert prompts(view) == [f"p{n}" for n in range(23)]
    assert [view.row(n).value["prompt"] for n in (22, 0, 15, 9, 10)] == ["p22", "p0", "p15", "p9", "p10"]
    assert [row.id for row in view.rows(8, 6)] == list(range(8, 14))
    assert view.format.name == "prompt_completion"
    stray = [problem for problem in view.verify().problems if problem.code == "stray_file"]
    assert stray[0].count == 2
    assert {case.detail for case in stray[0].examples} == {"model.bin", "notes.txt"}


def test_an_error_has_its_file_and_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "many"
    lines(folder / "a.jsonl", 0, 10)
    lines(folder / "b.jsonl", 10, 10)
    broken = (folder / "b.jsonl").read_text().splitlines()
    broken[6] = '{"prompt": "half'
    (folder / "b.jsonl").write_text("\n".join(broken) + "\n")
    (folder / "c.parquet").write_bytes(b"PAR1 is not enough")
    view = data.open(folder)
    problems = {problem.code: problem for problem in view.verify().problems}
    first = problems["broken_json"]
    assert (first.file, first.row, first.line) == ("b.jsonl", 16, 7)
    assert "c.parquet" in problems["unreadable_file"].message
    assert main(["data", "inspect", str(folder)]) == 0
    assert "b.jsonl, row 16, line 7: not valid JSON" in capsys.readouterr().out


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    lines(folder / "deep" / "a.jsonl", 0, 3)
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "deep")
    (folder / "nowhere.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert prompts(data.open(folder)) == ["p0", "p1", "p2"]


def test_splits_are_not_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    lines(folder / "train-00000.jsonl", 0, 6)
    lines(folder / "train-00001.jsonl", 6, 4)
    lines(folder / "test.jsonl", 100, 2)
    with pytest.raises(Choice, match="several: test, train") as refused:
        data.open(folder)
    assert refused.value.names == ("test", "train")
    assert prompts(data.open(folder, split="train")) == [f"p{n}" for n in range(10)]
    assert prompts(data.open(folder, split="test")) == ["p100", "p101"]
    assert prompts(data.open(folder, split="train[:3]")) == ["p0", "p1", "p2"]
    assert len(data.open(folder, split="train[:50%]")) == 5
    with pytest.raises(InputFault, match="did you mean train"):
        data.open(folder, split="tran")
    with pytest.raises(InputFault, match=r"train\[:100\]"):
        data.open(folder, split="train[5:]")


def test_a_dataset_that_was_saved(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    for name, first in (("train", 0), ("test", 50)):
        arrow(saved / name / "data-00000-of-00002.arrow", first, 4)
        arrow(saved / name / "data-00001-of-00002.arrow", first + 4, 3)
        files = [{"filename": f"data-0000{n}-of-00002.arrow"} for n in range(2)]
        (saved / name / "state.json").write_text(json.dumps({"_data_files": files, "_split": name}))
        (saved / name / "dataset_info.json").write_text("{}")
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(Choice, match="train, test"):
        data.open(saved)
    assert prompts(data.open(saved, split="train")) == [f"p{n}" for n in range(7)]
    assert prompts(data.open(saved / "test")) == [f"p{n}" for n in range(50, 57)]
    (saved / "test" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../secret.arrow"}]}))
    with pytest.raises(InputFault, match="outside its folder"):
        data.open(saved / "test")


def test_a_dataset_of_the_hub_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hf" / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    with pytest.raises(EnvironmentFault, match=r"no such file.*switched off"):
        data.open("someone/things")
    repo = cache / "datasets--someone--things"
    snapshot = repo / "snapshots" / ("a" * 40)
    lines(snapshot / "data" / "plain-train.jsonl", 0, 3)
    lines(snapshot / "data" / "plain-test.jsonl", 9, 1)
    lines(snapshot / "other.jsonl", 20, 2)
    (snapshot / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain\n  data_files:\n  - split: train\n    path: data/plain-train*\n"
        "  - split: test\n    path: data/plain-test*\n- config_name: other\n  data_files: other.jsonl\n---\n# Things\n"
    )
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    with pytest.raises(Choice, match="plain, other"):
        data.open("someone/things")
    assert prompts(data.open("someone/things", subset="plain", split="train")) == ["p0", "p1", "p2"]
    assert prompts(data.open("someone/things", subset="other")) == ["p20", "p21"]


def test_rows_from_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Pipe:
        def __init__(self, content: bytes) -> None:
            self.buffer = io.BytesIO(content)

        def isatty(self) -> bool:
            return False

    def inspect(content: bytes) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", Pipe(content))
        code = main(["data", "inspect", "-", "--json"])
        captured = capsys.readouterr()
        return code, captured.out or captured.err

    code, out = inspect(b'{"prompt": "a", "completion": "b"}\n' * 3)
    assert (code, json.loads(out)["rows"], json.loads(out)["format"]) == (0, 3, "prompt_completion")
    code, out = inspect(b"prompt,completion\nx,y\n")
    assert (json.loads(out)["kind"], json.loads(out)["rows"]) == ("CSV", 1)
    code, out = inspect(b"")
    assert code == 3
    assert (json.loads(out)["file"], json.loads(out)["error"]) == ("standard input", "there are no rows")
    code, out = inspect(b'{"prompt": "a"\n{"prompt": "b"\n')
    assert json.loads(out)["path"] == "standard input"
    code, out = inspect(b"\xff\xfe{\x00}\x00\n\x00")
    assert (code, json.loads(out)["file"]) == (3, "standard input")


def test_a_file_of_columns(tmp_path: Path) -> None:
    rows = [{"instruction": f"q {n}", "output": f"a {n}", "n": n} for n in range(30)]
    columns = {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    one = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    for indent in (None, 1):
        (tmp_path / "pandas.json").write_text(json.dumps(columns, indent=indent))
        (tmp_path / "lists.json").write_text(json.dumps(lists, indent=indent))
        for name in ("pandas.json", "lists.json"):
            with data.open(tmp_path / name) as view:
                assert (view.store.kind, view.format.name) == ("JSON columns", "alpaca")
                assert [row.value for row in view.scan()] == rows
                assert view.row(7).line is None
                assert view.raw(7) == orjson.dumps(rows[7])
    (tmp_path / "one.json").write_text(json.dumps(one))
    with data.open(tmp_path / "one.json") as view:
        assert (len(view), view.format.name) == (1, "messages")


def test_what_is_no_data_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFault, match="no data files in this folder"):
        data.open(tmp_path / "empty")
    (tmp_path / "empty" / "weights.bin").write_bytes(b"")
    with pytest.raises(InputFault, match=r"there are weights\.bin"):
        data.open(tmp_path / "empty")
    with pytest.raises(InputFault, match="has no splits"):
        data.open(lines(tmp_path / "one.jsonl", 0, 1), split="test")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputFault, match="no regular file"):
        data.open(tmp_path / "pipe.jsonl")


def test_a_file_of_a_folder_that_grows_or_vanishes_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    lines(folder / "a.jsonl", 0, 3)
    lines(folder / "b.jsonl", 3, 3)
    view = data.open(folder)
    assert view.changed() is None
    with (folder / "b.jsonl").open("a") as file:
        file.write("{}\n")
    assert view.changed() == "grew"
    (folder / "a.jsonl").unlink()
    assert view.changed() == "vanished"
    assert view.row(0).value["prompt"] == "p0"


def test_links_that_lead_nowhere_or_round_in_circles(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "self.jsonl").symlink_to(tmp_path / "self.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nothing")
    view = data.open(tmp_path)
    assert len(view) == 1
    assert {detail for _, detail, _ in view.store.faults()} == {"gone.jsonl", "self.jsonl"}
