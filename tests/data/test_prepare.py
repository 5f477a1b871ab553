"""The prepared cache: what is in it, what is left out and why, and that it is made once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.settings import cache_root
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data.example import Example
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.data.prepared import Prepared
from tuiwb.data.render import render
from tuiwb.models import Tokenizer, load_tokenizer
from tuiwb.recipe import DatasetEntry


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(path: Path | list[DatasetEntry], tokenizer: Tokenizer, **settings: Any) -> Prepared:
    entries = [DatasetEntry(path=str(path))] if isinstance(path, Path) else path
    return prepare(entries, tokenizer, tokenizer.template(), PrepareSettings(**settings))


def test_each_row_is_exactly_what_render_shows(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [chat(f"Question {n}" * (n % 5 + 1), f"Answer {n} " * (n % 7 + 1)) for n in range(1300)]
    prepared = run(write(tmp_path / "rows.jsonl", rows), tokenizer, max_length=90)
    assert len(prepared) == 1300
    for number in (0, 1, 7, 8, 511, 512, 513, 1024, 1299):
        example = Example(id=number, messages=rows[number]["messages"])
        expected = render(example, tokenizer, tokenizer.template(), max_length=90)
        ids, mask = prepared.sequence(number)
        assert ids.tolist() == expected.ids
        assert mask.tolist() == expected.mask
        assert prepared.rows[number].tolist() == [0, number]
    assert prepared.summary["trained_tokens"] == sum(int(prepared.sequence(n)[1].sum()) for n in range(1300))
    assert prepared.summary["tokens"] == len(prepared.ids) == int(prepared.lengths().sum())


def test_the_same_input_is_encoded_once(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("q", "a")])
    first = run(path, tokenizer)
    stamp = first.path.stat().st_mtime_ns
    assert first.path.parent == cache_root() / "prepared"
    assert run(path, tokenizer).path.stat().st_mtime_ns == stamp
    other = [run(path, tokenizer, max_length=90), run(path, tokenizer, train_on_eos="none")]
    write(path, [chat("q", "b")])
    other.append(run(path, tokenizer))
    assert len({first.fingerprint, *(prepared.fingerprint for prepared in other)}) == 4
    assert not [entry.name for entry in first.path.parent.iterdir() if entry.name.startswith(".")]


def test_rows_are_left_out_with_a_reason_and_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        chat("q", "a"),
        chat("very long question " * 20, "never seen"),
        {"messages": [{"role": "user", "content": "no answer"}]},
        chat("q", "long answer " * 50),
    ]
    prepared = run(write(tmp_path / "rows.jsonl", rows), tokenizer, max_length=64)
    dropped = prepared.summary["dropped"]
    assert {reason: (found["count"], found["row"]) for reason, found in dropped.items()} == {
        "too_long": (1, 1),
        "untrained": (1, 2),
    }
    assert prepared.summary["truncated"]["rows"] == 1
    assert prepared.summary["truncated"]["trained_tokens"] > 100
    assert prepared.rows[:, 1].tolist() == [0, 3]
    assert any("has no turn that is trained" in problem for problem in prepared.summary["problems"])


def test_no_trained_token_is_an_error_with_the_count_and_the_first_row(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "alone"}]}] * 3
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputFault, match=r"none of the 3 rows .*rows.jsonl, row 0 \(line 1\), has no turn") as caught:
        run(path, tokenizer)
    assert caught.value.key == "datasets"
    assert not list((cache_root() / "prepared").glob("*"))


def test_a_template_that_refuses_a_row(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [chat("q", "a"), {"messages": [{"role": "system", "content": "s"}, *chat("q", "a")["messages"]]}]
    path = write(tmp_path / "rows.jsonl", rows)
    strict = tokenizer.template(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + (tokenizer.chat_template or "")
    )
    prepared = prepare([path], tokenizer, strict, PrepareSettings())
    assert prepared.summary["dropped"]["refused"]["count"] == 1
    assert "no system role" in prepared.summary["dropped"]["refused"]["why"]


def test_problems_that_would_be_silent(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", "b")])
    prepared = run(path, tokenizer, train_on_eos="none")
    assert any("2 rows end without a trained stop token" in problem for problem in prepared.summary["problems"])
    template = tokenizer.template("{{ '<|im_start|><|im_start|>' }}" + (tokenizer.chat_template or ""))
    twice = prepare([path], tokenizer, template, PrepareSettings())
    assert any("begin with two <|im_start|>" in problem for problem in twice.summary["problems"])
    deaf = tokenizer.template(
        "{% for m in messages if m.role != 'system' %}{{ m.role + m.content + '<|im_end|>' }}{% endfor %}"
    )
    write(path, [{"messages": [{"role": "system", "content": "s"}, *chat("q", "a")["messages"]]}])
    unseen = prepare([path], tokenizer, deaf, PrepareSettings())
    assert any("role system that the chat template leaves out" in problem for problem in unseen.summary["problems"])
    ids = write(tmp_path / "ids.jsonl", [{"input_ids": [5, 6, 7], "labels": [-100, -100, 7]} for _ in range(3)])
    alone = f"every trained token is {tokenizer.token(7)}: the model would learn to write nothing else"
    assert alone in run(ids, tokenizer).summary["problems"]
    write(ids, [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}])
    assert not [problem for problem in run(ids, tokenizer).summary["problems"] if "every trained token" in problem]


def test_weights_make_a_mixture(tokenizer: Tokenizer, tmp_path: Path) -> None:
    small = write(tmp_path / "small.jsonl", [chat("s", str(n)) for n in range(10)])
    large = write(tmp_path / "large.jsonl", [chat("l", str(n)) for n in range(90)])
    plain = run([DatasetEntry(path=str(small)), DatasetEntry(path=str(large))], tokenizer)
    assert plain.order.tolist() == list(range(100))
    mixed = run([DatasetEntry(path=str(small), weight=1), DatasetEntry(path=str(large), weight=3)], tokenizer)
    assert np.bincount(mixed.rows[mixed.order][:, 0]).tolist() == [25, 75]
    counts = np.bincount(mixed.order, minlength=100)
    assert set(counts[:10].tolist()) == {2, 3}
    assert set(counts[10:].tolist()) == {0, 1}


def test_holding_out_rows_never_trains_on_them(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("q", str(n)) for n in range(50)])
    twice = [
        DatasetEntry(path=str(path), weight=1),
        DatasetEntry(path=str(write(tmp_path / "b.jsonl", [chat("b", "b")])), weight=1),
    ]
    prepared = run(twice, tokenizer)
    train, held = prepared.split(0.2, seed=1)
    assert not set(train.tolist()) & set(held.tolist())
    assert set(train.tolist()) | set(held.tolist()) == set(prepared.order.tolist())
    again, other = prepared.split(0.2, seed=1)[1], prepared.split(0.2, seed=2)[1]
    assert held.tolist() == again.tolist() != other.tolist()
    everything, nothing = prepared.split(0.0, seed=1)
    assert (len(everything), len(nothing)) == (len(prepared), 0)


def test_pairs_have_two_sequences_a_row(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Which?", "chosen": "This one.", "rejected": "That one."},
        {"prompt": "Which?", "chosen": "Same.", "rejected": "Same."},
    ]
    prepared = run(write(tmp_path / "pairs.jsonl", rows), tokenizer, shape="pair")
    assert prepared.sides == ("chosen", "rejected")
    assert len(prepared) == 1
    texts = [tokenizer.decode(ids[mask].tolist()) for ids, mask in (prepared.sequence(0, 0), prepared.sequence(0, 1))]
    assert [text.split("<")[0] for text in texts] == ["This one.", "That one."]
    with pytest.raises(InputFault, match="hold no pair"):
        run(write(tmp_path / "chat.jsonl", [chat("q", "a")]), tokenizer, shape="pair")
    with pytest.raises(InputFault, match="rows of the kind preference"):
        run(write(tmp_path / "pair.jsonl", rows[:1]), tokenizer)


def test_prompts_end_with_the_question(tokenizer: Tokenizer, tmp_path: Path) -> None:
    prepared = run(write(tmp_path / "rows.jsonl", [chat("q", "a")]), tokenizer, shape="prompt")
    ids, mask = prepared.sequence(0)
    assert tokenizer.decode(ids.tolist()).endswith("q<|im_end|>\n<|im_start|>assistant\n")
    assert not mask.any()


def test_a_cancelled_preparation_leaves_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("q", "a")] * 2000)

    class Impatient(Task):
        def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
            if doing == "preparing" and done:
                self.cancel()
            super().step(doing, done, total, unit)

    with pytest.raises(Cancelled):
        prepare([path], tokenizer, tokenizer.template(), PrepareSettings(), task=Impatient())
    assert not list((cache_root() / "prepared").iterdir())


def test_a_damaged_folder_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    prepared = run(write(tmp_path / "rows.jsonl", [chat("q", "a")]), tokenizer)
    (prepared.path / "ids.npy").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="damaged; delete this folder"):
        Prepared.open(prepared.path)
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        Prepared.open(tmp_path / "nowhere")
