"""Tasks of lm-eval through its own API, on the model that is loaded already, with the run's template."""

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.chat.protocol import tokenizer_place
from tuiwb.evaluate import tasks
from tuiwb.evaluate.spec import Subject
from tuiwb.workers.chat_answers import adapter_on
from tuiwb.workers.eval_asked import Evaluation
from tuiwb.workers.eval_model import Local

_DONE = "task_done"
_RESAMPLES = 1000
_SHOWN = 4000


def measure(evaluation: Evaluation, subject: Subject, task: str) -> None:
    """Let lm-eval measure a subject, and keep what it found: each document's scores, and its own values.

    Raises:
        InputFault: there is no such task, or it cannot be used.
        EnvironmentFault: its data cannot be had.
    """
    file = Path(task).expanduser()
    name = tasks.name_in(file) if file.suffix in (".yaml", ".yml") else task
    if (_DONE, name, subject.name, -1) in evaluation.done:
        return
    voice = evaluation.models.voice(subject)
    assert isinstance(voice, Local)
    found = _measured(evaluation, voice, subject, name, file if name != task else None)
    for each, values in found["results"].items():
        for document in found["samples"].get(each, ()):
            _keep_document(evaluation, each, subject, document)
        own, higher = _values(values), found.get("higher_is_better", {}).get(each, {})
        evaluation.record(
            kind="task_result", dataset=each, subject=subject.name, row=-1, values=own,
            higher={metric: bool(higher.get(metric.split(",")[0], True)) for metric in own},
            version=found.get("versions", {}).get(each),
        )  # fmt: skip
    evaluation.record(kind=_DONE, dataset=name, subject=subject.name, row=-1)
    evaluation.look()


def _measured(evaluation: Evaluation, voice: Local, subject: Subject, name: str, file: Path | None) -> dict[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    spec = evaluation.spec
    known = TaskManager() if file is None else TaskManager(include_path=str(file.parent), include_defaults=False)
    if name not in known.all_tasks:
        raise InputFault(f"lm-eval knows no task `{name}`", key="--task")
    place = tokenizer_place(subject.model, subject.adapter)
    where = {"gguf_file": place.name} if place.suffix == ".gguf" else {}
    tokenizer = AutoTokenizer.from_pretrained(place.parent if where else place, local_files_only=True, **where)
    tokenizer.chat_template = subject.template or None
    # Data that a task's file names is looked for beside it.
    beside = contextlib.chdir(file.parent) if file is not None else contextlib.nullcontext()
    with beside, adapter_on(voice):
        model = HFLM(
            pretrained=voice.base.model, tokenizer=tokenizer, batch_size=spec.batch_size, max_length=subject.context
        )
        try:
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=[name],
                task_manager=known,
                limit=spec.max_examples,
                apply_chat_template=spec.task_template and bool(subject.template),
                bootstrap_iters=_RESAMPLES,
            )
        except ConnectionError as error:
            raise EnvironmentFault(f"the data of {name} cannot be had: {str(error).splitlines()[0]}") from error
    assert isinstance(found, dict)
    return found


def _keep_document(evaluation: Evaluation, task: str, subject: Subject, document: Mapping[str, Any]) -> None:
    scores = {
        f"{metric},{document['filter']}": float(document[metric])
        for metric in document.get("metrics", ())
        if isinstance(document.get(metric), int | float)
    }
    if not scores or ("task", task, subject.name, int(document["doc_id"])) in evaluation.done:
        return
    first = next(
        iter(document["arguments"].values() if isinstance(document["arguments"], dict) else document["arguments"])
    )
    asked = first.get("arg_0") if isinstance(first, dict) else first[0]
    evaluation.record(
        kind="task", dataset=task, subject=subject.name, row=int(document["doc_id"]), scores=scores,
        question=str(asked)[:_SHOWN], answer=json.dumps(document["filtered_resps"], default=str)[:_SHOWN],
        reference=str(document["target"])[:_SHOWN],
    )  # fmt: skip


def _values(found: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """lm-eval's values with their standard errors: its keys are `acc,none` and `acc_stderr,none`."""
    values: dict[str, tuple[float, float | None]] = {}
    for key, value in found.items():
        metric, _, chosen = key.partition(",")
        if chosen and isinstance(value, int | float) and not metric.endswith("_stderr"):
            error = found.get(f"{metric}_stderr,{chosen}")
            usable = isinstance(error, int | float) and not math.isnan(error)
            values[key] = float(value), float(error) if usable and error is not None else None
    return values
