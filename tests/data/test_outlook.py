"""What is said of the rows before a launch: what preparing says of them afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.data.outlook import outlook
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.models import Tokenizer, load_tokenizer
from tuiwb.recipe import DatasetEntry


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def written(path: Path, rows: list[dict[str, Any]]) -> DatasetEntry:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DatasetEntry(path=str(path))


@pytest.mark.parametrize(
    ("shape", "whole", "row"),
    [
        ("text", False, lambda n: chat("q" * n, "a" * (3 * n))),
        ("prompt", True, lambda n: {"prompt": "q" * (5 * n)}),
        ("pair", True, lambda n: {"prompt": "q", "chosen": "a" * (4 * n), "rejected": "b"}),
        ("judged", False, lambda n: {"prompt": "q", "completion": "a" * (4 * n), "label": n % 2 == 0}),
    ],
)
def test_few_rows_are_all_read_and_it_is_what_preparing_says(
    tokenizer: Tokenizer, tmp_path: Path, shape: Any, whole: bool, row: Any
) -> None:
    entry = written(tmp_path / "rows.jsonl", [row(n) for n in range(1, 41)])
    settings = PrepareSettings(shape=shape, whole=whole, max_length=64)
    found = outlook([entry], tokenizer, tokenizer.template(), settings, sample=100)
    prepared = prepare([entry], tokenizer, tokenizer.template(), settings)
    summary = prepared.summary
    assert found.findings
    assert [finding.message for finding in found.findings] == summary["problems"]
    assert (found.total, found.looked_at, found.examples) == (40, 40, summary["examples"])
    assert found.tokens == pytest.approx(summary["tokens"] / len(prepared.lengths()) / len(prepared.sides))
    assert found.longest > 64 >= max(prepared.lengths())


def test_tokens_that_would_have_been_trained_are_counted_where_they_are_lost(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = [chat("q", "short"), chat("q", "a" * 300), chat("a long question " * 30, "answer")]
    found = outlook([written(tmp_path / "rows.jsonl", rows)], tokenizer, tokenizer.template(),
                    PrepareSettings(max_length=64), sample=100)  # fmt: skip
    lost = prepare([tmp_path / "rows.jsonl"], tokenizer, tokenizer.template(), PrepareSettings(max_length=64)).summary
    cut, out = lost["truncated"]["trained_tokens"], lost["dropped"]["too_long"]["trained_tokens"]
    assert cut > 200
    assert out > 5
    said = {finding.code: finding.message for finding in found.findings}
    whole = cut + lost["trained_tokens"]
    assert f"which loses {cut:,} of {whole:,} trained tokens ({cut / whole:.1%})" in said["truncated"]
    assert f"1 of 3 rows are left out, and {out} trained tokens with them; the first, row 2" in said["too_long"]


def test_of_many_rows_a_sample_is_read_and_called_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    small = written(tmp_path / "small.jsonl", [chat("q", f"short {n}") for n in range(30)])
    large = written(tmp_path / "large.jsonl", [chat("q", f"{n} " * (40 if n % 4 else 1)) for n in range(3000)])
    found = outlook([small, large], tokenizer, tokenizer.template(), PrepareSettings(max_length=48), sample=200)
    assert found.total == 3030
    assert 200 <= found.looked_at <= 230, "all of the small one, which is one in a hundred, and 198 of the other"
    assert not found.whole
    assert found.examples == 3030
    (cut,) = [finding for finding in found.findings if finding.code == "truncated"]
    assert f"of a sample of {found.looked_at} (of 3,030) rows are longer" in cut.message
    again = outlook([small, large], tokenizer, tokenizer.template(), PrepareSettings(max_length=48), sample=200)
    assert again == found, "the same rows each time"


def test_answers_that_are_all_the_same_are_told(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def codes(rows: list[dict[str, Any]], **settings: Any) -> list[str]:
        entry = written(tmp_path / "rows.jsonl", rows)
        found = outlook([entry], tokenizer, tokenizer.template(), PrepareSettings(**settings), sample=100)
        return [finding.code for finding in found.findings]

    same = [chat(f"question {n}", "yes") for n in range(9)]
    assert codes(same) == ["one_answer"]
    assert codes([*same, chat("another", "no")]) == [], "two classes can be told apart"
    assert codes(same[:1]) == []
    judged = [{"prompt": f"question {n}", "completion": "yes", "label": n % 2 == 0} for n in range(9)]
    assert codes(judged, shape="judged") == [], "the same answer may be good here and bad there"
    assert codes([{"prompt": "q"}] * 9, shape="prompt") == []
