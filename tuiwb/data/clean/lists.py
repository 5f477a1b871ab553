"""Lists of cleaning steps: as they stand in a recipe's `steps:` or in a file of their own, and the presets.

An item is a step (`refusals`), a step with settings (`words: {min: 10}`), the name of a preset, or a file that ends in
.yaml, .yml or .json and holds such a list.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.structs import fields

from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.base.validation import in_words
from tuiwb.data.clean.compare import COMPARE_STEPS
from tuiwb.data.clean.limits import LIMITS
from tuiwb.data.clean.repair import Repair
from tuiwb.data.clean.rules import RULES
from tuiwb.data.clean.semantic import SEMANTIC_STEPS
from tuiwb.data.clean.steps import Step
from tuiwb.data.problems import nearest

Item = str | dict[str, Any]

_KINDS: tuple[type[Step], ...] = (*LIMITS, *RULES, Repair, *COMPARE_STEPS, *SEMANTIC_STEPS)
STEPS: dict[str, type[Step]] = {step.name: step for step in _KINDS}
FILE_ENDINGS = (".yaml", ".yml", ".json")

_GUIDES: list[Item] = [
    {"words": {"of": "example", "min": 10, "max": 2000}},
    {"urls": {"of": "example", "max": 0.3}},
    {"digits": {"of": "example", "max": 0.5}},
    "exact_duplicates",
]
PRESETS: dict[str, tuple[str, list[Item]]] = {
    "guides": ("what guides to fine-tuning advise: 10 to 2,000 words, few URLs and numbers, no duplicates", _GUIDES),
    "lima-like": (
        "long, self-contained answers (Zhou et al. 2023): 1,200 to 4,096 characters, no reference to other answers",
        [
            {"characters": {"min": 1200, "max": 4096}},
            {
                "regex": {
                    "pattern": r"(?i)\b(?:as (?:mentioned|stated|explained|noted|others? (?:have )?said)"
                    r"|(?:previous|other|above|accepted) (?:answers?|comments?|posts?|repl(?:y|ies))"
                    r"|my (?:answer|own experience)|stack ?(?:exchange|overflow))\b"
                }
            },
            {"regex": {"pattern": r"<(?:img|a|div|span|table)\b|!\[[^\]]*\]\("}},
            {"urls": {"max": 0.05}},
            "refusals",
            "exact_duplicates",
            {"near_duplicates": {"of": "prompt", "threshold": "strict"}},
        ],
    ),
    "strict": (
        "the guides' and more: nothing repetitive, cut off, refused, left over from a template or almost the same",
        [
            *_GUIDES[:3],
            "repetition",
            "symbols",
            "refusals",
            {
                "problems": {
                    "codes": [
                        "template_artefact", "truncated_answer", "open_fence", "prompt_in_answer", "repeated_turn",
                        "role_order", "control_characters", "bidi_characters", "mojibake", "missing_value",
                    ]
                }
            },
            {"pii": {"action": "drop", "kinds": ["email", "ip", "key"]}},
            "exact_duplicates",
            {"near_duplicates": {"threshold": "strict"}},
        ],
    ),
}  # fmt: skip


def parse(items: Iterable[Item], *, source: str | Path | None = None) -> tuple[Step, ...]:
    """The steps that a list names, with presets and files put in their place.

    Args:
        source: the file that the list stands in, for errors.

    Raises:
        InputFault: an item is none, or a setting is at fault; names the nearest right name.
    """
    return tuple(_parse(items, source, ()))


def load(path: Path) -> tuple[Step, ...]:
    """The steps of a file. Relative files that a step names are looked for beside it.

    Raises:
        InputFault: the file or a step in it is at fault.
    """
    return tuple(_load(path.expanduser(), ()))


def typed(text: str) -> tuple[Step, ...]:
    """The steps that a line names, as it is typed: `refusals`, `words: {min: 10}`, a preset or a file.

    Raises:
        InputFault: as `parse`, and where the line is no YAML.
    """
    from tuiwb.recipe.reading import parse as parse_yaml

    value = parse_yaml(text, "step").values
    if not isinstance(value, (str, dict)):
        raise InputFault(f"{text!r} is no step, such as refusals or words: {{min: 10}}", key="steps")
    return parse([value])


def text_of(step: Step) -> str:
    """The line that `typed` reads as this step."""
    (item,) = plain([step])
    if isinstance(item, str):
        return item
    ((name, settings),) = item.items()
    return f"{name}: {json.dumps(settings, ensure_ascii=False)}"


def plain(steps: Iterable[Step]) -> list[Item]:
    """Steps as a recipe holds them; settings at their defaults are left out."""
    found: list[Item] = []
    for step in steps:
        settings = json.loads(msgspec.json.encode(step))
        found.append({step.name: settings} if settings else step.name)
    return found


def dumps(steps: Sequence[Step]) -> str:
    """The text of a file of steps."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 110
    stream = io.StringIO()
    stream.write("# Cleaning steps, in order: tuiwb data clean ROWS --steps THIS --output CLEANED\n")
    yaml.dump({"steps": plain(steps)}, stream)
    return stream.getvalue()


def save(steps: Sequence[Step], place: Path, *, force: bool = False) -> None:
    """Write a file of steps, which `load` and recipes read.

    Raises:
        UsageFault: it is there already without `force`, or has another ending.
        EnvironmentFault: it cannot be written; an old file is untouched.
    """
    if place.suffix not in FILE_ENDINGS[:2]:
        raise UsageFault("a file of steps ends in .yaml or .yml", file=place, key="steps")
    if place.exists() and not force:
        raise UsageFault("this file is there already; name another, or add --force", file=place, key="--save-steps")
    try:
        atomic.write_text(place, dumps(steps))
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=place) from error


def step_of(name: str, settings: dict[str, Any], source: str | Path | None = None) -> Step:
    """A step by its name.

    Raises:
        InputFault: there is no such step, or a setting is at fault.
    """
    kind = STEPS.get(name)
    if kind is None:
        raise InputFault(f"{name!r} is no cleaning step{nearest(name, [*STEPS, *PRESETS])}", file=source, key="steps")
    try:
        step = msgspec.convert(settings, kind)
    except msgspec.ValidationError as error:
        raise InputFault(_sentence(str(error), kind), file=source, key=f"steps.{name}") from error
    if wrong := step.check():
        raise InputFault(wrong, file=source, key=f"steps.{name}")
    return step


def _parse(items: Iterable[Item], source: str | Path | None, above: tuple[Path, ...]) -> Iterator[Step]:
    for item in items:
        name, settings = _item(item, source)
        if name in PRESETS and not settings:
            yield from _parse(PRESETS[name][1], source, above)
        elif name.endswith(FILE_ENDINGS) and not settings:
            beside = Path() if source is None else Path(source).parent
            yield from _load(beside / Path(name).expanduser(), above)
        else:
            yield step_of(name, settings, source)


def _item(item: object, source: str | Path | None) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        ((name, settings),) = item.items()
        if isinstance(name, str) and (settings is None or isinstance(settings, dict)):
            return name, settings or {}
    raise InputFault(
        "each step is a name, or a name with its settings, such as words: {min: 10}", file=source, key="steps"
    )


def _load(path: Path, above: tuple[Path, ...]) -> Iterator[Step]:
    from tuiwb.recipe.reading import parse as parse_yaml
    from tuiwb.recipe.reading import read_text

    here = path.absolute()
    if here in above:
        raise InputFault("this file of steps names itself", file=path, key="steps")
    values = parse_yaml(read_text(path), str(path)).values
    items = values.get("steps") if isinstance(values, dict) and "steps" in values else values
    if not isinstance(items, list) or (isinstance(values, dict) and len(values) > 1):
        raise InputFault("a file of steps is a list, or `steps:` with a list and nothing else", file=path)
    yield from _parse([_beside(item, here.parent) for item in items], path, (*above, here))


def _beside(item: Item, folder: Path) -> Item:
    """The item with the files that its settings name made absolute."""
    if not isinstance(item, dict) or not all(isinstance(settings, dict) for settings in item.values()):
        return item
    return {name: anchored(settings, folder) for name, settings in item.items()}


def anchored(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose files, `file` and `against`, are absolute."""
    found = dict(settings)
    if isinstance(found.get("file"), str):
        found["file"] = str(folder / Path(found["file"]).expanduser())
    if isinstance(found.get("against"), list):
        found["against"] = [str(folder / Path(str(file)).expanduser()) for file in found["against"]]
    return found


_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]+)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")


def _sentence(message: str, kind: type[Step]) -> str:
    """What msgspec says, in a user's words."""
    if found := _UNKNOWN.search(message):
        names = fields(kind)
        return f"has no setting {found['name']}{nearest(found['name'], [field.name for field in names])}"
    if found := _MISSING.search(message):
        return f"needs {found['name']}"
    place, said = in_words(message)
    if message.startswith("Invalid enum value"):
        words = next((get_args(one.type) for one in fields(kind) if one.name == place), ())
        said = f"must be one of {', '.join(map(str, words))}" if words else said
    return f"{place}: {said}" if place else said
