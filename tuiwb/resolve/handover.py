"""A recipe handed over to TRL: a folder with the prepared data and what `trl <stage> --config`, or plain Python, runs.

    trl.yaml | train.py     the run
    data/train.jsonl        the rows that are trained on, in the order of their sources
    data/test.jsonl         those that are measured on, where there are any
    recipe.yaml             the resolved recipe that all of it was made from
    <file>.py               the reward functions of the recipe
    <file>_on_texts.py      what hands them answers as texts, where TRL has turns
    built_in_rewards.py     those that the recipe names and that are built in
    chat_template.jinja     where the recipe names a template
    model/                  links to the model's files, where TRL has no other way to be told of the template

Stages sft, pretrain and reward get token ids, with the labels that we train on; the others get text, which TRL renders
by the same template.
"""

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from tuiwb import recipe as recipes
from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.recipe import Recipe
from tuiwb.recipe.reward_funcs import parse_reward
from tuiwb.recipe.trl_keys import BUILT_IN, ON_TEXTS, TrlRun, trl_run
from tuiwb.resolve.handover_rewards import built_in, on_texts
from tuiwb.resolve.handover_text import python_script, yaml_config

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.prepared import Prepared
    from tuiwb.models import ChatTemplate, ModelInfo, Tokenizer
    from tuiwb.resolve import Assessment

Kind = Literal["trl", "script"]
_TOKENS = ("sft", "reward")


@dataclass(frozen=True, slots=True)
class Handover:
    """What was written.

    Attributes:
        folder: where it is.
        file: what is run.
        command: to be typed in `folder`.
        rows, held_out: examples trained and measured on.
        notes: in what TRL's training will differ from the one here.
    """

    folder: Path
    file: Path
    command: str
    rows: int
    held_out: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "file": str(self.file),
            "command": self.command,
            "rows": self.rows,
            "held_out": self.held_out,
            "notes": list(self.notes),
        }


def hand_over(assessment: "Assessment", folder: Path, kind: Kind, *, task: Task | None = None) -> Handover:
    """Write a folder from which TRL trains what the recipe says.

    Args:
        folder: new, or empty.

    Raises:
        UsageFault: TRL lacks what the recipe states, or there is something in the folder.
        InputFault: the model or the data are at fault.
        EnvironmentFault: it cannot be written.
    """
    recipe, task = assessment.resolved.recipe, task or Task()
    run = trl_run(recipe, script=kind == "script")
    model = _model(assessment)
    _refuse_full(folder)
    material = _Material.of(recipe, model, task)
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        rows = _write(folder / "data/train.jsonl", material.rows(run.command))
        held = _write(folder / "data/test.jsonl", material.held_out(run.command))
        if not held:
            (folder / "data/test.jsonl").unlink()
        own = _own_template(folder, recipe, material, run.command)
        atomic.write_text(folder / "recipe.yaml", recipes.dumps(recipe))
        _bring_rewards(recipe.reward_funcs or () if run.rewards else (), folder)
        links = own is not None and run.command not in _TOKENS
        if own is not None and links:
            _link(folder / "model", model, own)
        where = "./model" if links else _reference(model)
        settings = _settings(run, material, bool(held), chat_template=bool(own) and run.command in _TOKENS)
        if kind == "trl":
            file, text = folder / "trl.yaml", yaml_config(run, settings, where)
            command = f"trl {run.command} --config trl.yaml"
        else:
            file, text = folder / "train.py", python_script(recipe, run, settings, where, measured=bool(held))
            command = "python train.py"
        atomic.write_text(file, text, mode=0o644)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=folder) from error
    notes = tuple(_notes(recipe, run.command))
    return Handover(folder, file, f"cd {shlex.quote(str(folder))} && {command}", rows, held, notes)


def _notes(recipe: Recipe, command: str) -> Iterator[str]:
    """In what TRL's training will differ from the one here."""
    order = recipe.train_sampling_strategy
    if command == "kto" and order != "sequential":
        yield (
            "TRL takes answers in the order of the file; train_sampling_strategy: sequential makes both orders equal"
        )
    elif command not in ("sft", "kto") and order == "group_by_length":
        yield (
            "TRL cannot group pairs by length, so it draws them at random and pads more; "
            "train_sampling_strategy: random makes both orders equal"
        )


@dataclass(frozen=True, slots=True)
class _Material:
    """The examples of a recipe, as the trainer here would see them."""

    tokenizer: "Tokenizer"
    template: "ChatTemplate | None"
    prepared: "Prepared"
    trained: Sequence[int]
    held: Sequence[int]
    views: "Sequence[View]"
    measured: "Sequence[tuple[Prepared, View]]"

    @classmethod
    def of(cls, recipe: Recipe, model: "ModelInfo", task: Task) -> "_Material":
        from tuiwb import data, models
        from tuiwb.data.prepare import PrepareSettings, prepare

        tokenizer = models.load_tokenizer(model)
        named = recipe.chat_template or tokenizer.chat_template
        template = tokenizer.template(recipe.chat_template) if named else None
        settings = PrepareSettings.of(recipe)
        entries = recipe.datasets or ()
        prepared = prepare(entries, tokenizer, template, settings, task=task)
        rows, held = prepared.split(recipe.eval_fraction or 0.0, settings.seed)
        measured = [
            (prepare([entry], tokenizer, template, settings, task=task), data.open(entry, task=task))
            for entry in recipe.eval_datasets or ()
        ]
        views = [data.open(entry, task=task) for entry in entries]
        return cls(tokenizer, template, prepared, rows.tolist(), held.tolist(), views, measured)

    def rows(self, command: str) -> Iterator[dict[str, Any]]:
        return _rows(command, self.prepared, self.trained, self.views)

    def held_out(self, command: str) -> Iterator[dict[str, Any]]:
        yield from _rows(command, self.prepared, self.held, self.views)
        for prepared, view in self.measured:
            yield from _rows(command, prepared, prepared.order.tolist(), [view])


def _rows(command: str, prepared: "Prepared", rows: Sequence[int], views: "Sequence[View]") -> Iterator[dict[str, Any]]:
    """Rows as TRL takes them for a stage."""
    for row in rows:
        if command == "sft":
            ids, mask = prepared.sequence(row)
            labels = [number if trained else -100 for number, trained in zip(ids.tolist(), mask.tolist(), strict=True)]
            yield {"input_ids": ids.tolist(), "labels": labels}
        elif command == "reward":
            sides = [prepared.sequence(row, side)[0].tolist() for side in (0, 1)]
            yield {"chosen_ids": sides[0], "rejected_ids": sides[1]}
        else:
            yield from _text_rows(command, prepared, row, views)


def _text_rows(command: str, prepared: "Prepared", row: int, views: "Sequence[View]") -> Iterator[dict[str, Any]]:
    from tuiwb.data.convert import from_example

    source, number = prepared.rows[row].tolist()
    example = views[source].example(views[source].row(number))
    if command in ("dpo", "kto"):
        yield from from_example(example, "preference" if command == "dpo" else "kto")
        return
    prompt = example.messages if example.prompt is None else example.prompt
    if isinstance(prompt, list) and prompt and prompt[-1]["role"] == "assistant":
        prompt = prompt[:-1]
    yield {"prompt": prompt, **({"tools": example.tools} if example.tools else {}), **example.extra}


def _settings(run: TrlRun, material: _Material, measured: bool, *, chat_template: bool) -> dict[str, Any]:
    """Arguments of TRL's configuration, with what follows from the data."""
    settings = dict(run.config)
    if not measured:
        settings |= {"eval_strategy": "no", "eval_on_start": False, "load_best_model_at_end": False}
        settings.pop("eval_steps", None)
    if chat_template:
        settings["chat_template_path"] = "chat_template.jinja"
    if run.command == "reward":
        # transformers reads a reward off the last token that is not padding, which must not be the end of a text.
        ends = {int(number) for number in material.prepared.ids[material.prepared.starts[1:] - 1]}
        ends.add(-1 if material.tokenizer.eos_token_id is None else material.tokenizer.eos_token_id)
        free = [number for number in sorted(material.tokenizer.special_ids) if number not in ends]
        if free and material.tokenizer.pad_token_id in (None, *ends):
            settings["pad_token"] = material.tokenizer.token(free[0])
    return settings


def _own_template(folder: Path, recipe: Recipe, material: _Material, command: str) -> Path | None:
    """The template's file, where it is not the model's own."""
    if recipe.chat_template is None or material.template is None:
        return None
    file = folder / "chat_template.jinja"
    atomic.write_text(file, material.template.source, mode=0o644)
    return file


def _bring_rewards(named: Sequence[str], folder: Path) -> None:
    """Copies of the files with the user's reward functions, what calls them as they are called here, and the others."""
    rewards = [parse_reward(text) for text in named]
    functions: dict[Path, list[str]] = {}
    for one in rewards:
        if one.kind == "python":
            functions.setdefault(Path(one.argument).expanduser(), []).append(one.function)
    for source, names in functions.items():
        shutil.copyfile(source, folder / source.name)
        atomic.write_text(folder / f"{source.stem}{ON_TEXTS}.py", on_texts(source.stem, names), mode=0o644)
    if text := built_in(rewards):
        atomic.write_text(folder / f"{BUILT_IN}.py", text, mode=0o644)


def _link(linked: Path, model: "ModelInfo", template: Path) -> None:
    """A folder of links to the model's files with another chat template among them."""
    if model.path is None:
        raise InputFault(f"the files of {model.name} are not here; `tuiwb models get {model.name}`",
                         key="model_name_or_path")  # fmt: skip
    linked.mkdir()
    for file in sorted(model.path.iterdir()):
        if file.name not in ("chat_template.jinja", "chat_template.json"):
            (linked / file.name).symlink_to(file.resolve())
    (linked / "chat_template.jinja").symlink_to(Path("..") / template.name)


def _reference(model: "ModelInfo") -> str:
    return str(model.path.resolve()) if model.path is not None else model.ref


def _model(assessment: "Assessment") -> "ModelInfo":
    model = assessment.model
    if model is None:
        raise InputFault(assessment.model_problem or "no model is named", key="model_name_or_path")
    if model.kind == "gguf":
        raise UsageFault(
            f"TRL cannot train from a GGUF file; `tuiwb models get {model.name}` brings the model as a folder",
            key="model_name_or_path",
        )
    return model


def _refuse_full(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageFault("there is something already; name a new folder", file=folder, key="--output")


def _write(file: Path, rows: Iterator[Mapping[str, Any]]) -> int:
    count = 0
    with atomic.replacing(file, mode=0o600) as stream:
        for row in rows:
            stream.write(orjson.dumps(row, default=str) + b"\n")
            count += 1
    return count


__all__ = ["Handover", "Kind", "hand_over"]
