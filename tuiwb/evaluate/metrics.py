"""One answer against its reference, and what the answers of a dataset come to."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuiwb.base.pattern import matches
from tuiwb.evaluate.calls import MISSING, calls_in, calls_right, fields_right, json_of
from tuiwb.evaluate.spec import parse_metric

Record = Mapping[str, Any]
"""One answered row, as the worker writes it: `question`, `answer`, `reference`, `calls`, `answer_tokens` …"""

_WORD = re.compile(r"\w+", re.UNICODE)
# Scripts that are written without spaces between words: each character counts as one.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def score(metric: str, record: Record) -> float | None:
    """The score of one answer by a metric that looks at each answer by itself; None where the row has nothing to
    compare with. ROUGE and BLEU are `Rouge` and `bleu_statistics`."""
    known, argument = parse_metric(metric)
    answer, reference = str(record["answer"]), record.get("reference")
    calls = record.get("calls") or ()
    match known.name:
        case "exact":
            return None if reference is None else float(_plain(answer) == _plain(reference))
        case "contains":
            return None if reference is None else float(_plain(reference) in _plain(answer))
        case "json":
            return float(json_of(answer) is not MISSING)
        case "fields":
            return None if reference is None else fields_right(answer, reference)
        case "calls" | "call_names":
            wanted = calls or (calls_in(reference) if reference else ())
            return float(calls_right(answer, wanted, names_only=known.name == "call_names")) if wanted else None
        case "regex":
            return float(matches(argument, answer, key="--metric"))
        case "tokens":
            return float(record["answer_tokens"])
    raise ValueError(metric)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def latin(texts: Sequence[str]) -> bool:
    """Whether every letter is Latin: what rouge-score and the usual tokenizer of BLEU were made for."""
    letters = {character for text in texts for character in text if character.isalpha() and not character.isascii()}
    return all("LATIN" in unicodedata.name(character, "") for character in letters)


class UnicodeTokenizer:
    """Words of any script, in lower case; single characters where a script has no spaces."""

    def tokenize(self, text: str) -> list[str]:
        text = unicodedata.normalize("NFKC", text).lower()
        return _WORD.findall(_UNSPACED.sub(lambda match: f" {match[0]} ", text))


class Rouge:
    """F-scores of rouge-score, with its own tokenizer and stemmer where all text is Latin (then they are its scores to
    the last digit), and with words of any script elsewhere (its own drops what is not a-z or 0-9).

    Args:
        names: `rouge1`, `rouge2`, `rougeL`.
        texts: all answers and references of the dataset.
    """

    def __init__(self, names: Sequence[str], texts: Sequence[str]) -> None:
        from rouge_score import rouge_scorer

        self.tokenizer = "rouge-score, stemmed" if latin(texts) else "words of any script"
        own = None if latin(texts) else UnicodeTokenizer()
        self._scorer = rouge_scorer.RougeScorer(list(names), use_stemmer=own is None, tokenizer=own)

    def __call__(self, reference: str, answer: str) -> dict[str, float]:
        return {name: float(each.fmeasure) for name, each in self._scorer.score(reference, answer).items()}


def bleu_tokenizer(texts: Sequence[str]) -> str:
    """The tokenizer of sacrebleu that fits a dataset: `13a` for Latin text, `zh` for Chinese, `char` for other scripts
    without spaces, `intl` for the rest."""
    if latin(texts):
        return "13a"
    letters = [character for text in texts for character in text if character.isalpha()]
    unspaced = [character for character in letters if _UNSPACED.match(character)]
    if 2 * len(unspaced) < len(letters):
        return "intl"
    han = sum("CJK" in unicodedata.name(character, "") for character in unspaced)
    return "zh" if han > 0.9 * len(unspaced) else "char"


def bleu_statistics(tokenizer: str) -> "Callable[[str, str], tuple[float, list[int]]]":
    """A function of (reference, answer) that gives sentence BLEU (effective order) and the counts that corpus BLEU adds
    up: matches and totals of each order, length of the answer, length of the reference."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenizer, effective_order=True)

    def of(reference: str, answer: str) -> tuple[float, list[int]]:
        found = metric.sentence_score(answer, [reference])
        return float(found.score), [*map(int, found.counts), *map(int, found.totals), found.sys_len, found.ref_len]

    return of


def corpus_bleu(counts: Sequence[int]) -> float:
    """BLEU of added counts, as `sacrebleu.corpus_bleu` has it."""
    from sacrebleu.metrics import BLEU

    orders = (len(counts) - 2) // 2
    found = BLEU.compute_bleu(
        list(counts[:orders]), list(counts[orders : 2 * orders]), counts[-2], counts[-1], smooth_method="exp"
    )
    return float(found.score)
