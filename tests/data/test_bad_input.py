"""What the world holds against a dataset: odd rows deep in a file, one endless line, full and read-only disks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuiwb import data

GOOD = {"prompt": "p", "completion": "a"}


def lines(path: Path, rows: list[Any], end: str = "\n") -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + end)
    return path


def test_the_150_001st_line_is_broken(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [*[GOOD] * 150_000, '{"prompt": "p", "compl', *[GOOD] * 49_999])
    with data.open(path) as view:
        broken = [(row.id, row.line, row.fault.code) for row in view.scan() if row.fault is not None]
        assert (len(view), broken) == (200_000, [(150_000, 150_001, "broken_json")])
        assert view.row(150_001).value == GOOD


@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        ({**GOOD, "tools": [{"name": "f"}]}, [("p", "a")]),
        ({"prompt": [{"type": "text", "text": "p"}], "completion": "a"}, []),
        ({"prompt": None, "completion": "a"}, [("", "a")]),
        ({"prompt": 7, "completion": "a"}, []),
    ],
)
def test_one_odd_row_changes_no_other(tmp_path: Path, odd: dict[str, Any], kept: list[Any]) -> None:
    usual = [{"prompt": f"p{n}", "completion": f"a{n}"} for n in range(1500)]
    rows = [*usual, odd, *usual]
    with data.open(lines(tmp_path / "rows.jsonl", rows)) as view:
        assert [row.value for row in view.scan()] == rows
        found = [(example.prompt, example.completion) for example in view.examples()]
        pairs = [(row["prompt"], row["completion"]) for row in usual]
        assert found == [*pairs, *kept, *pairs]


def test_null_comes_first(tmp_path: Path) -> None:
    rows = [*[{**GOOD, "note": None}] * 3000, {**GOOD, "note": "text at last"}]
    with data.open(lines(tmp_path / "rows.jsonl", rows)) as view:
        assert [row.value for row in view.scan()] == rows
        assert "mixed_types" not in {problem.code for problem in view.verify().problems}


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    """What was there when it was opened is what is seen, half lines of a writer among it."""
    path = lines(tmp_path / "rows.jsonl", [GOOD] * 10, end='\n{"prompt": "hal')
    with data.open(path) as view:
        with path.open("a") as file:
            file.write('f", "completion": "b"}\n' + json.dumps(GOOD) + "\n")
        assert (len(view), view.changed()) == (11, "grew")
        fault = view.row(10).fault
        assert fault is not None
        assert fault.code == "half_written"
    with data.open(path) as again:
        assert (len(again), again.row(10).value["prompt"]) == (12, "half")


_SAVING = """
import json, os, sys
from pathlib import Path
from tuiwb.cli.main import main
folder, way = Path(sys.argv[1]), sys.argv[2]
row = {"prompt": "p", "completion": "twelve words that are enough for any guide to keep the answer "}
text = "".join(json.dumps({**row, "prompt": f"question {n}", "pad": "x" * 200}) + "\\n" for n in range(500))
rows = folder / "rows.jsonl"
if way == "full":  # leaves some space, and less than any copy needs
    outside = Path(sys.argv[3]) / "rows.jsonl"
    outside.write_text(text)
    (folder / "old.jsonl").write_text("old\\n")
    source = outside
else:
    rows.write_text(text)
    (folder / "old.jsonl").write_text("old\\n")
    os.system(f"mount -o remount,ro {folder}")
    source = rows
before = source.read_bytes()
new, old = str(folder / "new.jsonl"), str(folder / "old.jsonl")
verbs = [
    ["convert", "--to", "messages", "--output", new],
    ["convert", "--to", "messages", "--output", old, "--force"],
    ["select", "--output", new],
    ["clean", "--steps", "guides", "--output", new],
    ["dedup", "--exact", "--output", new],
    ["split", "--parts", "train=0.5,test=0.5", "--output", str(folder / "parts")],
    ["mix", "--output", new],
]
if way == "read-only":  # the journal is elsewhere then
    verbs.append(["edit", "--row", "1", "--accept"])
for verb, *rest in verbs:
    code = main(["data", verb, str(source), *rest])
    left = sorted(one.name for one in folder.rglob("*") if one.is_file())
    print(verb, code, left, (folder / "old.jsonl").read_text() == "old\\n", source.read_bytes() == before, flush=True)
"""


@pytest.mark.parametrize("way", ["full", "read-only"])
def test_a_disk_that_takes_nothing(tmp_path: Path, way: str) -> None:
    """On a small disk of its own, in a namespace where mounting is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "out").mkdir()
    size = "40k" if way == "full" else "4m"
    command = f'mount -t tmpfs -o size={size} none "$0" && exec "$1" -c "$2" "$0" {way} "$3"'
    child = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, str(disk), sys.executable, _SAVING, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TUIWB_HOME": str(tmp_path / "home")},
    )
    if "unshare" in child.stderr or "mount:" in child.stderr:
        pytest.skip("no namespaces here")
    assert child.returncode == 0, child.stderr
    left = "['old.jsonl']" if way == "full" else "['old.jsonl', 'rows.jsonl']"
    said = [line.split(" ", 2) for line in child.stdout.splitlines() if line.endswith(" True True")]
    verbs = ["convert", "convert", "select", "clean", "dedup", "split", "mix", *(["edit"] * (way == "read-only"))]
    assert [verb for verb, _, _ in said] == verbs
    for verb, code, rest in said:
        assert (verb, code, rest) == (verb, "0" if verb == "edit" else "4", f"{left} True True")
    words = "No space left" if way == "full" else "Read-only file system"
    assert child.stderr.count(words) == 7
    assert "Traceback" not in child.stderr


_ENDLESS = """
import resource, sys
from tuiwb import data
with data.open(sys.argv[1]) as view:
    view.index()
    faults = [row.fault.code if row.fault else "" for row in view.rows(0, 9)]
    print(len(view), faults, len(view.raw(0, 100)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json"])
def test_a_line_of_two_gigabytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    start, end = {
        "rows.jsonl": (b'{"text": "', b'"}\n{"text": "b"}\n'),
        "rows.csv": (b"text,n\n", b"\nb,1\n"),
        "rows.json": (b'[{"text": "', b'"},\n{"text": "b"}]'),
    }[name]
    with path.open("wb") as file:
        file.write(start)
        for _ in range(2048):
            file.write(b"z" * (1 << 20))
        file.write(end)
    child = subprocess.run([sys.executable, "-c", _ENDLESS, str(path)], capture_output=True, text=True, check=True)
    count, *rest = child.stdout.split()
    assert (count, rest[:2]) == ("2", ["['row_too_long',", "'']"])
    assert int(rest[-1]) < 400
