"""Cleaning flags rows and changes nothing else: what stays is what stood there, and training sees exactly that."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb import data
from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data.clean import cache, lists, run
from tuiwb.data.clean.report import document, markdown
from tuiwb.data.clean.write import write, write_report
from tuiwb.data.edits import change
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.models import load_tokenizer
from tuiwb.recipe import DatasetEntry
from tuiwb.recipe import loads as recipe_loads

GUIDED: list[lists.Item] = [{"words": {"of": "example", "min": 4}}, "exact_duplicates"]


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows))
    return path


def row(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"instruction": question, "output": answer, **more}


ROWS: list[Any] = [
    row("What is the capital of France?", "It is Paris, as everybody knows."),
    row("Hi", "Hello"),
    row("what is the CAPITAL of france", "it is paris as everybody knows"),
    row("No answer to this question", ""),
    b'{"broken',
    row("Write to me at the office", "Mail bob@corp.com or alice@corp.com please."),
    row("What is the capital of Spain?", "It is Madrid, as everybody knows."),
]


def test_each_row_has_its_reason(tmp_path: Path) -> None:
    with data.open(jsonl(tmp_path / "rows.jsonl", ROWS)) as view:
        found = run.clean(view, lists.parse([*GUIDED, {"pii": {"kinds": ["email"]}}]))
        assert list(found.removals) == [1, 2, 3, 4]
        assert found.why(1) == "words: 2 words, less than 4 words"
        assert found.why(2) == "exact_duplicates: the same as row 0"
        assert found.removals[2].twin == 0
        assert (found.removals[3].step, found.removals[3].why) == (run.UNUSABLE, "the answer is empty")
        assert (found.why(0), found.why(3), found.kept, found.flagged) == (None, None, 3, 2)
        assert list(found.stay()) == [0, 5, 6]
        words, exact, pii = found.outcomes
        assert (words.looked, words.removed, exact.looked, exact.removed) == (5, 1, 4, 1)
        assert (pii.looked, pii.removed, pii.changed) == (3, 0, 1)
        assert [one.row for one in words.samples] == [1]


def test_near_misses_are_the_nearest(tmp_path: Path) -> None:
    rows = [row(f"q{n}", "word " * n) for n in range(1, 31)]
    with data.open(jsonl(tmp_path / "rows.jsonl", rows)) as view:
        (outcome,) = run.clean(view, lists.parse([{"words": {"max": 20}}])).outcomes
    assert outcome.removed == 10
    assert [one.row for one in outcome.near] == [19, 18, 17, 16, 15]
    assert outcome.near[0].why == "20 words"


def test_steps_see_what_those_before_have_left(tmp_path: Path) -> None:
    rows = [row("a question", "mail bob@corp.com"), row("a question", "mail <EMAIL>"), row("a question", "mail")]
    with data.open(jsonl(tmp_path / "rows.jsonl", rows)) as view:
        masked_first = run.clean(view, lists.parse([{"pii": {"kinds": ["email"]}}, "exact_duplicates"]))
        masked_last = run.clean(view, lists.parse(["exact_duplicates", {"pii": {"kinds": ["email"]}}]))
        dropped = run.clean(
            view, lists.parse(["exact_duplicates", {"regex": {"pattern": "EMAIL"}}, {"pii": {"kinds": ["email"]}}])
        )
    assert list(masked_first.removals) == [1]
    assert list(masked_last.removals) == []
    assert list(dropped.removals) == [1]


def test_training_sees_the_cleaned_view(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", ROWS)
    entry = DatasetEntry(path=str(path), steps=(*GUIDED, {"pii": {"kinds": ["email"]}}))
    with data.open(entry, task=Task()) as view:
        examples = list(view.examples())
        assert [one.id for one in examples] == [0, 5, 6]
        assert examples[1].messages is not None
        assert examples[1].messages[1]["content"] == "Mail <EMAIL> or <EMAIL> please."
        assert view.left_out(1) == "words: 2 words, less than 4 words"
        with pytest.raises(data.BadRow, match="left out: words"):
            view.example(view.row(1))
        assert view.raw(5) == orjson.dumps(ROWS[5])
        prints = {view.fingerprint, data.open(path).fingerprint}
        assert len(prints) == 2
        assert view.source_fingerprint in prints


def test_training_on_the_view_is_training_on_the_cleaned_file(tiny_model: Path, tmp_path: Path) -> None:
    path, target = jsonl(tmp_path / "rows.jsonl", ROWS), tmp_path / "cleaned.jsonl"
    items = (*GUIDED, {"pii": {"kinds": ["email"]}})
    with data.open(path) as view:
        write(view, run.clean(view, lists.parse(items)), target)
    tokenizer = load_tokenizer(tiny_model)
    entries = (DatasetEntry(path=str(path), steps=items), DatasetEntry(path=str(target)))
    cleaned, file = (prepare([one], tokenizer, tokenizer.template(), PrepareSettings()) for one in entries)
    assert cleaned.ids.tolist() == file.ids.tolist()
    assert [row for _, row in cleaned.rows.tolist()] == [0, 5, 6]
    dropped = {reason: (one["count"], one["row"]) for reason, one in cleaned.summary["dropped"].items()}
    assert dropped == {"left_out": (2, 1), "unusable": (2, 3)}
    assert "is left out: words: 2 words, less than 4 words" in cleaned.summary["problems"][0]


def test_what_was_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "rows.jsonl", ROWS)
    steps = lists.parse(GUIDED)
    first = cache.cleaned(data.open(path), steps)
    monkeypatch.setattr(cache, "clean", lambda *_: pytest.fail("judged again"))
    assert cache.cleaned(data.open(path), steps) == first
    monkeypatch.undo()
    jsonl(path, [*ROWS, ROWS[0]])
    assert len(cache.cleaned(data.open(path), steps).removals) == len(first.removals) + 1


def test_a_recipe_names_steps_beside_it(tmp_path: Path) -> None:
    (tmp_path / "clean.yaml").write_text("- words: {min: 2}\n")
    jsonl(tmp_path / "rows.jsonl", ROWS)
    text = "datasets:\n  - path: rows.jsonl\n    steps: [clean.yaml, {terms: {file: terms.txt}}]\n"
    recipe = recipe_loads(text, folder=tmp_path)
    assert recipe.datasets is not None
    assert recipe.datasets[0].steps == (str(tmp_path / "clean.yaml"), {"terms": {"file": str(tmp_path / "terms.txt")}})
    with pytest.raises(InputFault, match=r"terms\.txt.*cannot be read"):
        data.open(recipe.datasets[0], task=Task())
    (tmp_path / "terms.txt").write_text("paris\n")
    with data.open(recipe.datasets[0], task=Task()) as view:
        assert [one.id for one in view.examples()] == [5, 6]


def test_a_person_has_the_last_word(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", ROWS)
    steps = lists.parse(GUIDED)
    with data.open(path, journal=tmp_path / "rows.edits.jsonl", steps=steps) as view:
        assert view.journal is not None
        change(view, 1, lambda mark: replace(mark, verdict="accepted"))
        change(view, 0, lambda mark: replace(mark, verdict="rejected"))
        assert view.cleaned().why(0) == "rejected by hand"
        assert [one.id for one in view.examples()] == [
            1,
            2,
            5,
            6,
        ]  # the twin of a rejected row is the first of its kind


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
)


@given(
    st.lists(
        st.tuples(
            st.text(max_size=30),
            st.text(max_size=60),
            st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=2),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(
        [["guides"], ["strict"], ["exact_duplicates"], [{"words": {"max": 3}}], [{"pii": {"kinds": ["email"]}}]]
    ),
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_untouched_rows_stay_as_they_were(
    tmp_path: Path, made: list[tuple[str, str, dict[str, Any]]], items: list[lists.Item]
) -> None:
    rows = [{"prompt": prompt, "completion": answer, "meta": more} for prompt, answer, more in made]
    lines = [
        json.dumps(one, indent=None if n % 2 else 0, ensure_ascii=bool(n % 3)).replace("\n", " ")
        for n, one in enumerate(rows)
    ]
    path, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_bytes("".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass"))
    before = path.read_bytes()
    with data.open(path, name="prompt_completion") as view:
        found = run.clean(view, lists.parse(items))
        write(view, found, target, force=True)
        changed = {n for n in range(len(rows)) if found.outcomes and found.outcomes[-1].changed and "@" in lines[n]}
    assert path.read_bytes() == before
    written = target.read_bytes().split(b"\n")[:-1]
    stay = list(found.stay())
    assert len(written) == len(stay) == found.kept
    source = before.split(b"\n")
    for line, number in zip(written, stay, strict=True):
        if number not in changed:
            assert hashlib.sha256(line).digest() == hashlib.sha256(source[number]).digest()


def test_reports(tmp_path: Path) -> None:
    rows = [*ROWS, row("Mark | up", "`x` <b> \x1b[31m")]
    with data.open(jsonl(tmp_path / "rows.jsonl", rows)) as view:
        found = run.clean(view, lists.parse([*GUIDED, {"regex": {"pattern": "x"}}, {"pii": {"kinds": ["email"]}}]))
        told = document(view, found)
        assert [(one["row"], one["line"], one["step"]) for one in told["removals"]] == [
            (1, 2, "words"), (2, 3, "exact_duplicates"), (3, 4, "unusable"), (4, 5, "unusable"), (7, 8, "regex"),
        ]  # fmt: skip
        assert (told["rows"], told["kept"], told["removed"], told["unusable"]) == (8, 3, 3, 2)
        assert told["changes"] == [{"row": 5, "line": 6, "step": "pii"}]
        text = markdown(view, found)
        assert "| 2 | 3 | exact_duplicates | the same as row 0 |" in text
        assert "| 5 | 6 | pii |" in text
        assert "\x1b" not in text
        assert r"Mark \| up" in text
        write_report(view, found, tmp_path / "why.json")
        assert json.loads((tmp_path / "why.json").read_text()) == told
        with pytest.raises(UsageFault, match="there already"):
            write_report(view, found, tmp_path / "why.json")
        with pytest.raises(UsageFault, match="source itself"):
            write(view, found, view.path, force=True)


def test_it_can_be_cancelled_and_asked_again(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", ROWS)
    task = Task()
    view = data.open(path, steps=lists.parse(GUIDED))
    view.index()
    task.cancel()
    with pytest.raises(Cancelled):
        view.cleaned(task)
    assert view.cleaned().kept == 3
