"""The eval worker: `python -m tuiwb.workers.eval RUN_DIR`.

Each row that is measured becomes a line of `records.jsonl` at once, so a run that was stopped or killed goes on where
it was, and what a broken judge or a full disk leaves is there to look at.
"""

import itertools
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tuiwb import data, rundir
from tuiwb.base import atomic
from tuiwb.base.errors import InputFault
from tuiwb.evaluate import turns
from tuiwb.evaluate.examples import Case, case_of, examples
from tuiwb.evaluate.report import PART, build_report, judged, records_file, report_file
from tuiwb.evaluate.spec import Dataset, Spec, Subject, parse_metric
from tuiwb.models import hub
from tuiwb.recipe import DatasetEntry
from tuiwb.rundir import BeatWriter, MetricsWriter, RunDir
from tuiwb.workers import eval_asked, eval_tasks, failure
from tuiwb.workers.eval_model import Models

_FAILED = 5
_PARTS = ("task", "task_result")
"""Kinds of records that are parts of a step: a task of lm-eval is one step, however many documents it has."""
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
        self.steps = sum(record["kind"] not in _PARTS for record in self.records)
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
        rows = {dataset.name: self._rows(dataset) for dataset in self.spec.datasets if not dataset.turns}
        talks = {
            dataset.name: turns.questions(Path(dataset.path), self.spec.max_examples)
            for dataset in self.spec.datasets
            if dataset.turns
        }
        if rows and self.spec.needs("answer") and not any(map(case_of, itertools.chain.from_iterable(rows.values()))):
            raise InputFault("no row asks anything", key="--data")
        self.total = self._count(rows) + 2 * len(self.spec.subjects) * sum(
            len(each.questions) for found in talks.values() for each in found
        )
        counted = {name: len(each) for name, each in (rows | talks).items()}
        rundir.append_event(self.run, "evaluating", by="worker", rows=counted)
        for subject in self.spec.subjects:
            self._subject(subject, rows)
            for name, found in talks.items():
                eval_asked.converse(self, subject, name, found)
            for task in self.spec.tasks:
                eval_tasks.measure(self, subject, task)
        if "judge" in self.names:
            for subject in self.spec.subjects[1:]:
                eval_asked.compare(self, subject)
        if "mt_bench" in self.names:
            for name, found in talks.items():
                eval_asked.mark(self, name, found)
        self._finish("finished")

    @property
    def names(self) -> list[str]:
        return [parse_metric(each)[0].name for each in self.spec.metrics]

    @property
    def texts(self) -> list[str]:
        """The metrics that read the rows themselves."""
        return [name for name in ("loss", "perplexity") if name in self.names]

    def _rows(self, dataset: Dataset) -> list[data.Example]:
        with data.open(DatasetEntry(path=dataset.path, format=dataset.format)) as view:  # type: ignore[arg-type]
            found = list(examples(view, self.spec.max_examples))
        if not found:
            raise InputFault("no row can be used", file=dataset.path)
        if self.spec.needs("answer"):
            cases = [case for each in found if (case := case_of(each)) is not None]
            if not cases and self.texts and len(self.spec.datasets) > 1:
                told = f"{dataset.name}: no row asks anything, so only its text is measured"
                rundir.append_event(self.run, "note", by="worker", message=told)
                return found
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
            if "code" in self.names and all(case.tests is None for case in cases):
                raise InputFault("no row has tests to run", file=dataset.path, key="--data")
        return found

    def _count(self, rows: dict[str, list[data.Example]]) -> int:
        """Steps in all: rows that are read, rows that are answered, their code and its judgements, and tasks."""
        names, subjects = self.names, len(self.spec.subjects)
        total = subjects * (len(self.texts) * sum(map(len, rows.values())) + len(self.spec.tasks))
        if self.spec.needs("answer"):
            cases = [case for found in rows.values() for each in found if (case := case_of(each)) is not None]
            total += subjects * len(cases) + (subjects - 1) * len(cases) * ("judge" in names)
            total += subjects * sum(case.tests is not None for case in cases) * ("code" in names)
        return total

    def _subject(self, subject: Subject, rows: dict[str, list[data.Example]]) -> None:
        for dataset in self.spec.datasets:
            for name in self.texts:
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
            self.record(
                kind="text", metric=name, dataset=dataset.name, subject=subject.name, row=example.id, **measured
            )
            self.look()

    def _answers(self, subject: Subject, dataset: Dataset, found: Sequence[data.Example]) -> None:
        cases = [case for each in found if (case := case_of(each)) is not None]
        missing = [case for case in cases if ("answer", dataset.name, subject.name, case.row) not in self.done]
        if missing:
            self._answer(missing, subject, dataset)
        if "code" in self.names:
            eval_asked.run_code(self, subject, dataset.name, cases)

    def _answer(self, missing: list[Case], subject: Subject, dataset: Dataset) -> None:
        voice = self.models.voice(subject)
        # Prompts of like length together: less padding.
        missing.sort(key=lambda case: len(str(case.example.prompt)))
        for start in range(0, len(missing), self.spec.batch_size):
            batch = missing[start : start + self.spec.batch_size]
            answers = voice.answer([case.example for case in batch], self.spec.max_new_tokens)
            for case, answer in zip(batch, answers, strict=True):
                self.record(
                    kind="answer",
                    dataset=dataset.name,
                    subject=subject.name,
                    row=case.row,
                    question=case.question,
                    reference=case.reference,
                    calls=[dict(call) for call in case.calls],
                    **answer,
                )
            self.look()

    def record(self, **record: Any) -> None:
        if not rundir.append_line(records_file(self.run), record):
            raise OSError(28, "No space left on device", str(records_file(self.run)))
        self.records.append(record)
        self.done.add(_key(record))
        self.steps += record["kind"] not in _PARTS
        self.beats.beat("eval", self.steps, self.total)

    def look(self) -> None:
        """Tell how far it is, and answer what was asked.

        Raises:
            AskedToEnd: somebody wants it to end.
        """
        self.beats.beat("eval", self.steps, self.total)
        self.metrics.write(
            {
                "time": time.time(),
                "current_steps": self.steps,
                "total_steps": self.total,
                "percentage": round(100 * self.steps / max(self.total, 1), 2),
                "elapsed_time": round(time.monotonic() - self._began, 1),
            }
        )
        for request in rundir.pending_requests(self.run):
            if request.verb in ("stop", "pause", "cancel"):
                raise AskedToEnd(request)
            rundir.acknowledge(self.run, request, step=self.steps)  # every record is saved already

    def _loading(self, doing: str) -> None:
        self.beats.beat("load")
        rundir.append_event(self.run, "loading", by="worker", message=doing)

    def _finish(self, outcome: str, message: str | None = None) -> None:
        report = build_report(self.spec, self.records)
        if "judge" in self.names:
            report["judge"] = [
                {"dataset": dataset.name, "subject": subject.name, **found}
                for dataset in self.spec.datasets
                for subject in self.spec.subjects[1:]
                if (found := judged(self.records, subject.name, dataset.name)) is not None
            ]
        if outcome == "finished":
            atomic.write_json(report_file(self.run), report, indent=1)
        rundir.write_result(
            self.run, self.part, outcome, step=self.steps, metrics=headline(report), message=message,
            seconds=round(time.monotonic() - self._began, 1),
        )  # fmt: skip

    def stopped(self, asked: AskedToEnd) -> None:
        """End as asked; everything measured so far stays."""
        if self.records:
            self._finish("stopped", f"{self.steps:,} of {self.total:,} are measured and kept; resume goes on there")
        rundir.acknowledge(self.run, asked.request, step=self.steps)

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
                cause=failure.cause_of(error), step=self.steps,
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
    if "turn" in record:
        kind = f"{kind} {record['turn']}"
    return str(kind), str(record["dataset"]), str(record["subject"]), int(record["row"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Returns 0 when it finished or stopped as asked, 5 when it failed."""
    run = RunDir(Path((arguments or sys.argv[1:])[0]).absolute())
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if hub.offline():
        os.environ["HF_HUB_OFFLINE"] = "1"  # lm-eval asks for its tasks' data by itself
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
