"""The form of the Train screen, derived from the recipe's own model: which keys it shows, and what it says of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tuiwb.base.text import gate_line
from tuiwb.base.units import unit_of
from tuiwb.base.units import written as written
from tuiwb.recipe import DatasetEntry, Recipe

if TYPE_CHECKING:
    from tuiwb.recipe import Field
    from tuiwb.resolve import Assessment

# What most people set, in the order in which they think of it; between these two come the keys of stage and method.
_FIRST = ("stage", "method", "model_name_or_path", "datasets.0.path", "eval_fraction")
_THEN = (
    "max_length", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "num_train_epochs",
    "max_steps", "chat_template", "name",
)  # fmt: skip
_OF_METHOD = dict.fromkeys(("lora", "qlora", "dora"), ("lora_r", "lora_alpha")) | {
    "freeze": ("freeze_layers",),
    "prefix": ("num_virtual_tokens",),
    "prompt": ("num_virtual_tokens", "prompt_tuning_init_text"),
}
_OF_STAGE = {
    "dpo": ("beta", "loss_type"),
    "orpo": ("beta",),
    "kto": ("beta", "desirable_weight", "undesirable_weight"),
    "ppo": ("reward_funcs", "reward_model_name_or_path", "beta", "max_completion_length"),
    "grpo": ("reward_funcs", "reward_model_name_or_path", "num_generations", "max_completion_length", "beta"),
    "rloo": ("reward_funcs", "reward_model_name_or_path", "num_generations", "max_completion_length", "beta"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the form: a key, or the heading of a group (`key` empty).

    Attributes:
        key: as `--set` takes it.
        stated: what the recipe says; None where it leaves the key out.
        chosen: the value in force when the recipe leaves it out, with `reason`; None where it does not apply.
        wrong: the level of the worst finding on this key, or empty.
    """

    key: str
    group: str = ""
    unit: str = ""
    stated: Any = None
    chosen: Any = None
    reason: str = ""
    wrong: str = ""

    @property
    def value(self) -> Any:
        return self.chosen if self.stated is None else self.stated


@dataclass(frozen=True, slots=True)
class About:
    """What the help pane says of a key."""

    key: str
    help: str
    accepts: str
    choices: tuple[str, ...]


def lines(recipe: Recipe, assessment: "Assessment | None", *, everything: bool, words: str = "") -> tuple[Line, ...]:
    """The form's lines for a recipe.

    Args:
        assessment: of this recipe, for the chosen values and the findings; None while it is being made.
        everything: all keys under their groups; otherwise those that matter first, and those with something amiss.
        words: only keys whose name or help holds all of them.
    """
    stated = _flat(recipe)
    resolved = _flat(assessment.resolved.recipe) if assessment else {}
    wrong = _wrong(assessment)
    groups = {field.key: field for field in all_fields(recipe)}
    keys = list(groups) if everything or words else first_keys(resolved or stated)
    keys += [key for key, level in wrong.items() if level != "note" and key in groups and key not in keys]
    wanted = words.lower().split()
    found: list[Line] = []
    group = ""
    for key in keys:
        field = groups[key]
        if not all(word in f"{key} {field.help}".lower() for word in wanted):
            continue
        if everything and not words and field.group != group:
            group = field.group
            found.append(Line("", group))
        reason = assessment.resolved.reasons.get(key, "") if assessment else ""
        # What is resolved from a stated value (lora with 4 bits is qlora) is shown as it will run.
        value = stated.get(key) if not reason else None
        found.append(Line(key, field.group, field.unit, value, resolved.get(key), reason, wrong.get(key, "")))
    return tuple(found)


def first_keys(values: Mapping[str, Any]) -> list[str]:
    """The keys that matter first for the stage and the method among `values`."""
    stage, method = str(values.get("stage", "sft")), str(values.get("method", "lora"))
    return [*_FIRST, *_OF_METHOD.get(method, ()), *_OF_STAGE.get(stage, ()), *_THEN]


def all_fields(recipe: Recipe) -> "list[Field]":
    """Every key that can be edited as one line: datasets by their entries, and one more of each to add."""
    from tuiwb.recipe import fields

    found = []
    for field in fields():
        if field.key in ("datasets", "eval_datasets"):
            for number in range(len(getattr(recipe, field.key) or ()) + 1):
                new = number == len(getattr(recipe, field.key) or ())
                names = ("path",) if new else DatasetEntry.__struct_fields__
                found += [_nested(field, number, name) for name in names if name != "steps"]
        elif field.key != "stages":
            found.append(field)
    return found


def about(key: str) -> About:
    """Help of a key, also of one inside a dataset entry."""
    from tuiwb.recipe import field_docs
    from tuiwb.recipe.keys import choices_of, describe, types_at

    path = [int(step) if step.isdigit() else step for step in key.split(".")]
    options = types_at(path)
    plain = ".".join(step for step in key.split(".") if not step.isdigit())
    return About(key, field_docs()[plain], describe(options), choices_of(options))


def shown(line: Line) -> str:
    """The value and its unit, on one line."""
    if line.value is None:
        return "–"
    text = gate_line(written(line.value))
    if line.key.endswith(("path", "journal")) and text.count("/") > 2:
        text = "…/" + "/".join(text.split("/")[-2:])
    if line.unit == "steps" and 0 < float(line.value) < 1:
        return f"{text} of all steps"
    return f"{text} {unit_of(text, line.unit)}" if line.unit and not text.startswith("-") else text


def _nested(field: "Field", number: int, name: str) -> "Field":
    about_it = about(f"{field.key}.{number}.{name}")
    return structs.replace(
        field, key=about_it.key, help=about_it.help, kind="text", choices=about_it.choices, accepts=about_it.accepts
    )


def _flat(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values by the keys that `--set` takes."""
    from tuiwb.recipe import to_plain

    flat = to_plain(recipe)
    for key, value in flat.pop("launch", {}).items():
        flat[f"launch.{key}"] = value
    for key in ("datasets", "eval_datasets"):
        for number, entry in enumerate(flat.pop(key, ())):
            flat |= {f"{key}.{number}.{name}": value for name, value in entry.items()}
    return flat


def _wrong(assessment: "Assessment | None") -> dict[str, str]:
    """The worst level of the findings on each key."""
    found: dict[str, str] = {}
    for check in assessment.checks if assessment else ():
        key = check.key.replace("[", ".").replace("]", "")
        if key in ("datasets", "eval_datasets"):
            key += ".0"
        if key.startswith(("datasets", "eval_datasets")) and not key.endswith(".path"):
            key += ".path"
        found.setdefault(key, check.level)
    return found
