"""Near-duplicates are those of the definition: true Jaccard, one survivor in each cluster, no chains."""

import random
import re
import unicodedata
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuiwb import data
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data.clean.clusters import clusters, difference
from tuiwb.data.clean.compare import ExactDuplicates, NearDuplicates, digest
from tuiwb.data.clean.minhash import bands_for, jaccard, shingles, twins
from tuiwb.data.clean.run import clean
from tuiwb.data.clean.words import grams, normalise, words


def sets_of(texts: list[str]) -> list[set[tuple[str, ...]]]:
    """The definition: runs of three words of the text in NFKC and small letters."""
    found = []
    for text in texts:
        one = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
        found.append({tuple(one[n : n + 3]) for n in range(len(one) - 2)} if len(one) > 2 else {tuple(one)} - {()})
    return found


def similarity(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def greedy(texts: list[str], threshold: float) -> set[int]:
    """The reference: a text is left out when it is like an earlier one that stays."""
    sets, stay, out = sets_of(texts), [], set()
    for number, mine in enumerate(sets):
        if mine and any(similarity(sets[other], mine) >= threshold for other in stay):
            out.add(number)
        else:
            stay.append(number)
    return out


def corpus(seed: int, rows: int) -> list[str]:
    """Texts of which many are edits of earlier ones, lightly and heavily."""
    draw = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(800)]
    texts: list[str] = []
    for _ in range(rows):
        if texts and draw.random() < 0.5:
            words_ = draw.choice(texts).split()
            for _ in range(draw.choice((0, 1, 2, 4, 8, 16))):
                words_[draw.randrange(len(words_))] = draw.choice(vocabulary)
        else:
            words_ = draw.choices(vocabulary, k=draw.choice((5, 30, 80)))
        texts.append(" ".join(words_))
    return texts


def rows_file(path: Path, texts: list[str]) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return path


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["M", "Cs"]), max_size=40), max_size=6))
@settings(max_examples=150, deadline=None)
def test_words_are_those_of_the_definition(texts: list[str]) -> None:
    of = words([normalise(text) for text in texts])
    expected = [normalise(text).split() for text in texts]
    assert of.counts.tolist() == [len(one) for one in expected]
    flat = [word for one in expected for word in one]
    by_hash = dict(zip(of.hashes.tolist(), flat, strict=True))
    assert [by_hash[value] for value in of.hashes.tolist()] == flat
    assert len(by_hash) == len(set(flat))
    for text, found in zip(texts, expected, strict=True):
        if text.isascii():
            assert b" ".join(found).decode() == " ".join(re.findall(r"\w+", text.lower()))


def test_scripts_without_spaces_have_a_word_a_character() -> None:
    assert normalise("你好，世界").split() == [character.encode() for character in "你好世界"]
    assert normalise("ＦＵＬＬ　Straße—Δ") == "full straße δ".encode()


def test_runs_do_not_cross_texts() -> None:
    of = words([b"a b c", b"", b"a b", b"b c d e"])
    hashes, begins = grams(of, 3)
    assert begins.tolist() == [0, 5, 6]
    assert len(set(hashes.tolist())) == 3


def test_true_jaccard() -> None:
    texts = corpus(1, 60)
    sets = shingles([normalise(text) for text in texts])
    reference = sets_of(texts)
    one, other = (grid.ravel() for grid in np.meshgrid(np.arange(60), np.arange(60)))
    expected = [similarity(reference[a], reference[b]) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    assert jaccard(sets, one, other).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8])
def test_what_is_left_out_is_what_the_definition_leaves_out(threshold: float) -> None:
    texts = corpus(7, 900)
    found = twins(shingles([normalise(text) for text in texts]), threshold, task=Task())
    expected = greedy(texts, threshold)
    assert len(expected) > 100
    assert len(set(found.kept) & expected) >= 0.98 * len(expected)
    reference = sets_of(texts)
    for later, (earlier, likeness) in found.kept.items():
        assert earlier < later
        assert earlier not in found.kept
        assert likeness == pytest.approx(similarity(reference[earlier], reference[later]))
        assert likeness >= threshold
    for later, earlier, likeness in found.near:
        assert threshold - 0.1 <= likeness < threshold
        assert likeness == pytest.approx(similarity(reference[earlier], reference[later]))


def test_a_chain_of_likenesses_removes_nothing_that_is_unlike() -> None:
    """Each text is like the one before it, the last is not like the first at all."""
    base = [f"w{n}" for n in range(60)]
    texts = [" ".join(f"x{n}" if n < 5 * step else word for n, word in enumerate(base)) for step in range(13)]
    found = twins(shingles([normalise(text) for text in texts]), 0.7, task=Task())
    assert set(found.kept) == greedy(texts, 0.7)
    assert len(found.kept) <= len(texts) // 2 + 1
    assert all(likeness >= 0.7 for _, likeness in found.kept.values())


def test_a_crowd_of_equals_keeps_one() -> None:
    texts = ["the same words in each of these many rows here"] * 3000
    found = twins(shingles([normalise(text) for text in texts]), 0.8, task=Task())
    assert set(found.kept) == set(range(1, 3000))


def test_protected_texts_stay() -> None:
    text = normalise("one two three four five six")
    found = twins(shingles([text, text, text]), 0.8, protected=2, task=Task())
    assert set(found.kept) == {2}


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.8, 0.95, 1.0])
def test_bands_miss_one_pair_in_a_hundred_at_most(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= 0.99 or threshold == 1.0


def test_nothing_to_compare() -> None:
    assert not twins(shingles([]), 0.8, task=Task()).kept
    assert not twins(shingles([b"", b"   ", b""]), 0.8, task=Task()).kept


def test_what_counts_as_the_same() -> None:
    assert digest("Hello,  World!") == digest("hello world")
    assert digest("ﬁne") == digest("FINE")
    assert digest("2 + 2") != digest("2 - 2")
    assert digest("...") == digest("... ") != digest("?")
    assert digest("  ") == b""


def test_exact_and_near_in_one_pass(tmp_path: Path) -> None:
    base = " ".join(f"w{n}" for n in range(100))
    texts = [base, base.upper() + "!", base.replace("w50 ", "other "), "something else that is short", "", base]
    with data.open(rows_file(tmp_path / "a.jsonl", texts)) as view:
        found = clean(view, (ExactDuplicates(), NearDuplicates(threshold="strict")))
        assert [(one.row, one.step, one.twin) for one in found.removals.values()] == [
            (1, 0, 0), (2, 1, 0), (4, -1, None), (5, 0, 0),
        ]  # fmt: skip
        (cluster,) = clusters(found)
        assert (cluster.kept, [one.row for one in cluster.members]) == (0, [1, 2, 5])
        assert found.removals[2].why == f"{found.removals[2].likeness:.0%} like row 0"


def test_across_files(tmp_path: Path) -> None:
    train = rows_file(tmp_path / "train.jsonl", ["alpha beta gamma delta epsilon", "new words here", "alpha, BETA"])
    other = rows_file(tmp_path / "eval.jsonl", ["ALPHA beta", "alpha beta gamma delta epsilon zeta"])
    with data.open(train) as view:
        steps = (
            ExactDuplicates(against=(str(other),)),
            NearDuplicates(against=(str(other),), threshold=0.6),
        )
        found = clean(view, steps)
    assert {(one.row, one.twin, Path(one.file).name) for one in found.removals.values()} == {
        (0, 1, "eval.jsonl"),
        (2, 0, "eval.jsonl"),
    }


def test_difference() -> None:
    found = difference("the old house stands", "the new house stands there")
    assert "".join(text for what, text in found if what != "in") == "the old house stands"
    assert "".join(text for what, text in found if what != "out") == "the new house stands there"
    assert ("out", "old") in found
    assert ("in", "new") in found


def test_it_can_be_cancelled(tmp_path: Path) -> None:
    task = Task()
    task.cancel()
    with data.open(rows_file(tmp_path / "rows.jsonl", ["a", "b"])) as view, pytest.raises(Cancelled):
        clean(view, (ExactDuplicates(),), task)
