"""What cleaning costs and how right it is: near-duplicates of 100,000 rows beside datasketch, contamination by 2,000
prompts. CPU-seconds of one process, reading the file included for us.

    python tests/benchmarks/data_clean.py [--rows 100000] [--peer]
    python tests/benchmarks/data_clean.py --rows 1000000 --memory

Rows as the research of this project made them: three quarters unrelated, 3 % from templates (to be kept), 10 % exact
repetitions, 10 % edited by 2, 6 or 12 % of their words or in case, spaces and punctuation alone. The reference is the
true Jaccard similarity of word 3-grams, in plain Python: every pair of rows that share a 3-gram is counted.
"""

import argparse
import json
import random
import re
import resource
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tuiwb import data
from tuiwb.base.tasks import Task
from tuiwb.data.clean.compare import THRESHOLDS, Contamination, ExactDuplicates, NearDuplicates
from tuiwb.data.clean.run import clean

SEED = 42
_WORD = re.compile(r"\w+")
Grams = set[tuple[str, ...]]


def corpus(rows: int) -> list[str]:
    """The texts, shuffled."""
    draw = random.Random(SEED)
    vocabulary = ["".join(draw.choices("etaoinshrdlucmfwypvbgk", k=draw.randint(2, 10))) for _ in range(20_000)]
    weights = [1 / (rank + 10) for rank in range(len(vocabulary))]

    def some(number: int) -> list[str]:
        return draw.choices(vocabulary, weights, k=number)

    def written(words: list[str]) -> str:
        return " ".join(word + ("." if place % 12 == 11 else "") for place, word in enumerate(words)).capitalize()

    base = [some(max(8, int(draw.gauss(111, 40)))) for _ in range(rows * 77 // 100)]
    texts = [written(words) for words in base]
    for _ in range(rows * 3 // 1000):
        frame = some(24)
        texts += [written([*frame[:12], *some(6), *frame[12:], *some(6)]) for _ in range(10)]
    texts += draw.choices(texts, k=rows // 10)
    edits = (0.0, 0.02, 0.06, 0.12)
    for number in range(rows // 10):
        words = list(draw.choice(base))
        share = edits[number % 4]
        if not share:
            texts.append(written(words).upper().replace(" ", "  ").replace(".", " !"))
            continue
        for place in draw.sample(range(len(words)), max(1, round(share * len(words)))):
            words[place] = draw.choice(vocabulary)
        texts.append(written(words))
    draw.shuffle(texts)
    return texts


def grams(text: str) -> Grams:
    words = _WORD.findall(text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def reference(texts: list[str], thresholds: list[float]) -> dict[float, set[int]]:
    """What the definition leaves out: a row like an earlier one that stays."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for number, text in enumerate(texts):
        mine = grams(text)
        sizes.append(len(mine))
        for gram in mine:
            rows_of[hash(gram)].append(number)
    shared: Counter[int] = Counter()
    for rows in rows_of.values():
        if len(rows) > 1:
            for place, later in enumerate(rows):
                for earlier in rows[:place]:
                    shared[later * len(texts) + earlier] += 1
    least = min(thresholds)
    pairs = []
    for key, number in shared.items():
        later, earlier = divmod(key, len(texts))
        similarity = number / (sizes[later] + sizes[earlier] - number)
        if similarity >= least:
            pairs.append((later, earlier, similarity))
    pairs.sort()
    found: dict[float, set[int]] = {}
    for threshold in thresholds:
        out: set[int] = set()
        for later, earlier, similarity in pairs:
            if similarity >= threshold and earlier not in out:
                out.add(later)
        found[threshold] = out
    return found


def cpu() -> float:
    return time.process_time()


def peer(texts: list[str], threshold: float) -> set[int]:
    """datasketch: MinHash and LSH as its documentation has it, with its batched hashing."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=128)
    out: set[int] = set()
    for number, text in enumerate(texts):
        one = MinHash(num_perm=128)
        one.update_batch([" ".join(gram).encode() for gram in grams(text)])
        if lsh.query(one):
            out.add(number)
        else:
            lsh.insert(number, one)
    return out


def judge(found: set[int], expected: set[int]) -> str:
    right = len(found & expected)
    precision, recall = right / max(len(found), 1), right / max(len(expected), 1)
    return (
        f"precision {precision:.4f}, recall {recall:.4f} ({len(found):,} left out, {len(expected):,} in the reference)"
    )


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def near_duplicates(texts: list[str], folder: Path, *, with_peer: bool) -> None:
    path = written(folder / "rows.jsonl", [{"text": text} for text in texts])
    start = cpu()
    expected = reference(texts, sorted(THRESHOLDS.values()))
    print(f"reference: {cpu() - start:.1f} CPU-s", flush=True)
    ours = 0.0
    for name, threshold in THRESHOLDS.items():
        start = cpu()
        with data.open(path, task=Task()) as view:
            found = clean(view, (ExactDuplicates(), NearDuplicates(threshold=threshold)))
        spent = cpu() - start
        ours = max(ours, spent)
        print(f"{name} {threshold}: {spent:.1f} CPU-s; {judge(set(found.removals), expected[threshold])}", flush=True)
    if with_peer:
        start = cpu()
        out = peer(texts, 0.7)
        spent = cpu() - start
        print(f"datasketch 0.7: {spent:.1f} CPU-s; {judge(out, expected[0.7])}")
        print(f"our dearest over datasketch: {ours / spent:.3f} (at most 0.2 wanted)")


def contamination(texts: list[str], folder: Path) -> None:
    draw = random.Random(SEED + 1)
    vocabulary = [f"term{number}" for number in range(5000)]
    prompts = [" ".join(draw.choices(vocabulary, k=draw.randint(12, 90))) for _ in range(2000)]
    rows = list(texts)
    places = draw.sample(range(len(rows)), 200)
    for number, place in enumerate(places):
        words = prompts[number].split()
        if number >= 100:
            for edit in draw.sample(range(len(words)), max(1, round(0.05 * len(words)))):
                words[edit] = draw.choice(vocabulary)
        rows[place] = f"{rows[place][:300]} {' '.join(words)} {rows[place][300:]}"
    path = written(folder / "train.jsonl", [{"text": text} for text in rows])
    other = written(folder / "eval.jsonl", [{"prompt": prompt} for prompt in prompts])
    start = cpu()
    with data.open(path, task=Task()) as view:
        found = clean(view, (Contamination(against=(str(other),)),))
    spent = cpu() - start
    hit = {removal.row: removal.twin for removal in found.removals.values()}
    verbatim = sum(hit.get(place) == number for number, place in enumerate(places[:100]))
    lightly = sum(hit.get(place) == number for number, place in enumerate(places[100:], 100))
    false = len(set(hit) - set(places))
    print(
        f"contamination: {spent:.1f} CPU-s (at most 15 wanted); {verbatim} of 100 verbatim, {lightly} of 100 edited by "
        f"5 %, {false} false of {len(rows) - 200:,} clean rows"
    )


def memory(rows: int, folder: Path) -> None:
    """Many rows: the small corpus again and again in other alphabets, so that each copy is unrelated to the others."""
    path = folder / "many.jsonl"
    draw = random.Random(SEED + 2)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = corpus(min(rows, 100_000))
    with path.open("w") as file:
        for _ in range(rows // len(texts)):
            table = str.maketrans(letters + letters.upper(), "".join(draw.sample(letters, 26)) * 2)
            file.writelines(json.dumps({"text": text.translate(table)}) + "\n" for text in texts)
    del texts
    start = cpu()
    with data.open(path, task=Task()) as view:
        found = clean(view, (ExactDuplicates(), NearDuplicates(threshold="strict")))
    print(f"strict, {found.rows:,} rows: {cpu() - start:.1f} CPU-s; {found.flagged:,} left out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peer", action="store_true", help="run datasketch, which must be installed")
    parser.add_argument("--memory", action="store_true", help="only near-duplicates, of many rows")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.memory:
            memory(args.rows, Path(folder))
        else:
            texts = corpus(args.rows)
            print(f"{len(texts):,} rows, {sum(map(len, texts)) / len(texts):.0f} characters each", flush=True)
            contamination(texts, Path(folder))
            near_duplicates(texts, Path(folder), with_peer=args.peer)
    print(f"peak resident: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB")


if __name__ == "__main__":
    main()
