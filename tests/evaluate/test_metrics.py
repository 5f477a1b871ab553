"""Metrics against the libraries behind them, JSON and calls, the judge, the intervals."""

import math

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.evaluate import METRICS, Dataset, Spec, Subject, build_report, cases, judge, parse_metric
from tuiwb.evaluate.calls import calls_in, calls_right, fields_right
from tuiwb.evaluate.metrics import Rouge, bleu_statistics, bleu_tokenizer, corpus_bleu, latin, score

CALL = '{"name": "f", "arguments": {"x": %d}}'
PAIRS = [
    ("The cat sat on the mat.", "A cat was sitting on the mat."),
    ("Running quickly, he fell!", "He fell while he ran quickly."),
    ("Ein Café in München", "Das Café in München"),
]


def spec(*metrics: str, **more: object) -> Spec:
    subjects = (Subject(name="base", model="m"), Subject(name="tuned", model="m"))
    return Spec(subjects=subjects, datasets=(Dataset(path="/d", name="d"),), metrics=metrics, resamples=200, **more)  # type: ignore[arg-type]


def answer(subject: str, row: int, text: str, reference: str | None) -> dict[str, object]:
    return {"kind": "answer", "dataset": "d", "subject": subject, "row": row, "question": "?", "answer": text,
            "reference": reference, "calls": [], "answer_tokens": len(text)}  # fmt: skip


def test_rouge_is_that_of_its_library() -> None:
    scorer_module = pytest.importorskip("rouge_score.rouge_scorer")
    names = ["rouge1", "rouge2", "rougeL"]
    theirs = scorer_module.RougeScorer(names, use_stemmer=True)
    ours = Rouge(names, [text for pair in PAIRS for text in pair])
    for reference, answered in PAIRS:
        expected = {name: each.fmeasure for name, each in theirs.score(reference, answered).items()}
        assert ours(reference, answered) == expected


@pytest.mark.parametrize(
    ("reference", "answered", "rouge1"),
    [("東京は日本の首都", "東京は首都", 10 / 13), ("Привет, мир", "привет мир!", 1.0), ("नमस्ते दुनिया", "नमस्ते", None)],
)
def test_rouge_sees_other_scripts(reference: str, answered: str, rouge1: float | None) -> None:
    pytest.importorskip("rouge_score")
    found = Rouge(["rouge1"], [reference, answered])(reference, answered)["rouge1"]
    assert 0 < found <= 1
    if rouge1 is not None:
        assert found == pytest.approx(rouge1)


def test_bleu_is_that_of_its_library() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    of = bleu_statistics("13a")
    counts = [of(reference, answered)[1] for reference, answered in PAIRS]
    ours = corpus_bleu([sum(column) for column in zip(*counts, strict=True)])
    theirs = sacrebleu.corpus_bleu([answered for _, answered in PAIRS], [[reference for reference, _ in PAIRS]])
    assert ours == theirs.score
    assert of(*PAIRS[0])[0] == sacrebleu.sentence_bleu(PAIRS[0][1], [PAIRS[0][0]]).score


def test_the_tokenizer_of_bleu_follows_the_script() -> None:
    assert bleu_tokenizer(["Zoë écrit à l’œil"]) == "13a"
    assert bleu_tokenizer(["东京是日本的首都"]) == "zh"
    assert bleu_tokenizer(["東京は日本の首都です"]) == "char"
    assert bleu_tokenizer(["Москва — столица"]) == "intl"
    assert latin(["naïve"])
    assert not latin(["naïve", "мир"])


@pytest.mark.parametrize(
    ("metric", "answered", "reference", "expected"),
    [
        ("exact", " Paris\n", "Paris", 1.0),
        ("exact", "Caf\u0065\u0301", "Caf\u00e9", 1.0),
        ("exact", "paris", "Paris", 0.0),
        ("exact", "x", None, None),
        ("contains", "It is Paris.", "Paris", 1.0),
        ("json", '```json\n{"a": 1}\n```', None, 1.0),
        ("json", '{"a": 1', None, 0.0),
        ("json", "[" * 100_000, None, 0.0),
        ("fields", '{"a": 1, "b": {"c": "x "}, "d": 2}', '{"a": 1, "b": {"c": "x"}, "d": 3}', 2 / 3),
        ("fields", "no JSON", '{"a": 1}', 0.0),
        ("fields", "{}", "no JSON", None),
        ("regex=^[A-Z]+$", "ABC", None, 1.0),
        ("regex=^[A-Z]+$", "ABc", None, 0.0),
        ("calls", f"<tool_call>{CALL % 1}</tool_call>", CALL % 1, 1.0),
        ("calls", CALL % 2, CALL % 1, 0.0),
        ("call_names", CALL % 2, CALL % 1, 1.0),
        ("tokens", "abc", None, 3.0),
    ],
)  # fmt: skip
def test_one_answer(metric: str, answered: str, reference: str | None, expected: float | None) -> None:
    found = score(metric, answer("base", 0, answered, reference))
    assert found == (expected if expected is None else pytest.approx(expected))


def test_calls_may_come_in_any_order_and_none_too_many() -> None:
    wanted = [{"name": "f", "arguments": '{"x": 1}'}, {"name": "g", "arguments": {}}]
    both = '[{"name": "g"}, {"function": {"name": "f", "arguments": {"x": 1.0}}}]'
    assert calls_right(both, wanted)
    assert not calls_right(both, wanted[:1])
    assert not calls_right("nothing", wanted)
    assert not calls_right('{"name": "f", "arguments": {"x": true}}', wanted[:1])
    assert calls_in("text {") == []
    assert fields_right("[]", "[]") == 1.0


def test_metrics_that_are_none_are_refused() -> None:
    with pytest.raises(InputFault, match="did you mean `rougeL`"):
        parse_metric("rougel")
    for wrong in ("regex", "regex=(", "exact=1", ""):
        with pytest.raises(InputFault):
            parse_metric(wrong)
    for wrong_spec in (
        spec("judge"),
        spec("exact", stride=0),
        Spec(subjects=(), datasets=(), metrics=()),
        Spec(subjects=(Subject(name="a"),), datasets=(Dataset(path="/d", name="d"),), metrics=("judge",), judge="x"),
    ):
        with pytest.raises(InputFault):
            wrong_spec.check()
    assert all(parse_metric("regex=x" if name == "regex" else name)[0].name == name for name in METRICS)


def test_the_report_compares_over_the_same_rows() -> None:
    records = [answer("base", row, "no", "yes") for row in range(40)]
    records += [answer("tuned", row, "yes" if row % 4 else "no", "yes") for row in range(40)]
    report = build_report(spec("exact"), records)
    (result,) = report["results"]
    assert result["values"]["base"]["value"] == 0.0
    tuned = result["values"]["tuned"]
    assert tuned["value"] == 0.75
    assert tuned["low"] < 0.75 < tuned["high"]
    change = result["differences"]["tuned"]
    assert (change["value"], change["better"], change["worse"], change["equal"]) == (0.75, 30, 0, 10)
    assert change["low"] > 0.5
    worst = cases(spec("exact"), records, "exact")
    assert [case["row"] for case in worst[:10]] == list(range(0, 40, 4))
    assert worst[0]["answers"] == {"base": "no", "tuned": "no"}


def test_losses_are_weighted_by_tokens_and_perplexity_is_their_exponential() -> None:
    def text(subject: str, row: int, metric: str, nll: float, tokens: int) -> dict[str, object]:
        return {"kind": "text", "metric": metric, "dataset": "d", "subject": subject, "row": row, "nll": nll,
                "tokens": tokens, "bytes": 4 * tokens}  # fmt: skip

    records = [text("base", 0, "loss", 10.0, 10), text("base", 1, "loss", 90.0, 30)]
    records += [text("base", row, "perplexity", 5.0, 10) for row in range(2)]
    records += [text("base", 2, "loss", 0.0, 0)]
    report = build_report(spec("loss", "perplexity"), records)
    values = {result["metric"]: result["values"]["base"]["value"] for result in report["results"]}
    assert values["loss"] == 100 / 40
    assert values["perplexity"] == pytest.approx(math.exp(0.5))
    assert values["byte_perplexity"] == pytest.approx(math.exp(0.125))
    assert [case["row"] for case in cases(spec("loss"), records, "loss")] == [1, 0]


def test_corpus_bleu_has_an_interval() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    records = [answer("base", row, answered, reference) for row, (reference, answered) in enumerate(PAIRS * 4)]
    (result,) = build_report(spec("bleu"), records)["results"]
    found = result["values"]["base"]
    theirs = sacrebleu.corpus_bleu([pair[1] for pair in PAIRS * 4], [[pair[0] for pair in PAIRS * 4]]).score
    assert found["value"] == theirs
    assert found["low"] < theirs < found["high"]
    assert "tokenize=13a" in result["about"]


def judged(*said: str, ours: str = "ours", theirs: str = "theirs") -> dict[str, object]:
    answers = iter(said)
    return judge.compare(lambda messages: next(answers), "?", ours, theirs)


def test_a_judge_must_say_the_same_in_both_orders() -> None:
    assert judged("so [[A]]", "[[B]]")["outcome"] == "win"
    assert judged("[[B]]", "[[A]]")["outcome"] == "loss"
    assert judged("[[A]]", "[[A]]")["outcome"] == "tie"
    assert judged("[[C]]", "[[B]]")["outcome"] == "tie"
    assert judged("[[B]] at first, but [[A]]", "[[tie]]")["outcome"] == "tie"
    assert judged(ours="same", theirs="same")["outcome"] == "tie"
    assert judged("banana", "[[A]]", "[[B]]")["outcome"] == "win"
    assert judged("banana", "banana", "[[B]]")["outcome"] == "unclear"


def test_the_biases_of_a_judge_are_told() -> None:
    first = {"outcome": "tie", "verdicts": ["first", "first"], "longer": 5}
    win = {"outcome": "win", "verdicts": ["first", "second"], "longer": 50}
    loss = {"outcome": "loss", "verdicts": ["second", "first"], "longer": -50}
    unclear = {"outcome": "unclear", "verdicts": [None, "first"], "longer": 1}
    found = judge.summary([first] * 4 + [win] * 3 + [loss] * 3 + [unclear])
    assert (found["win"], found["tie"], found["loss"], found["unclear"]) == (3, 4, 3, 1)
    assert found["first_place"] == (8 + 3 + 3 + 1) / 21
    assert found["longer"] == 1.0
    assert found["flipped"] == 0.4
    assert found["win_rate_at_equal_length"] == pytest.approx(0.5, abs=0.1)


def test_longer_answers_alone_do_not_win_at_equal_length() -> None:
    rows = [{"outcome": "win" if longer > 0 else "loss", "verdicts": [], "longer": longer} for longer in
            [100, 120, 80, 90, 110, 70, 60, 130, -100, 95, 105, -90]]  # fmt: skip
    plain = sum(row["outcome"] == "win" for row in rows) / len(rows)
    found = judge.summary(rows)["win_rate_at_equal_length"]
    assert found < plain
