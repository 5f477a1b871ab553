"""Tasks of lm-eval through its own API, on the model that is loaded already, with the run's template."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
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
        _keep_documents(evaluation, each, subject, found["samples"].get(each, ()))
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
    from transformers import AutoTokenizer

    spec = evaluation.spec
    known = _known(None if file is None else str(file.parent))
    if name not in known.all_tasks:
        raise InputFault(f"lm-eval knows no task `{name}`", key="--task")
    place = tokenizer_place(subject.model, subject.adapter)
    where = {"gguf_file": place.name} if place.suffix == ".gguf" else {}
    tokenizer = AutoTokenizer.from_pretrained(place.parent if where else place, local_files_only=True, **where)
    tokenizer.chat_template = subject.template or None
    # Data that a task's file names is looked for beside it.
    beside = contextlib.chdir(file.parent) if file is not None else contextlib.nullcontext()
    with beside, adapter_on(voice):
        model = _watched(evaluation)(
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


@cache
def _known(folder: str | None) -> Any:
    """The tasks of a folder; None: those of lm-eval, some ten thousand files that take many seconds to look through."""
    from lm_eval.tasks import TaskManager

    return TaskManager() if folder is None else TaskManager(include_path=folder, include_defaults=False)


def _watched(evaluation: Evaluation) -> type[Any]:
    """lm-eval's model, which shows before each batch that it lives, and ends where somebody wants it to: a task may
    take hours."""
    from lm_eval.models.huggingface import HFLM

    class Watched(HFLM):
        def _model_call(self, *args: Any, **more: Any) -> Any:
            evaluation.look()
            return super()._model_call(*args, **more)

        def _model_generate(self, *args: Any, **more: Any) -> Any:
            evaluation.look()
            return super()._model_generate(*args, **more)

    return Watched


def _keep_documents(evaluation: Evaluation, task: str, subject: Subject, samples: Sequence[Mapping[str, Any]]) -> None:
    """One record a document; lm-eval gives one for each of a task's filters."""
    documents: dict[int, list[Mapping[str, Any]]] = {}
    for sample in samples:
        documents.setdefault(int(sample["doc_id"]), []).append(sample)
    for number, filtered in documents.items():
        scores = {
            f"{metric},{each['filter']}": float(each[metric])
            for each in filtered
            for metric in each.get("metrics", ())
            if isinstance(each.get(metric), int | float)
        }
        if not scores or ("task", task, subject.name, number) in evaluation.done:
            continue
        first = filtered[0]
        arguments = first["arguments"]
        asked = next(iter(arguments.values() if isinstance(arguments, dict) else arguments))
        evaluation.record(
            kind="task", dataset=task, subject=subject.name, row=number, scores=scores,
            question=str(asked.get("arg_0") if isinstance(asked, dict) else asked[0])[:_SHOWN],
            answer=json.dumps(first["filtered_resps"], default=str)[:_SHOWN], reference=str(first["target"])[:_SHOWN],
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
