"""Whom to talk to: from what the user named to the lanes of an engine.

A run gives its base and what it trained, each with the template that the run was trained with; a model gives itself;
an adapter's folder gives its base and the adapter; an endpoint answers by itself.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tuiwb import endpoints, models, rundir, runs
from tuiwb.base.errors import InputFault, TuiwbError, UsageFault
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.chat.protocol import AnyLane, EndpointLane, Lane, tokenizer_place
from tuiwb.models import ModelInfo

_MARK = re.compile(r"<\|[a-z_0-9]+\|>")
Quantization = Literal["nf4", "nf4-double", "int8"]


@dataclass(frozen=True, slots=True)
class Target:
    """What can be talked to.

    Attributes:
        title: for people: the model's name, or the run's with its checkpoint.
        lanes: the base first, then what was tuned.
        run_id: the run it comes from, if any.
        step: of the run's checkpoint that was the newest then.
        warnings: what does not fit: sentences for people.
    """

    title: str
    lanes: tuple[AnyLane, ...]
    run_id: str | None = None
    warnings: tuple[str, ...] = ()
    step: int | None = None

    @property
    def best(self) -> AnyLane:
        """The lane that answers when only one is asked: what was tuned, else the model itself."""
        return self.lanes[-1]


def target_of(
    ref: str, *, adapters: Sequence[str] = (), template: str | None = None, task: Task | None = None
) -> Target:
    """Find a run or a model and make its lanes.

    Args:
        ref: a run's id (or its unique beginning, or `last`, the newest that trains), a model as `models.open_model`
            takes it, or an endpoint: a profile's name or an address.
        adapters: folders of further adapters to put on the base, a lane each.
        template: name or source of a chat template for a model that has none.

    Raises:
        InputFault: neither a run nor a model; a run without a checkpoint; no chat template.
    """
    if (endpoint := _endpoint_named(ref)) is not None:
        if adapters:
            raise InputFault("an adapter cannot be put on what an endpoint serves", key="--adapter")
        return Target(title=endpoint.name, lanes=(EndpointLane(name=endpoint.name, endpoint=endpoint),))
    if run := _run_named(ref):
        target = _of_run(run, task)
    else:
        info = models.open_model(ref, task=task)
        target = _of_adapter(info, template, task) if info.adapter is not None else _of_model(info, template)
    base = target.lanes[0]
    assert isinstance(base, Lane)
    warnings = tuple(filter(None, [_misfit(base)]))
    extra = tuple(_adapter_lane(base, Path(folder), used) for folder, used in _named(adapters, target.lanes))
    return dataclasses.replace(target, lanes=(*target.lanes, *extra), warnings=warnings)


def _misfit(lane: Lane) -> str | None:
    """Why the template is not the model's: its marks of a turn are no tokens of the model, which reads them as text
    that it never learned."""
    tokenizer = models.load_tokenizer(tokenizer_place(lane.model, lane.adapter))
    text = tokenizer.template(lane.template).render([{"role": "user", "content": "hello"}], add_generation_prompt=True)
    special = {tokenizer.token(number) for number in tokenizer.special_ids}
    strange = [mark for mark in dict.fromkeys(_MARK.findall(text)) if mark not in special]
    if not strange:
        return None
    return (
        f"the template does not fit {Path(lane.model).name}: it writes {', '.join(strange[:3])}, which "
        f"{'is no token' if len(strange) == 1 else 'are no tokens'} of the model"
    )


def further(target: Target, ref: str, *, task: Task | None = None) -> AnyLane:
    """One more lane for a target.

    Args:
        ref: the number of a checkpoint of the target's run, the folder of an adapter for its base, an endpoint, or
            another model or run, of which what was tuned comes.

    Raises:
        InputFault: there is no such thing, or it does not go with the target.
    """
    base = target.lanes[0]
    if target.run_id is not None and ref.isdigit():
        found = {each.step: each.path for each in run_checkpoints(target.run_id)}
        if int(ref) not in found:
            steps = ", ".join(str(step) for step in sorted(found))
            raise InputFault(f"the run has no whole checkpoint {ref}; there are {steps}")
        assert isinstance(base, Lane)
        return _checkpoint_lane(base, found[int(ref)], f"step-{ref}")
    if (Path(ref) / "adapter_config.json").is_file() and isinstance(base, Lane):
        ((folder, name),) = _named([ref], target.lanes)
        return _adapter_lane(base, Path(folder), name)
    best = target_of(ref, task=task).best
    taken = {lane.name for lane in target.lanes}
    name = best.name
    if name in taken | {"base", "tuned"}:
        # Of one server, by the model; else by what it was called.
        other = f"{name}#{best.endpoint.model}" if isinstance(best, EndpointLane) else Path(ref).name
        name = gate_line(other, 30)
    return msgspec.structs.replace(best, name=name)


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """A whole checkpoint of a run."""

    step: int
    path: Path


def run_checkpoints(run_id: str) -> list[RunCheckpoint]:
    """The whole checkpoints of a run's last part, oldest first."""
    parts = runs.find(run_id).parts()
    verdicts = [rundir.verify_checkpoint(path) for path in (rundir.checkpoints(parts[-1]) if parts else ())]
    return [RunCheckpoint(each.step, each.path) for each in verdicts if each.valid and each.step is not None]


def newest_step(run_id: str) -> int | None:
    """Of the newest whole checkpoint that a run has by now."""
    verdict = rundir.newest_valid_checkpoint(runs.find(run_id))
    return None if verdict is None else verdict.step


def _endpoint_named(ref: str) -> endpoints.Endpoint | None:
    """The endpoint that is meant, or None. A profile's name wins over models and runs, and can be made to differ."""
    if endpoints.is_address(ref) or ref in endpoints.profiles():
        return endpoints.find(ref)
    return None


def _run_named(ref: str) -> rundir.RunDir | None:
    """The run that is meant, or None where a model is. A model's own name wins over runs that contain it.

    Raises:
        InputFault: several runs are meant, or nothing is.
    """
    if "/" in ref or Path(ref).exists() or models.find_entry(ref) or ref in {info.name for info in models.installed()}:
        return None
    try:
        return (_newest_training() if ref == "last" else None) or runs.find(ref)
    except UsageFault as error:
        several = " fits " in error.message
        raise InputFault(
            error.message
            if several
            else f"`{ref}` is neither a run nor a model here; `tuiwb runs list` and "
            "`tuiwb models list` show what there is"
        ) from error


def _newest_training() -> rundir.RunDir | None:
    """The run that `last` means here: what measured or exported it came later, and has nothing to say."""
    return next((run for run in reversed(runs.run_dirs()) if _kind(run) == "train"), None)


def _kind(run: rundir.RunDir) -> str:
    try:
        return str(rundir.read_job(run).get("kind") or "")
    except TuiwbError:
        return ""


def _of_run(run: rundir.RunDir, task: Task | None) -> Target:
    checkpoint = rundir.newest_valid_checkpoint(run)
    if checkpoint is None and (kind := _kind(run)) != "train":
        raise InputFault(f"run {run.run_id} trained nothing (it is of the kind `{kind}`): name the run that did")
    if checkpoint is None:
        raise InputFault(
            f"run {run.run_id} has no checkpoint yet: ask for one with `tuiwb runs save {run.run_id}`, or wait for it"
        )
    recipe = _recipe_of(run, checkpoint.path)
    base = models.open_model(recipe["model_name_or_path"], task=task)
    # The checkpoint carries the tokenizer and the template of the training.
    template = models.load_tokenizer(checkpoint.path).chat_template
    if template is None:
        raise InputFault(f"checkpoint {checkpoint.path} carries no chat template: it was not written by tuiwb")
    base_lane = _lane("base", base, template, quantization=_quantization(recipe))
    tuned = _checkpoint_lane(base_lane, checkpoint.path, "tuned")
    title = f"{rundir.read_job(run).get('name') or run.run_id} · step {checkpoint.step:,}"
    return Target(title=title, lanes=(base_lane, tuned), run_id=run.run_id, step=checkpoint.step)


def _recipe_of(run: rundir.RunDir, checkpoint: Path) -> dict[str, Any]:
    """The recipe that made a checkpoint, which lies in it: each part of a run has its own, and may go on from a model
    that an earlier part made."""
    from tuiwb import recipe

    file = checkpoint / "recipe.yaml"
    return recipe.to_plain(recipe.load(file)) if file.is_file() else dict(rundir.read_job(run)["input"])


def _checkpoint_lane(base: Lane, checkpoint: Path, name: str) -> Lane:
    if (checkpoint / "adapter_config.json").is_file():
        return _adapter_lane(base, checkpoint, name)
    return _lane(name, models.open_model(str(checkpoint)), base.template)


def _of_model(info: ModelInfo, template: str | None) -> Target:
    return Target(title=info.name, lanes=(_lane(info.name, info, _template_of(info, template)),))


def _of_adapter(info: ModelInfo, template: str | None, task: Task | None) -> Target:
    assert info.adapter is not None
    assert info.path is not None
    if not info.adapter.base_model:
        raise InputFault("this adapter does not name its base model: talk to the base with --adapter", file=info.path)
    base = models.open_model(info.adapter.base_model, task=task)
    source = models.load_tokenizer(info).chat_template if info.has_tokenizer else None
    lane = _lane("base", base, source if template is None and source else _template_of(base, template))
    return Target(title=info.name, lanes=(lane, _adapter_lane(lane, info.path, "tuned")))


def _lane(name: str, info: ModelInfo, template: str, *, quantization: Quantization | None = None) -> Lane:
    if info.path is None:
        raise InputFault(f"{info.ref} is not on this machine: get it with `tuiwb models get {info.ref}`")
    return Lane(
        name=name,
        model=str(info.path),
        template=template,
        stop_ids=_stop_ids(info.path, template, [info.path]),
        context=info.context_length,
        quantization=quantization,
    )


def _adapter_lane(base: Lane, folder: Path, name: str) -> Lane:
    return Lane(
        name=name,
        model=base.model,
        adapter=str(folder),
        template=base.template,
        stop_ids=_stop_ids(Path(base.model), base.template, [Path(base.model), folder]),
        context=base.context,
        quantization=base.quantization,
    )


def _named(adapters: Iterable[str], lanes: tuple[AnyLane, ...]) -> list[tuple[str, str]]:
    """Each adapter with a name that no lane has yet: its folder's, numbered if need be."""
    taken, named = {lane.name for lane in lanes}, []
    for folder in adapters:
        name = plain = Path(folder).name
        number = 2
        while name in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name)
        named.append((folder, name))
    return named


def _template_of(info: ModelInfo, wanted: str | None) -> str:
    tokenizer = models.load_tokenizer(info)
    if wanted is None and tokenizer.chat_template is None:
        raise InputFault(
            "has no chat template, as base models have none: name one with --chat-template (chatml, llama-3, alpaca …)",
            file=info.path,
        )
    return tokenizer.template(wanted).source


def _stop_ids(base: Path, template: str, folders: list[Path]) -> tuple[int, ...]:
    """Every token that ends an answer: those of the generation configs, the tokenizer's, and the template's end of
    turn (a chat model that only stops at its end-of-text token talks on in both roles)."""
    tokenizer = models.load_tokenizer(base)
    ids: list[int] = []
    for folder in folders:
        ids += _generation_eos(folder)
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    ids += _end_of_turn(tokenizer, template)
    return tuple(dict.fromkeys(ids))


def _generation_eos(folder: Path) -> list[int]:
    try:
        config = json.loads((folder / "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    eos = config.get("eos_token_id") if isinstance(config, dict) else None
    return [eos] if isinstance(eos, int) else [each for each in eos or [] if isinstance(each, int)]


def _end_of_turn(tokenizer: Any, template: str) -> list[int]:
    """The special token that the template writes right after an answer."""
    answer = "qzvx"
    text = tokenizer.template(template).render(
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": answer}]
    )
    after = tokenizer.encode(text[text.rindex(answer) + len(answer) :]) if answer in text else []
    return [number for number in after[:1] if number in tokenizer.special_ids]


def _quantization(recipe: dict[str, Any]) -> Quantization | None:
    if recipe.get("load_in_4bit"):
        return "nf4-double" if recipe.get("use_bnb_nested_quant") else "nf4"
    return "int8" if recipe.get("load_in_8bit") else None
