"""Prompts of an evaluation are found where they stand, whole or edited, and nowhere else."""

import json
import random
from pathlib import Path

from tuiwb import data
from tuiwb.data.clean.compare import Contamination
from tuiwb.data.clean.contamination import Prompts
from tuiwb.data.clean.run import clean
from tuiwb.data.clean.words import normalise

DRAW = random.Random(3)
VOCABULARY = [f"word{n}" for n in range(3000)]


def sentence(words: int) -> str:
    return " ".join(DRAW.choices(VOCABULARY, k=words))


def edited(text: str, share: float) -> str:
    words = text.split()
    for place in DRAW.sample(range(len(words)), max(1, round(share * len(words)))):
        words[place] = DRAW.choice(VOCABULARY)
    return " ".join(words)


def test_leaks_are_found_and_clean_rows_are_not() -> None:
    prompts = [sentence(DRAW.randrange(20, 80)) for _ in range(200)]
    clean_rows = [sentence(100) for _ in range(500)]
    verbatim = [f"{sentence(30)} {prompt.upper()}! {sentence(30)}" for prompt in prompts[:50]]
    lightly = [f"{sentence(10)} {edited(prompt, 0.05)}" for prompt in prompts[50:100]]
    found = Prompts(prompts).look([normalise(text) for text in (*clean_rows, *verbatim, *lightly)])
    best = {match.row: match for match in found if match.cover >= 0.5}
    assert sorted(best) == list(range(500, 600))
    assert all(best[500 + n].prompt == n for n in range(100))
    assert all(best[500 + n].cover == 1 for n in range(50))


def test_coverage_counts_words_once() -> None:
    words = [f"w{n}" for n in range(20)]
    (match,) = Prompts([" ".join(words)], 4).look([normalise(" ".join([*words[:6], "x", *words[10:15]]))])
    assert match.cover == (6 + 5) / 20


def test_the_template_of_an_evaluation_is_no_leak() -> None:
    frame = "answer the following question with one letter and nothing else please now"
    prompts = [f"{frame} {sentence(15)}" for _ in range(100)]
    rows = [normalise(f"{frame} {sentence(20)}"), normalise(prompts[7])]
    assert [(match.row, match.prompt) for match in Prompts(prompts).look(rows) if match.cover >= 0.3] == [(1, 7)]


def test_rows_of_files(tmp_path: Path) -> None:
    long = sentence(40)
    rows = [
        {"prompt": "Capital of France?", "completion": "Paris."},
        {"prompt": "Tell me the capital of France?", "completion": "Paris."},
        {"prompt": f"Now: {long}", "completion": "yes"},
        {"prompt": "other", "completion": f"You mean {long}"},
        {"prompt": "clean", "completion": sentence(40)},
    ]
    train, other = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other.write_text(
        "".join(json.dumps({"question": text, "answer": "a"}) + "\n" for text in (long, "capital of france"))
    )
    with data.open(train) as view:
        found = clean(view, (Contamination(against=(str(other),)),))
    assert {(one.row, one.twin) for one in found.removals.values()} == {(0, 1), (2, 0), (3, 0)}
    assert found.removals[3].why == "holds 100% of the prompt in row 0 of eval.jsonl"
