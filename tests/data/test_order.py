"""Sorting, sampling, conditions on marks, splitting, mixing, measuring: what comes out is what was asked for."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuiwb import data, models
from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.data import declared, edits, journal, measure
from tuiwb.data.language import language_of
from tuiwb.data.mixture import mix
from tuiwb.data.order import ordered, sampled
from tuiwb.data.partition import _share_out, partition, shares
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.data.query import matching, parse
from tuiwb.data.render import Renderer


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def asked(n: int, said: str = "c", **more: Any) -> dict[str, Any]:
    return {"prompt": f"p{n}", "completion": said, **more}


def test_sorting_by_number_text_and_length(tmp_path: Path) -> None:
    scores: list[Any] = [3, 1.5, None, "b", "A", 1.5, -2, "a longer text than is compared by and on"]
    rows: list[Any] = [asked(n, "x" * (50 - n), score=score) for n, score in enumerate(scores)]
    view = data.open(write(tmp_path / "rows.jsonl", rows))
    assert ordered(view, "score").tolist() == [6, 1, 5, 0, 4, 7, 3, 2]
    assert ordered(view, "score", descending=True).tolist() == [0, 1, 5, 6, 3, 7, 4, 2]
    assert ordered(view, "length").tolist()[0] == 6
    assert ordered(view, "score", among=np.array([3, 0, 6])).tolist() == [6, 0, 3]
    with pytest.raises(UsageFault, match="did you mean score"):
        ordered(view, "scor")


def test_a_sample_is_seeded_and_within(tmp_path: Path) -> None:
    view = data.open(write(tmp_path / "rows.jsonl", [asked(n) for n in range(100)]))
    once = sampled(view, 10, seed=1)
    assert once.tolist() == sampled(view, 10, seed=1).tolist() == sorted(set(once.tolist()))
    assert once.tolist() != sampled(view, 10, seed=2).tolist()
    assert set(sampled(view, 3, among=np.array([5, 6, 7, 8])).tolist()) <= {5, 6, 7, 8}
    assert len(sampled(view, 1000)) == 100


def test_conditions_on_marks_and_several_at_once(tmp_path: Path) -> None:
    view = data.open(write(tmp_path / "rows.jsonl", [asked(n, size=n) for n in range(10)]), editable=True)
    edits.change(view, 1, journal.verdict("rejected"))
    edits.change(view, 2, journal.tags(("check",)))
    edits.change(view, 3, journal.rating(5))
    edits.correct(view, 4, asked(4, "other words"))

    def found(text: str) -> list[int]:
        return matching(view, parse(text, view.columns, view.mark)).tolist()

    assert found("is:rejected") == [1]
    assert found("is:marked") == [1, 2, 3, 4]
    assert found("is:edited") == found("other words") == [4]
    assert found("tag:check") == [2]
    assert found("rating>=4") == [3]
    assert found("size>1 & size<4") == [2, 3]
    assert found("size>1 & is:marked & prompt:p3") == [3]
    with pytest.raises(UsageFault, match="is:odd"):
        found("is:odd")


def test_shares_as_they_are_typed() -> None:
    assert shares("train=0.8,test=10%,eval=rest") == pytest.approx({"train": 0.8, "test": 0.1, "eval": 0.1})
    for wrong in ("train", "train=x", "a=0.5,b=0.6", "a=0.5", "a=1,b=rest", "../x=1", "a=0.5,a=0.5"):
        with pytest.raises(UsageFault):
            shares(wrong)


@settings(max_examples=60, deadline=None)
@given(
    strata=st.lists(st.integers(0, 3), min_size=1, max_size=120),
    groups=st.none() | st.integers(1, 30),
    wanted=st.sampled_from([[0.9, 0.1], [0.5, 0.3, 0.2], [1.0]]),
    seed=st.integers(0, 5),
)
def test_no_group_is_cut_and_shares_are_met(
    strata: list[int], groups: int | None, wanted: list[float], seed: int
) -> None:
    of = np.asarray(strata, np.int64)
    group = None if groups is None else np.unique(np.arange(len(of)) % groups, return_inverse=True)[1]
    part = _share_out(of, group, wanted, seed)
    assert part.tolist() == _share_out(of, group, wanted, seed).tolist()
    if group is None:
        for stratum in np.unique(of):
            size = int((of == stratum).sum())
            for number, share in enumerate(wanted):
                assert abs(int(((part == number) & (of == stratum)).sum()) - share * size) <= 1
    else:
        assert all(len(set(part[group == number].tolist())) == 1 for number in np.unique(group))


def test_parts_share_no_row_and_leave_out_what_cannot_be_trained_on(tmp_path: Path) -> None:
    rows: list[Any] = [asked(n // 2, f"c{n}", kind="ab"[n % 4 == 0]) for n in range(200)]
    rows[7] = '{"prompt": "half'
    view = data.open(write(tmp_path / "rows.jsonl", rows), editable=True)
    edits.change(view, 9, journal.verdict("rejected"))
    found = partition(view, {"train": 0.8, "test": 0.2}, stratify="kind", group="same-prompt")
    train, test = found.parts["train"].tolist(), found.parts["test"].tolist()
    assert found.left_out == 2
    assert sorted([*train, *test]) == [n for n in range(200) if n not in (7, 9)]
    prompts = [{json.loads(view.raw(n))["prompt"] for n in part} for part in (train, test)]
    assert not prompts[0] & prompts[1]
    assert 30 <= len(test) <= 50
    with pytest.raises(UsageFault, match="no column 'nothing'"):
        partition(view, {"a": 1.0}, stratify="nothing")


def test_a_mixture_has_the_shares_that_prepare_trains_on(tmp_path: Path, tiny_model: Path) -> None:
    mine = data.open(write(tmp_path / "mine.jsonl", [asked(n, f"c{n}") for n in range(80)]))
    general = data.open(write(tmp_path / "general.jsonl", [asked(n, f"g{n}") for n in range(40)]))
    found = mix([mine, general], [None, 0.1])
    assert [source.examples for source in found.sources] == [108, 12]
    assert found.sources[0].repeats == pytest.approx(108 / 80)
    tokenizer = models.load_tokenizer(tiny_model)
    from tuiwb.recipe import DatasetEntry

    entries = [
        DatasetEntry(path=str(view.path), weight=weight)
        for view, weight in zip((mine, general), found.weights, strict=True)
    ]
    made = prepare(entries, tokenizer, None, PrepareSettings(), root=tmp_path / "prepared")
    sources = made.rows[made.order]
    assert sources.tolist() == found.rows.tolist()
    capped = mix([mine, general], [None, 0.9], max_repeats=1.5)
    assert capped.sources[1].repeats <= 1.5 + 1e-9
    assert [source.examples for source in mix([mine, general], [None, None]).sources] == [80, 40]
    with pytest.raises(UsageFault, match="add up to"):
        mix([mine, general], [0.5, 0.2])


def test_the_charts_hold_every_row_once_and_the_cut_is_that_of_training(tmp_path: Path, tiny_model: Path) -> None:
    rows = [asked(n, "many words " * (n % 23), source=f"s{n % 3}") for n in range(1, 151)]
    view = data.open(write(tmp_path / "rows.jsonl", rows))
    tokenizer = models.load_tokenizer(tiny_model)
    found = measure.measure(view, Renderer(tokenizer, None, max_length=90))
    assert found.whole
    usable = set(found.rows.tolist())
    for which in measure.CHARTS:
        bars = measure.chart(found, which).bars
        assert bars
        assert sorted(itertools.chain(*(bar.rows.tolist() for bar in bars))) == sorted(usable)
    made = prepare([str(view.path)], tokenizer, None, PrepareSettings(max_length=90), root=tmp_path / "prepared")
    cut = made.summary["truncated"]
    kept = np.isin(found.rows, made.rows[:, 1])
    assert int((found.cut[kept] > 0).sum()) == cut["rows"]
    assert int(found.cut[kept].sum()) == cut["tokens"]
    assert int(found.cut_trained[kept].sum()) == cut["trained_tokens"]
    assert int(found.trained[kept].sum()) == made.summary["trained_tokens"]
    assert f"{int(found.cut.sum()):,} tokens lost" in measure.chart(found, "cut").note
    few = measure.measure(view, None, measure.sample_rows(view, 20))
    assert (few.unit, few.whole) == ("characters", False)
    assert 10 <= len(few.rows) <= 20
    assert f"a sample of {len(few.rows)} rows" in measure.chart(few, "turns").note


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France, and how do you get there by train?", "English"),
        ("Wie heißt die Hauptstadt von Frankreich und wie kommt man mit dem Zug dorthin?", "German"),
        ("¿Cuál es la capital de Francia y cómo se llega en tren desde la ciudad?", "Spanish"),
        ("フランスの首都はどこですか。教えてください。", "Japanese"),
        ("法国的首都是哪里？请告诉我。", "Chinese"),
        ("Какая столица Франции и как туда доехать?", "Russian"),
        ("42 + 1 = 43", "short"),
        ("def add(x, y): return x + y; assert add(1, 2)", "other"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


def test_what_llama_factory_says_of_a_file_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "mine.jsonl", [{"q": "a", "a": "b"}] * 3)
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    write(tmp_path / "chat.jsonl", [{"talk": turns, "sys": "be kind"}] * 3)
    info = {
        "mine": {"file_name": "mine.jsonl", "columns": {"prompt": "q", "response": "a"}},
        "chat": {
            "file_name": "chat.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "talk", "system": "sys"},
            "tags": {"role_tag": "from", "content_tag": "value"},
        },
        "odd": {"file_name": "odd.jsonl", "formatting": "sharegpt", "tags": {"role_tag": "who"}},
        "far": {"hf_hub_url": "someone/things"},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    view = data.open(tmp_path / "mine.jsonl")
    assert (view.format.name, dict(view.format.columns)) == ("alpaca", {"instruction": "q", "output": "a"})
    chat = data.open(f"{tmp_path}/dataset_info.json:chat")
    example = chat.example(chat.row(0))
    assert [turn["role"] for turn in example.messages or ()] == ["system", "user", "assistant"]
    for text, says in ((":odd", "role_tag 'who'"), (":chta", "did you mean chat"), ("", "mine, chat, odd, far")):
        with pytest.raises(InputFault, match=says):
            data.open(f"{tmp_path}/dataset_info.json{text}")


def test_axolotls_types(tmp_path: Path) -> None:
    assert declared.of_axolotl("alpaca_chat.load_qa") == ("qa", {"question": "question", "answer": "answer"})
    assert declared.of_axolotl("chat_template")[0] == "messages"
    assert declared.of_axolotl("alpaca") == ("alpaca", {})
    assert declared.of_axolotl("no such type") == ("no such type", {})
    assert declared.of_axolotl("input_output") == ("text", {"text": "segments"})
    with pytest.raises(InputFault, match="context_qa"):
        declared.of_axolotl("context_qa.load_v2")
