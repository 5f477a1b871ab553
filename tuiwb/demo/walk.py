"""The stations of the demo, in order: `prepare`, `samples`, `begin`, `follow`, `ask`. Who calls them shows them.

The demo is the preset `demo` and nothing else: what it does, `tuiwb plan demo`, `tuiwb train demo` and
`tuiwb chat RUN --side-by-side` do too.
"""

import json
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuiwb import rundir, runs
from tuiwb.base import units
from tuiwb.base.errors import EnvironmentFault, RunFault
from tuiwb.base.tasks import Task
from tuiwb.demo.form import form_fault
from tuiwb.rundir import RunDir

if TYPE_CHECKING:
    from tuiwb.data.layout import Rendered
    from tuiwb.resolve import Assessment

PRESET = "demo"
LANES = ("base", "tuned")
ANSWER_TOKENS = 80
"""The longest answer that is waited for: a page takes some fifty."""

How = Literal["launched", "running", "finished"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How the training stands.

    Attributes:
        phase: of the newest beat: wait, load, data, train, eval, save.
        metrics: the newest line of metrics, None before the first.
        state: of the run.
    """

    state: str
    phase: str = ""
    metrics: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one lane said to one question. `fault` is why it is no page, "" where it is."""

    question: str
    lane: str
    text: str
    fault: str = field(default="")

    @property
    def is_page(self) -> bool:
        return not self.fault

    def to_json(self) -> dict[str, Any]:
        return {"question": self.question, "lane": self.lane, "answer": self.text, "page": self.is_page,
                "fault": self.fault}  # fmt: skip


def prepare(task: Task) -> "Assessment":
    """Bring the model, then resolve, plan and check the preset.

    Raises:
        EnvironmentFault: the model can be had from nowhere, or the disk is full.
        InputFault: a check found an error.
    """
    from tuiwb import models, recipe, resolve

    stated = recipe.load(PRESET)
    assert stated.model_name_or_path
    models.get(stated.model_name_or_path, task=task)
    assessment = resolve.assess(stated, task=task)
    if not assessment.ok:
        raise assessment.fault()
    return assessment


def samples(assessment: "Assessment", count: int) -> "list[Rendered]":
    """The first rows as the model will see them."""
    from tuiwb import data, models
    from tuiwb.data.render import Renderer

    recipe = assessment.resolved.recipe
    assert assessment.model is not None
    assert recipe.datasets
    tokenizer = models.load_tokenizer(assessment.model)
    renderer = Renderer(tokenizer, tokenizer.template(recipe.chat_template), max_length=recipe.max_length)
    with data.open(recipe.datasets[0]) as view:
        return [renderer(view.translate(row)) for row in view.rows(0, count)]


def held_out() -> list[str]:
    """The questions that no training row asks."""
    from tuiwb import recipe

    entries = recipe.load(PRESET).eval_datasets
    assert entries
    with Path(entries[0].path).open(encoding="utf-8") as lines:
        return [json.loads(line)["messages"][0]["content"] for line in lines]


def earlier(assessment: "Assessment") -> RunDir | None:
    """The newest run of exactly this demo that has finished or is still at work."""
    from tuiwb.runs.training import job_of

    wanted = dict(job_of(assessment).fingerprints)
    for view in runs.scan():
        usable = view.state == "finished" or (view.active and view.state != "stopping")
        if usable and rundir.read_job(view.run).get("fingerprints") == wanted:
            return view.run
    return None


def has_finished(run: RunDir) -> bool:
    return str(runs.standing(run).state.get("state")) == "finished"


def begin(assessment: "Assessment", *, again: bool = False) -> tuple[RunDir, How]:
    """The run of the demo: an earlier one, or a new one that is launched now.

    Args:
        again: train anew whatever there is.

    Raises:
        EnvironmentFault, RunFault: as `runs.launch`.
    """
    from tuiwb.runs.training import train

    if not again and (run := earlier(assessment)) is not None:
        return run, "finished" if has_finished(run) else "running"
    return train(assessment), "launched"


def follow(run: RunDir, task: Task, *, every_s: float = 0.2) -> Iterator[Progress]:
    """Every change of a run until it has finished.

    Raises:
        RunFault: it ended in another way.
        Cancelled: the task was cancelled; the run goes on.
    """
    from tuiwb.runs.follow import Follower

    follower, phase = Follower(run), ""
    while True:
        task.step("training", task.progress.done, task.progress.total, "steps")
        # Asked before reading: what was written up to the end of the run is then read after it.
        state = str(runs.standing(run).state.get("state"))
        for record in follower.read():
            if record.source == "metrics":
                task.step("training", record.value.get("current_steps") or 0, record.value.get("total_steps"), "steps")
                yield Progress(state, "train", record.value)
        beat = rundir.read_beat(run) or {}
        if (now := str(beat.get("phase", ""))) != phase:
            phase = now
            yield Progress(state, phase)
        if state in rundir.RESTING:
            break
        time.sleep(every_s)
    yield Progress(state, phase)
    if state != "finished":
        why = runs.view(run).reason
        raise RunFault(
            f"the training did not finish, it is {state}{f': {why}' if why else ''}; "
            f"`tuiwb runs tail {run.run_id} --log` shows its output"
        )


def ask(
    run_id: str,
    questions: list[str],
    *,
    lanes: tuple[str, ...] = LANES,
    on_doing: Callable[[str], None] = lambda _: None,
) -> Iterator[Answer]:
    """What the base and the tuned model say to each question, always taking the likeliest token.

    Args:
        run_id: a finished run, or anything else that `tuiwb chat` talks to and that has these lanes.
        on_doing: gets what the engine does before it answers.

    Raises:
        EnvironmentFault: the chat engine cannot be started, or fails.
    """
    from tuiwb import chat
    from tuiwb.chat.engine import Engine
    from tuiwb.chat.protocol import Died, Done, Event, Failed, Loading

    target = chat.target_of(run_id)
    sampling = chat.Sampling(temperature=0.0, max_new_tokens=ANSWER_TOKENS)
    events: queue.Queue[Event] = queue.Queue()
    wanted = tuple(lane for lane in target.lanes if isinstance(lane, chat.Lane) and lane.name in lanes)
    with Engine(wanted, on_event=events.put) as engine:
        for question in questions:
            engine.ask({lane.name: [{"role": "user", "content": question}] for lane in wanted}, sampling)
            missing = {lane.name for lane in wanted}
            while missing:
                match event := events.get():
                    case Loading():
                        on_doing(event.doing)
                    case Done():
                        missing.discard(event.lane)
                        yield Answer(question, event.lane, event.text, form_fault(event.text))
                    case Failed() | Died():
                        raise EnvironmentFault(f"the chat engine could not answer: {event.message}")
                    case _:
                        pass


def plan_lines(assessment: "Assessment") -> list[tuple[str, str]]:
    """The plan in a few lines: what, how much."""
    recipe, plan = assessment.resolved.recipe, assessment.plan
    if plan is None:
        return []
    share = plan.trainable / plan.parameters
    lines = [
        ("model", f"{plan.model.name}, {units.parameters(plan.parameters)} parameters"),
        ("trained", f"{units.parameters(plan.trainable)} of them in adapters ({share:.2%}), rank {recipe.lora_r}"),
        *((part.name, units.gib(part.bytes)) for part in sorted(plan.components, key=lambda part: -part.bytes)[:3]),
        ("peak", f"{units.gib(plan.peak_bytes)}, in: {plan.binding.name}"),
    ]
    if plan.fits is not None:
        verdict = "fits" if plan.fits.ok else "does not fit"
        lines.append(("GPU", f"{verdict} {plan.fits.gpu} ({units.gib(plan.fits.memory_bytes)})"))
    else:
        lines.append(("GPU", "none here: it trains on the CPU"))
    return lines
