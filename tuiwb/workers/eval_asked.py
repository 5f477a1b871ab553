"""What the eval worker does with answers: lets a judge compare or mark them, and runs their code."""

from collections.abc import Sequence
from typing import Any, Protocol

from tuiwb import data, endpoints
from tuiwb.evaluate import judge, sandbox, turns
from tuiwb.evaluate.examples import Case, program_of
from tuiwb.evaluate.spec import Spec, Subject
from tuiwb.evaluate.turns import Turns
from tuiwb.workers.eval_model import Models


class Evaluation(Protocol):
    """What of an attempt is used here."""

    spec: Spec
    models: Models
    records: list[dict[str, Any]]
    done: set[tuple[str, str, str, int]]

    def record(self, **record: Any) -> None: ...

    def look(self) -> None: ...


def asker(spec: Spec) -> judge.Ask:
    """The judge, ready to be asked."""
    assert spec.judge is not None
    endpoint = endpoints.find(spec.judge)
    return lambda messages: endpoints.complete(endpoint, messages, judge.PARAMETERS).text


def compare(evaluation: Evaluation, subject: Subject) -> None:
    """Let the judge compare a subject's answers with the first subject's."""
    spec, ask = evaluation.spec, asker(evaluation.spec)
    base = spec.subjects[0].name
    answers = {(r["dataset"], r["subject"], r["row"]): r for r in evaluation.records if r["kind"] == "answer"}
    for (dataset, name, row), ours in answers.items():
        theirs = answers.get((dataset, base, row))
        if name != subject.name or theirs is None or ("judge", dataset, name, row) in evaluation.done:
            continue
        verdict = judge.compare(
            ask,
            ours["question"],
            ours["answer"],
            theirs["answer"],
            reference=ours.get("reference"),
            criteria=spec.criteria,
        )
        longer = len(ours["answer"]) - len(theirs["answer"])
        evaluation.record(kind="judge", dataset=dataset, subject=name, row=row, longer=longer, **verdict)
        evaluation.look()


def run_code(evaluation: Evaluation, subject: Subject, dataset: str, cases: Sequence[Case]) -> None:
    """Run the code of a subject's answers against the rows' tests."""
    said = {
        r["row"]: r["answer"]
        for r in evaluation.records
        if r["kind"] == "answer" and (r["dataset"], r["subject"]) == (dataset, subject.name)
    }
    for case in cases:
        if case.tests is None or ("code", dataset, subject.name, case.row) in evaluation.done:
            continue
        outcome = sandbox.run(program_of(case, said[case.row]))
        evaluation.record(
            kind="code", dataset=dataset, subject=subject.name, row=case.row, passed=outcome.passed, how=outcome.how
        )
        evaluation.look()


def converse(evaluation: Evaluation, subject: Subject, dataset: str, talks: Sequence[Turns]) -> None:
    """Ask a subject the turns of each row, one after the other."""
    spec = evaluation.spec
    for turn in range(max(len(each.questions) for each in talks)):
        said = _said(evaluation, dataset, subject.name)
        asked = [
            each
            for each in talks
            if turn < len(each.questions)
            and (f"turn {turn + 1}", dataset, subject.name, each.row) not in evaluation.done
        ]
        for start in range(0, len(asked), spec.batch_size):
            batch = asked[start : start + spec.batch_size]
            prompts = [data.Example(id=each.row, prompt=_talk(each, said.get(each.row, []), turn)) for each in batch]
            answers = evaluation.models.voice(subject).answer(prompts, spec.max_new_tokens)
            for each, answer in zip(batch, answers, strict=True):
                evaluation.record(
                    kind="turn",
                    dataset=dataset,
                    subject=subject.name,
                    row=each.row,
                    turn=turn + 1,
                    question=each.questions[turn],
                    reference=_reference(each, turn),
                    **answer,
                )
            evaluation.look()


def mark(evaluation: Evaluation, dataset: str, talks: Sequence[Turns]) -> None:
    """Let the judge mark every turn of every subject."""
    spec, ask = evaluation.spec, asker(evaluation.spec)
    for subject in spec.subjects:
        said = _said(evaluation, dataset, subject.name)
        for each in talks:
            for turn in range(1, len(each.questions) + 1):
                if (f"mark {turn}", dataset, subject.name, each.row) in evaluation.done:
                    continue
                found = turns.mark(
                    ask,
                    each.questions[:turn],
                    said[each.row][:turn],
                    reference=_reference(each, turn - 1),
                    criteria=spec.criteria,
                )
                evaluation.record(
                    kind="mark", dataset=dataset, subject=subject.name, row=each.row, turn=turn, mark=found
                )
                evaluation.look()


def _said(evaluation: Evaluation, dataset: str, subject: str) -> dict[int, list[str]]:
    """The answers by row, in the order of the turns."""
    found: dict[int, list[str]] = {}
    mine = [r for r in evaluation.records if r["kind"] == "turn" and (r["dataset"], r["subject"]) == (dataset, subject)]
    for record in sorted(mine, key=lambda r: int(r["turn"])):
        found.setdefault(record["row"], []).append(record["answer"])
    return found


def _talk(each: Turns, answers: Sequence[str], turn: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for question, answer in zip(each.questions, answers, strict=False):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*messages[: 2 * turn], {"role": "user", "content": each.questions[turn]}]


def _reference(each: Turns, turn: int) -> str | None:
    return (each.references[turn] or None) if turn < len(each.references) else None
