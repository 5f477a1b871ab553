"""Whatever is done to a dataset: the source keeps every byte, and every row that was not changed itself is written with
the very bytes that it has in the source. Each operation is tried on rows that hypothesis makes."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tuiwb.base.tasks import Task
from tuiwb.cli.main import main
from tuiwb.data.clean import lists, semantic
from tuiwb.data.clean.repair import Repair

STEPS: dict[str, dict[str, Any]] = {
    "words": {"min": 2},
    "characters": {"max": 40},
    "tokens": {"max": 30, "model": "{model}"},
    "urls": {},
    "digits": {},
    "symbols": {},
    "repetition": {},
    "language": {"keep": ["en"], "least": 10},
    "pii": {},
    "terms": {"file": "{folder}/terms.txt"},
    "refusals": {},
    "regex": {"pattern": "a"},
    "problems": {"codes": ["control_characters", "truncated_answer"]},
    "repair": {},
    "exact_duplicates": {},
    "near_duplicates": {"threshold": "loose"},
    "contamination": {"against": ["{folder}/other.jsonl"], "n": 2},
    "semantic_duplicates": {"model": "{model}", "threshold": 0.8},
    "semantic_contamination": {"against": ["{folder}/other.jsonl"], "model": "{model}", "threshold": 0.8},
}
WRITE = ["select", "{rows}", "--output", "{out}"]
WRITE_EDITED = [*WRITE, "--journal", "{rows}.edits.jsonl"]
EDITS = [
    ["--accept"],
    ["--reject"],
    ["--tag", "one,two"],
    ["--rate", "4"],
    ["--set", '{"completion": "by hand"}'],
    ["--replace", '{"id": 1, "prompt": "p", "completion": "by hand"}'],
    ["--prefer", "0"],
]
EDIT = ["edit", "{rows}", "--row", "1"]
UNDO = ["edit", "{rows}", "--undo"]
OPERATIONS: dict[str, list[list[str]]] = {
    **{
        f"clean {name}": [["clean", "{rows}", "--steps", f"{{folder}}/{name}.json", "--output", "{out}"]]
        for name in STEPS
    },
    **{f"preset {name}": [["clean", "{rows}", "--steps", name, "--output", "{out}"]] for name in lists.PRESETS},
    "dedup": [["dedup", "{rows}", "--threshold", "0.5", "--output", "{out}"]],
    "dedup across files": [["dedup", "{rows}", "--exact", "--against", "{folder}/other.jsonl", "--output", "{out}"]],
    "contamination": [
        ["contamination", "{rows}", "--n", "2", "--against", "{folder}/other.jsonl", "--output", "{out}"]
    ],
    "export": [WRITE],
    "export found": [[*WRITE, "--where", "a"]],
    "export sorted": [[*WRITE, "--sort", "completion", "--descending"]],
    "export drawn": [[*WRITE, "--sample", "3"]],
    "split": [["split", "{rows}", "--parts", "a=0.5,b=0.5", "--stratify", "kind", "--output", "{parts}"]],
    "split by group": [["split", "{rows}", "--group", "same-prompt", "--output", "{parts}"]],
    "split by likeness": [["split", "{rows}", "--group", "near", "--output", "{parts}"]],
    "mix": [["mix", "{rows}=60%", "{folder}/other.jsonl", "--output", "{out}"]],
    "convert": [["convert", "{rows}", "--to", "prompt_completion", "--output", "{out}"]],
    **{f"edit {words[0]}": [[*EDIT, *words], WRITE_EDITED] for words in EDITS},
    **{f"undo {words[0]}": [[*EDIT, *words], UNDO, WRITE_EDITED] for words in EDITS},
    "redo": [[*EDIT, *EDITS[4]], UNDO, ["edit", "{rows}", "--redo"], WRITE_EDITED],
    "restore": [[*EDIT, *EDITS[4]], [*EDIT, "--restore"], WRITE_EDITED],
    "inspect": [["inspect", "{rows}"], WRITE],
}  # fmt: skip
"""What is done, as verbs; what they write is compared with the source."""

BY_HAND = ("edit --set", "edit --replace", "redo")
"""Row 1 is another then."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["write to a@b.org or 10.11.12.13", "see https://x.org/a", "I'm sorry, but I cannot help with that.", "a a a a a"]
)
NUMBERS = st.sampled_from(["1.50", "1E3", "-0.0", "12345678901234567890", "0.1e-7", "[1,  2]", '{"b":1,"a":2}', "null"])


@st.composite
def written(draw: st.DrawFn) -> str:
    """A row as somebody may have written it: numbers, spaces and escapes that no writer of ours would choose."""
    parts = {
        "prompt": json.dumps(draw(TEXT), ensure_ascii=draw(st.booleans())),
        "completion": json.dumps(draw(TEXT), ensure_ascii=draw(st.booleans())),
        "kind": draw(st.sampled_from(['"x"', '"y"'])),
        "odd": draw(NUMBERS),
    }
    space = draw(st.sampled_from(["", " ", "  "]))
    names = draw(st.permutations(list(parts)))
    return f"{space},{space}".join(f'"{name}"{space}:{space}{parts[name]}' for name in names)


def rows_of(made: list[str]) -> list[bytes]:
    return [f'{{"id": {number}, {row}}}'.encode() for number, row in enumerate(made)]


def put_right(row: dict[str, Any]) -> dict[str, Any]:
    change = Repair().change()
    assert change is not None
    return change(row)


def test_every_step_is_tried() -> None:
    assert set(STEPS) == set(lists.STEPS)


def some_vectors(texts: Sequence[str], model: str, task: Task) -> Any:
    """In place of a model's, which take seconds: some texts are close, and most are not."""
    found = np.array([[len(text) % 3, len(text) % 5, 1] for text in texts], np.float32).reshape(-1, 3)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "vectors", some_vectors)


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(
    max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=st.lists(written(), min_size=2, max_size=12), array=st.booleans())
def test_what_was_not_changed_keeps_its_bytes(
    tmp_path: Path, tiny_model: Path, operation: str, array: bool, made: list[str]
) -> None:
    folder = tmp_path / "here"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines = rows_of(made)
    rows = folder / ("rows.json" if array else "rows.jsonl")
    rows.write_bytes(b"[" + b",\n ".join(lines) + b"]" if array else b"\n".join(lines) + b"\n")
    other = b'{"id": 1000, "prompt": "a a a", "completion": "b"}'
    (folder / "other.jsonl").write_bytes(other + b"\n")
    (folder / "terms.txt").write_text("sorry\n")
    places = {
        "rows": rows,
        "folder": folder,
        "out": folder / "out.jsonl",
        "parts": folder / "parts",
        "model": tiny_model,
    }

    def placed(text: str) -> str:
        for name, value in places.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    for name, how in STEPS.items():
        (folder / f"{name}.json").write_text(placed(json.dumps([{name: how}])))
    before = rows.read_bytes()
    for words in OPERATIONS[operation]:
        assert main(["data", words[0], *map(placed, words[1:]), "--format", "prompt_completion"]) in (0, 2, 3)
    assert rows.read_bytes() == before
    outputs = [*folder.glob("out.jsonl"), *folder.glob("parts/*")]
    seen: list[int] = []
    for line in b"".join(output.read_bytes() for output in outputs).splitlines():
        number = json.loads(line)["id"]
        seen.append(number)
        by_hand = operation in BY_HAND and number == 1
        masked = operation in ("clean pii",) and b"a@b.org" in lines[number]
        if operation == "clean repair" and number != 1000:
            masked = put_right(json.loads(lines[number])) != json.loads(lines[number])
        if by_hand or masked:
            assert line != lines[number]
        else:
            source = other if number == 1000 else lines[number]
            assert hashlib.sha256(line).digest() == hashlib.sha256(source).digest()
    if operation in ("export", "export sorted", "inspect", "redo", "restore") or operation.startswith("undo"):
        assert sorted(seen) == list(range(len(lines)))
    if operation != "mix":
        assert len(seen) == len(set(seen))
