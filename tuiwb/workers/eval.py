"""The eval worker: `python -m tuiwb.workers.eval RUN_DIR`.

Each row that is measured becomes a line of `records.jsonl` at once, so a run that was stopped or killed goes on where
it was, and what a broken judge or a full disk leaves is there to look at.
"""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tuiwb import data, endpoints, rundir
from tuiwb.base import atomic
from tuiwb.base.errors import InputFault
from tuiwb.evaluate import judge
from tuiwb.evaluate.examples import case_of, examples
from tuiwb.evaluate.report import PART, build_report, judged, records_file, report_file
from tuiwb.evaluate.spec import Dataset, Spec, Subject, parse_metric
from tuiwb.recipe import DatasetEntry
from tuiwb.rundir import BeatWriter, MetricsWriter, RunDir
from tuiwb.workers import failure
from tuiwb.workers.eval_model import Models

_FAILED = 5
Key = tuple[str, str, str, int]
"""Metric or kind, dataset, subject, row."""


class AskedToEnd(Exception):
    """The user wants it to end."""

    def __init__(self, request: rundir.Request) -> None:
        super().__init__(request.verb)
        self.request = request


class Evaluation:
    """One attempt."""

    def __init__(self, run: RunDir, spec: Spec) -> None:
        self.run, self.spec = run, spec
        self.part = run.part(1, PART)
        self.beats = BeatWriter(run)
        self.metrics = MetricsWriter(self.part.metrics_file)
        self.part.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.records: list[dict[str, Any]] = rundir.read_all(records_file(run))
        self.done: set[Key] = {_key(record) for record in self.records}
        self.models = Models(spec.dtype, self._loading)
        self.total = 0
        self._began = time.monotonic()

    def run_all(self) -> None:
        """Measure what is not measured yet, and write report and result.

        Raises:
            AskedToEnd: a request was answered; what there is was reported.
            TuiwbError: something that the user gave is at fault.
        """
        self.spec.check()
        self.beats.beat("data")
        rows = {dataset.name: self._rows(dataset) for dataset in self.spec.datasets}
        self.total = self._count(rows)
        rundir.append_event(self.run, "evaluating", by="worker", rows={name: len(each) for name, each in rows.items()})
        for subject in self.spec.subjects:
            self._subject(subject, rows)
        if "judge" in self._names():
            for subject in self.spec.subjects[1:]:
                self._judge(subject)
        self._finish("finished")

    def _names(self) -> list[str]:
        return [parse_metric(each)[0].name for each in self.spec.metrics]

    def _rows(self, dataset: Dataset) -> list[data.Example]:
        with data.open(DatasetEntry(path=dataset.path, format=dataset.format)) as view:  # type: ignore[arg-type]
            found = list(examples(view, self.spec.max_examples))
        if not found:
            raise InputFault("no row can be used", file=dataset.path)
        if self.spec.needs("answer"):
            cases = [case for each in found if (case := case_of(each)) is not None]
            if not cases:
                raise InputFault("no row asks anything", file=dataset.path, key="--data")
            for wanted in self.spec.metrics:
                metric, _ = parse_metric(wanted)
                if metric.reference and all(case.reference is None for case in cases):
                    raise InputFault(
                        f"no row has the right answer, which {metric.name} compares with",
                        file=dataset.path,
                        key="--data",
                    )
        return found

    def _count(self, rows: dict[str, list[data.Example]]) -> int:
        names = self._names()
        each = sum(name in names for name in ("loss", "perplexity")) + int(self.spec.needs("answer"))
        judged_ones = (len(self.spec.subjects) - 1) * int("judge" in names)
        return sum(len(found) for found in rows.values()) * (each * len(self.spec.subjects) + judged_ones)

    def _subject(self, subject: Subject, rows: dict[str, list[data.Example]]) -> None:
        for dataset in self.spec.datasets:
            for name in ("loss", "perplexity"):
                if name in self._names():
                    self._texts(name, subject, dataset, rows[dataset.name])
            if self.spec.needs("answer"):
                self._answers(subject, dataset, rows[dataset.name])

    def _texts(self, name: str, subject: Subject, dataset: Dataset, found: Sequence[data.Example]) -> None:
        missing = [each for each in found if (name, dataset.name, subject.name, each.id) not in self.done]
        if not missing:
            return
        voice = self.models.voice(subject)
        for example in missing:
            measured = (
                voice.loss(example) if name == "loss" else voice.perplexity(example, self.spec.window, self.spec.stride)
            )
            self._record(
                kind="text", metric=name, dataset=dataset.name, subject=subject.name, row=example.id, **measured
            )
            self._look()

    def _answers(self, subject: Subject, dataset: Dataset, found: Sequence[data.Example]) -> None:
        cases = [case for each in found if (case := case_of(each)) is not None]
        missing = [case for case in cases if ("answer", dataset.name, subject.name, case.row) not in self.done]
        if not missing:
            return
        voice = self.models.voice(subject)
        # Prompts of like length together: less padding.
        missing.sort(key=lambda case: len(str(case.example.prompt)))
        for start in range(0, len(missing), self.spec.batch_size):
            batch = missing[start : start + self.spec.batch_size]
            answers = voice.answer([case.example for case in batch], self.spec.max_new_tokens)
            for case, answer in zip(batch, answers, strict=True):
                self._record(
                    kind="answer",
                    dataset=dataset.name,
                    subject=subject.name,
                    row=case.row,
                    question=case.question,
                    reference=case.reference,
                    calls=[dict(call) for call in case.calls],
                    **answer,
                )
            self._look()

    def _judge(self, subject: Subject) -> None:
        assert self.spec.judge is not None
        endpoint = endpoints.find(self.spec.judge)

        def ask(messages: list[dict[str, str]]) -> str:
            return endpoints.complete(endpoint, messages, judge.PARAMETERS).text

        base = self.spec.subjects[0].name
        answers = {(r["dataset"], r["subject"], r["row"]): r for r in self.records if r["kind"] == "answer"}
        for (dataset, name, row), ours in answers.items():
            theirs = answers.get((dataset, base, row))
            if name != subject.name or theirs is None or ("judge", dataset, name, row) in self.done:
                continue
            verdict = judge.compare(
                ask,
                ours["question"],
                ours["answer"],
                theirs["answer"],
                reference=ours.get("reference"),
                criteria=self.spec.criteria,
            )
            longer = len(ours["answer"]) - len(theirs["answer"])
            self._record(kind="judge", dataset=dataset, subject=name, row=row, longer=longer, **verdict)
            self._look()

    def _record(self, **record: Any) -> None:
        if not rundir.append_line(records_file(self.run), record):
            raise OSError(28, "No space left on device", str(records_file(self.run)))
        self.records.append(record)
        self.done.add(_key(record))
        self.beats.beat("eval", len(self.records), self.total)

    def _look(self) -> None:
        """Tell how far it is, and answer what was asked.

        Raises:
            AskedToEnd: somebody wants it to end.
        """
        done = len(self.records)
        self.metrics.write(
            {
                "time": time.time(),
                "current_steps": done,
                "total_steps": self.total,
                "percentage": round(100 * done / max(self.total, 1), 2),
                "elapsed_time": round(time.monotonic() - self._began, 1),
            }
        )
        for request in rundir.pending_requests(self.run):
            if request.verb in ("stop", "pause", "cancel"):
                raise AskedToEnd(request)
            rundir.acknowledge(self.run, request, step=done)  # every record is saved already

    def _loading(self, doing: str) -> None:
        self.beats.beat("load")
        rundir.append_event(self.run, "loading", by="worker", message=doing)

    def _finish(self, outcome: str, message: str | None = None) -> None:
        report = build_report(self.spec, self.records)
        if "judge" in self._names():
            report["judge"] = [
                {"dataset": dataset.name, "subject": subject.name, **found}
                for dataset in self.spec.datasets
                for subject in self.spec.subjects[1:]
                if (found := judged(self.records, subject.name, dataset.name)) is not None
            ]
        if outcome == "finished":
            atomic.write_json(report_file(self.run), report, indent=1)
        rundir.write_result(
            self.run, self.part, outcome, step=len(self.records), metrics=headline(report), message=message,
            seconds=round(time.monotonic() - self._began, 1),
        )  # fmt: skip

    def stopped(self, asked: AskedToEnd) -> None:
        """End as asked; everything measured so far stays."""
        if self.records:
            self._finish(
                "stopped", f"{len(self.records):,} of {self.total:,} are measured and kept; resume goes on there"
            )
        rundir.acknowledge(self.run, asked.request, step=len(self.records))

    def failed(self, error: Exception) -> int:
        """Say why it failed.

        Returns:
            the exit code.
        """
        message = failure.sentence(error)
        sys.stderr.write(f"{message}\n")
        rundir.append_event(self.run, "failed", by="worker", message=message)
        try:
            rundir.write_result(
                self.run, self.part, "failed", message=message, error=type(error).__name__,
                cause=failure.cause_of(error), step=len(self.records),
            )  # fmt: skip
        except OSError as unwritten:
            sys.stderr.write(f"result.json could not be written: {unwritten}\n")
        return _FAILED


def headline(report: dict[str, Any]) -> dict[str, float]:
    """The values of the last subject, by `dataset/metric`."""
    last = report["subjects"][-1]
    return {
        f"{each['dataset']}/{each['metric']}": each["values"][last]["value"]
        for each in report["results"]
        if last in each["values"]
    }


def _key(record: dict[str, Any]) -> Key:
    kind = record["metric"] if record["kind"] == "text" else record["kind"]
    return str(kind), str(record["dataset"]), str(record["subject"]), int(record["row"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Returns 0 when it finished or stopped as asked, 5 when it failed."""
    run = RunDir(Path((arguments or sys.argv[1:])[0]).absolute())
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    evaluation = Evaluation(run, msgspec.convert(rundir.read_job(run).get("input") or {}, Spec))
    try:
        evaluation.run_all()
    except AskedToEnd as asked:
        evaluation.stopped(asked)
    except Exception as error:
        traceback.print_exc()
        return evaluation.failed(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
