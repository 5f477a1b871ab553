"""From the records of an eval run to its report. Records are lines of `records.jsonl`, one for each row and subject:

{"kind": "text", "dataset", "subject", "row", "metric": "loss" | "perplexity", "nll", "tokens", "bytes", "start"}
{"kind": "answer", "dataset", "subject", "row", "question", "answer", "reference", "calls", "answer_tokens", …}
{"kind": "judge", "dataset", "subject", "row", "outcome", "verdicts", "longer"}
{"kind": "code", "dataset", "subject", "row", "passed", "how"}
{"kind": "turn", "dataset", "subject", "row", "turn", "question", "answer", "reference", "answer_tokens"}
{"kind": "mark", "dataset", "subject", "row", "turn", "mark"}
{"kind": "task", "dataset", "subject", "row", "scores", "question", "answer", "reference"}, and "task_result"
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.base.errors import InputFault
from tuiwb.evaluate import judge, metrics, tasks
from tuiwb.evaluate.comparing import Aggregate, Values, compared
from tuiwb.evaluate.spec import Dataset, Spec, parse_metric
from tuiwb.rundir import RunDir

Record = Mapping[str, Any]
PART = "eval"


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


def cases_of(run: RunDir, metric: str, *, dataset: str | None = None) -> list[dict[str, Any]]:
    """As `cases`, of a run's records so far; `metric` is one of its report.

    Raises:
        InputFault: it is no eval run.
    """
    import msgspec

    job = rundir.read_job(run)
    if job.get("kind") != "eval":
        raise InputFault(f"{run.run_id} is no eval run")
    # What a report has more of than a spec: parts and other views of one metric.
    whole = {"byte_perplexity": "perplexity"}.get(metric, "mt_bench" if metric.startswith("mt_bench_turn") else metric)
    return cases(msgspec.convert(job["input"], Spec), rundir.read_all(records_file(run)), whole, dataset=dataset)


def build_report(spec: Spec, records: Sequence[Record]) -> dict[str, Any]:
    """The report.

    Returns:
        `subjects`, and `results`: for each dataset and metric the `values` by subject (`value`, `low`, `high`, `rows`),
        and `differences` to the first subject over the rows that both have, with `better`, `worse` and `equal` rows.
    """
    names = [subject.name for subject in spec.subjects]
    results: list[dict[str, Any]] = []
    for dataset in spec.datasets:
        mine = [record for record in records if record["dataset"] == dataset.name]
        for wanted in spec.metrics:
            for label, aggregate in _aggregates(spec, wanted, mine).items():
                metric, _ = parse_metric(wanted)
                aggregate.about = aggregate.about or metric.summary
                found = compared(label, aggregate, higher=metric.higher, names=names, spec=spec)
                if found["values"]:
                    results.append({"dataset": dataset.name, "general": dataset.general, **found})
    results += tasks.results(spec, records)
    return {"subjects": names, "base": names[0], "results": results, "records": len(records)}


def cases(spec: Spec, records: Sequence[Record], metric: str, *, dataset: str | None = None) -> list[dict[str, Any]]:
    """Each row with the score of each subject, where the last subject does worst first: by its own score, and among
    equals by what it lost against the first.

    Returns:
        `{"dataset", "row", "scores": {subject: score}, "question", "reference", "answers": {subject: text}}`
    """
    names = [subject.name for subject in spec.subjects]
    higher = tasks.higher(records, metric) if metric not in spec.metrics else parse_metric(metric)[0].higher
    found = []
    known_tasks = tasks.scores(records)
    for each in [*spec.datasets, *(Dataset(path=name, name=name) for name in known_tasks)]:
        if dataset not in (None, each.name):
            continue
        mine = [record for record in records if record["dataset"] == each.name]
        answers = _answers(mine)
        task = known_tasks.get(each.name)
        scores = _by_row(spec, metric, mine) if task is None else task.get(metric, {})
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
    sign = 1.0 if higher else -1.0

    def badness(case: dict[str, Any]) -> tuple[float, float, str, int]:
        scores = case["scores"]
        own = scores.get(names[-1], scores.get(names[0], 0.0))
        return sign * own, sign * (own - scores.get(names[0], own)), case["dataset"], case["row"]

    return sorted(found, key=badness)


def _answers(records: Sequence[Record]) -> dict[tuple[str, int], Record]:
    """By subject and row; the turns of a conversation as one text."""
    found: dict[tuple[str, int], Record] = {}
    for record in records:
        key = str(record["subject"]), int(record["row"])
        if record["kind"] in ("answer", "task"):
            found[key] = record
        elif record["kind"] == "turn":
            said = found.get(key, {"question": "", "answer": "", "reference": None})
            more = {name: f"{said[name]}\n\n{record[name]}".strip() for name in ("question", "answer")}
            found[key] = {**more, "reference": record.get("reference") or said["reference"]}
    return found


def _aggregates(spec: Spec, wanted: str, records: Sequence[Record]) -> dict[str, Aggregate]:
    known, _ = parse_metric(wanted)
    if known.name == "perplexity":
        per_token = _values(records, "text", "perplexity", lambda r: (r["nll"], r["tokens"]))
        per_byte = _values(records, "text", "perplexity", lambda r: (r["nll"], r["bytes"]))
        return {
            "perplexity": Aggregate(per_token, transform=_exp),
            "byte_perplexity": Aggregate(per_byte, transform=_exp),
        }
    if known.name == "loss":
        return {"loss": Aggregate(_values(records, "text", "loss", lambda r: (r["nll"], r["tokens"])))}
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
        return {"bleu": Aggregate(values, counts=counts, about=f"sacrebleu, tokenize={tokenizer}")}
    rows = _by_row(spec, wanted, records)
    if known.name == "mt_bench":
        turns = sorted({int(record["turn"]) for record in records if record["kind"] == "mark"})
        parts = {f"mt_bench_turn_{turn}": _marks(records, turn) for turn in turns}
        return {name: Aggregate(_weighed(each)) for name, each in {"mt_bench": rows, **parts}.items()}
    about = metrics.Rouge([known.name], _texts(records)).tokenizer if known.name.startswith("rouge") and rows else ""
    return {wanted: Aggregate(_weighed(rows), about=about)}


def _weighed(scores: Mapping[str, Mapping[int, float]]) -> dict[str, Values]:
    return {name: {row: (score, 1.0) for row, score in each.items()} for name, each in scores.items()}


def _marks(records: Sequence[Record], turn: int | None = None) -> dict[str, dict[int, float]]:
    """The judge's marks by subject and row, the mean of all turns or those of one."""
    found: dict[str, dict[int, list[float]]] = {}
    for record in records:
        if record["kind"] == "mark" and record["mark"] is not None and turn in (None, record["turn"]):
            found.setdefault(record["subject"], {}).setdefault(record["row"], []).append(record["mark"])
    return {name: {row: sum(each) / len(each) for row, each in rows.items()} for name, rows in found.items()}


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
    if known.name == "mt_bench":
        return _marks(records)
    if known.name == "code":
        for record in records:
            if record["kind"] == "code":
                scores.setdefault(record["subject"], {})[record["row"]] = float(record["passed"])
        return scores
    answered = [record for record in records if record["kind"] == "answer"]
    with_reference = [record for record in answered if record.get("reference") is not None]
    of: Callable[[Record], float | None]
    if known.name.startswith("rouge"):
        rouge = metrics.Rouge([known.name], _texts(with_reference)) if with_reference else None
        answered = with_reference

        def of(record: Record) -> float | None:
            assert rouge is not None
            return rouge(record["reference"], record["answer"])[known.name]
    elif known.name == "bleu":
        sentence = metrics.bleu_statistics(metrics.bleu_tokenizer(_texts(with_reference))) if with_reference else None
        answered = with_reference

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


def judged(records: Sequence[Record], subject: str, dataset: str) -> dict[str, Any] | None:
    """What the judge's verdicts on a subject come to, with its biases; None where there are none."""
    mine = [r for r in records if r["kind"] == "judge" and r["subject"] == subject and r["dataset"] == dataset]
    return judge.summary(mine) if mine else None


def _texts(records: Sequence[Record]) -> list[str]:
    return [str(r[name]) for r in records if r["kind"] == "answer" for name in ("answer", "reference") if r.get(name)]


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
