"""From the records of an eval run to its report. Records are lines of `records.jsonl`, one for each row and subject:

{"kind": "text", "dataset", "subject", "row", "metric": "loss" | "perplexity", "nll", "tokens", "bytes", "start"}
{"kind": "answer", "dataset", "subject", "row", "question", "answer", "reference", "calls", "answer_tokens", …}
{"kind": "judge", "dataset", "subject", "row", "outcome", "verdicts", "longer"}
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.base.errors import InputFault
from tuiwb.evaluate import bootstrap, judge, metrics
from tuiwb.evaluate.spec import METRICS, Spec, parse_metric
from tuiwb.rundir import RunDir

Record = Mapping[str, Any]
PART = "eval"
Values = dict[int, tuple[float, float]]
"""By row: what is added up, and its weight."""


def records_file(run: RunDir) -> Path:
    return run.part(1, PART).path / "records.jsonl"


def report_file(run: RunDir) -> Path:
    return run.part(1, PART).path / "report.json"


def read_report(run: RunDir) -> dict[str, Any]:
    """The report of a run, of the records so far if it has not ended.

    Raises:
        InputFault: it is no eval run, or has measured nothing yet.
    """
    import json

    import msgspec

    job = rundir.read_job(run)
    if job.get("kind") != "eval":
        raise InputFault(f"{run.run_id} is no eval run; `tuiwb eval` makes one")
    try:
        report: dict[str, Any] = json.loads(report_file(run).read_bytes())
        return report
    except (OSError, ValueError):
        records = rundir.read_all(records_file(run))
    if not records:
        raise InputFault(f"{run.run_id} has measured nothing yet")
    return build_report(msgspec.convert(job["input"], Spec), records)


def build_report(spec: Spec, records: Sequence[Record]) -> dict[str, Any]:
    """The report.

    Returns:
        `subjects`, and `results`: for each dataset and metric the `values` by subject (`value`, `low`, `high`, `rows`),
        and `differences` to the first subject over the rows that both have, with `better`, `worse` and `equal` rows.
    """
    names = [subject.name for subject in spec.subjects]
    results = []
    for dataset in spec.datasets:
        mine = [record for record in records if record["dataset"] == dataset.name]
        for wanted in spec.metrics:
            for label, aggregate in _aggregates(spec, wanted, mine).items():
                found = _result(label, wanted, aggregate, names, spec)
                if found["values"]:
                    results.append({"dataset": dataset.name, "general": dataset.general, **found})
    return {"subjects": names, "base": names[0], "results": results, "records": len(records)}


def cases(spec: Spec, records: Sequence[Record], metric: str, *, dataset: str | None = None) -> list[dict[str, Any]]:
    """Each row with the score of each subject, where the last subject does worst first: by its own score, and among
    equals by what it lost against the first.

    Returns:
        `{"dataset", "row", "scores": {subject: score}, "question", "reference", "answers": {subject: text}}`
    """
    names, (known, _) = [subject.name for subject in spec.subjects], parse_metric(metric)
    found = []
    for each in spec.datasets:
        if dataset not in (None, each.name):
            continue
        mine = [record for record in records if record["dataset"] == each.name]
        answers = {(str(r["subject"]), int(r["row"])): r for r in mine if r["kind"] == "answer"}
        scores = _by_row(spec, metric, mine)
        for row in sorted({row for values in scores.values() for row in values}):
            some = next((answers[name, row] for name in names if (name, row) in answers), {})
            found.append(
                {
                    "dataset": each.name,
                    "path": each.path,
                    "row": row,
                    "scores": {name: scores[name][row] for name in names if row in scores.get(name, {})},
                    "question": some.get("question"),
                    "reference": some.get("reference"),
                    "answers": {name: answers[name, row]["answer"] for name in names if (name, row) in answers},
                }
            )
    sign = 1.0 if known.higher else -1.0

    def badness(case: dict[str, Any]) -> tuple[float, float, str, int]:
        scores = case["scores"]
        own = scores.get(names[-1], scores.get(names[0], 0.0))
        return sign * own, sign * (own - scores.get(names[0], own)), case["dataset"], case["row"]

    return sorted(found, key=badness)


class _Aggregate:
    """How rows come to one number.

    Args:
        values: by subject and row.
        transform: of the mean; perplexity is the exponential of one.
        counts: for BLEU: what is added up instead of values.
    """

    def __init__(
        self,
        values: Mapping[str, Values],
        *,
        transform: Callable[[float], float] = float,
        counts: Mapping[str, Mapping[int, list[int]]] | None = None,
        about: str = "",
    ) -> None:
        self.values, self.transform, self.counts, self.about = values, transform, counts, about

    def of(self, subject: str, rows: Sequence[int], drawn: Any) -> tuple[float, Any]:
        import numpy as np

        if self.counts is not None:
            return bootstrap.summed(np.array([self.counts[subject][row] for row in rows]), metrics.corpus_bleu, drawn)
        pairs = np.array([self.values[subject][row] for row in rows], dtype=float)
        value, resampled = bootstrap.ratio(pairs[:, 0], pairs[:, 1], drawn)
        return self.transform(value), np.vectorize(self.transform)(resampled)


def _aggregates(spec: Spec, wanted: str, records: Sequence[Record]) -> dict[str, _Aggregate]:
    known, _ = parse_metric(wanted)
    if known.name == "perplexity":
        per_token = _values(records, "text", "perplexity", lambda r: (r["nll"], r["tokens"]))
        per_byte = _values(records, "text", "perplexity", lambda r: (r["nll"], r["bytes"]))
        return {
            "perplexity": _Aggregate(per_token, transform=_exp),
            "byte_perplexity": _Aggregate(per_byte, transform=_exp),
        }
    if known.name == "loss":
        return {"loss": _Aggregate(_values(records, "text", "loss", lambda r: (r["nll"], r["tokens"])))}
    if known.name == "bleu":
        answered = [r for r in records if r["kind"] == "answer" and r.get("reference") is not None]
        if not answered:
            return {}
        tokenizer = metrics.bleu_tokenizer(_texts(answered))
        of = metrics.bleu_statistics(tokenizer)
        counts: dict[str, dict[int, list[int]]] = {}
        for record in answered:
            counts.setdefault(record["subject"], {})[record["row"]] = of(record["reference"], record["answer"])[1]
        values = {name: dict.fromkeys(rows, (0.0, 1.0)) for name, rows in counts.items()}
        return {"bleu": _Aggregate(values, counts=counts, about=f"sacrebleu, tokenize={tokenizer}")}
    rows = _by_row(spec, wanted, records)
    about = metrics.Rouge([known.name], _texts(records)).tokenizer if known.name.startswith("rouge") and rows else ""
    return {
        wanted: _Aggregate({name: {k: (v, 1.0) for k, v in each.items()} for name, each in rows.items()}, about=about)
    }


def _by_row(spec: Spec, wanted: str, records: Sequence[Record]) -> dict[str, dict[int, float]]:
    """The score of each row by subject."""
    known, _ = parse_metric(wanted)
    scores: dict[str, dict[int, float]] = {}
    if known.needs == "text":
        for name, values in _values(records, "text", known.name, lambda r: (r["nll"], r["tokens"])).items():
            scores[name] = {row: total / weight for row, (total, weight) in values.items()}
        return scores
    if known.name == "judge":
        for record in records:
            if record["kind"] == "judge" and (won := judge.points(record)) is not None:
                scores.setdefault(record["subject"], {})[record["row"]] = won
        return scores
    answered = [record for record in records if record["kind"] == "answer"]
    compared = [record for record in answered if record.get("reference") is not None]
    of: Callable[[Record], float | None]
    if known.name.startswith("rouge"):
        rouge = metrics.Rouge([known.name], _texts(compared)) if compared else None
        answered = compared

        def of(record: Record) -> float | None:
            assert rouge is not None
            return rouge(record["reference"], record["answer"])[known.name]
    elif known.name == "bleu":
        sentence = metrics.bleu_statistics(metrics.bleu_tokenizer(_texts(compared))) if compared else None
        answered = compared

        def of(record: Record) -> float | None:
            assert sentence is not None
            return sentence(record["reference"], record["answer"])[0]
    else:

        def of(record: Record) -> float | None:
            return metrics.score(wanted, record)

    for record in answered:
        if (value := of(record)) is not None:
            scores.setdefault(record["subject"], {})[record["row"]] = value
    return scores


def _values(
    records: Sequence[Record], kind: str, metric: str, pair: Callable[[Record], tuple[float, float]]
) -> dict[str, Values]:
    values: dict[str, Values] = {}
    for record in records:
        if record["kind"] == kind and record["metric"] == metric and pair(record)[1] > 0:
            values.setdefault(record["subject"], {})[record["row"]] = pair(record)
    return values


def _result(label: str, wanted: str, aggregate: _Aggregate, names: Sequence[str], spec: Spec) -> dict[str, Any]:
    metric, values, differences = parse_metric(wanted)[0], {}, {}
    base = aggregate.values.get(names[0], {})
    for name in names:
        mine = aggregate.values.get(name, {})
        if not mine:
            continue
        rows = sorted(mine)
        drawn = bootstrap.draws(len(rows), spec.resamples, spec.seed)
        value, resampled = aggregate.of(name, rows, drawn)
        values[name] = {**bootstrap.estimate(value, resampled).to_json(), "rows": len(rows)}
        shared = sorted(mine.keys() & base.keys())
        if name == names[0] or not shared:
            continue
        drawn = bootstrap.draws(len(shared), spec.resamples, spec.seed)
        ours, ours_resampled = aggregate.of(name, shared, drawn)
        theirs, theirs_resampled = aggregate.of(names[0], shared, drawn)
        change = bootstrap.estimate(ours - theirs, ours_resampled - theirs_resampled)
        differences[name] = {**change.to_json(), "rows": len(shared), **_compared(metric.higher, mine, base, shared)}
    return {
        "metric": label,
        "higher_is_better": metric.higher,
        "about": aggregate.about or METRICS[metric.name].summary,
        "values": values,
        "differences": differences,
    }


def _compared(higher: bool, mine: Values, base: Values, rows: Sequence[int]) -> dict[str, int]:
    """Rows that got better, worse, or stayed; none for BLEU, which is not of rows."""
    changes = [mine[row][0] / mine[row][1] - base[row][0] / base[row][1] for row in rows]
    up, down = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    better, worse = (up, down) if higher else (down, up)
    return {"better": better, "worse": worse, "equal": len(rows) - up - down}


def judged(records: Sequence[Record], subject: str, dataset: str) -> dict[str, Any] | None:
    """What the judge's verdicts on a subject come to, with its biases; None where there are none."""
    mine = [r for r in records if r["kind"] == "judge" and r["subject"] == subject and r["dataset"] == dataset]
    return judge.summary(mine) if mine else None


def _texts(records: Sequence[Record]) -> list[str]:
    return [str(r[name]) for r in records if r["kind"] == "answer" for name in ("answer", "reference") if r.get(name)]


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
