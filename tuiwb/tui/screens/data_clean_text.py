"""What the cleaning panel says of a step, and how its steps get into the recipe."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.text import gate, gate_line
from tuiwb.tui.widgets.pieces import Piece

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.clean.run import Cleaned, Removal
    from tuiwb.data.clean.steps import Step

START = {
    "words": "words: {of: example, min: 10, max: 2000}",
    "characters": "characters: {min: 2, max: 20000}",
    "tokens": "tokens: {model: , max: 2048}",
    "language": "language: {keep: [en]}",
    "terms": "terms: {file: , max: 0}",
    "regex": "regex: {pattern: '', of: answer}",
    "problems": "problems: {codes: [truncated_answer]}",
    "near_duplicates": "near_duplicates: {threshold: strict}",
    "contamination": "contamination: {against: []}",
    "semantic_duplicates": "semantic_duplicates: {model: , threshold: 0.9}",
    "semantic_contamination": "semantic_contamination: {model: , against: [], threshold: 0.9}",
    "repair": "repair: {codes: [control_characters, mojibake, template_artefact, open_fence, role_order]}",
    "pii": "pii: {action: mask, kinds: [email, ip, key]}",
}
"""What stands in the line when a step is added that is of little use without settings."""

_NO_MODEL = "{model: ,"

_LONGEST = 600
"""Characters of a row that are shown."""


def start_of(name: str, recipe: Any) -> str:
    """What stands in the line when a step is added: its settings, with the model of the open recipe."""
    start, model = START.get(name, ""), getattr(recipe, "model_name_or_path", None)
    return start.replace(_NO_MODEL, f"{{model: {json.dumps(model, ensure_ascii=False)},") if model else start


def hint_of(text: str) -> str:
    """The settings that the step in a line has."""
    import msgspec

    from tuiwb.data.clean.lists import STEPS

    name = text.partition(":")[0].strip()
    if name not in STEPS:
        return "a step with its settings, such as words: {min: 10, max: 2000}; or a file of steps"
    settings = ", ".join(field.name for field in msgspec.structs.fields(STEPS[name]))
    return f"{STEPS[name].summary}. Settings: {settings}"


def outcome(view: "View", cleaned: "Cleaned", at: int) -> list[Piece]:
    """What a step leaves out and what it nearly does, with where a row differs from the one that stays."""
    from tuiwb.data.clean.run import SAMPLES

    one = cleaned.outcomes[at]
    pieces: list[Piece] = []
    if not one.removed and not one.changed:
        pieces.append(("It leaves no row out.\n", "dim"))
    if one.changed:
        pieces.append((f"Changed, {one.changed:,} rows\n", "head"))
        for row in one.altered[:SAMPLES]:
            pieces += [(f"row {row:,}", "key"), ("\n", "text"), *_altered(view, cleaned, at, row), ("\n\n", "text")]
    for title, some, tone in (("Left out", one.samples, "bad"), ("Stays, though near the limit", one.near, "good")):
        if some:
            pieces.append((f"{title}\n", "head"))
        for removal in some:
            pieces += [(f"row {removal.row:,}", "key"), (f"  {gate_line(removal.why)}\n", tone)]
            pieces += [*_text(view, removal), ("\n\n", "text")]
    return pieces


def _altered(view: "View", cleaned: "Cleaned", at: int, number: int) -> Iterator[Piece]:
    """A row as it was before a step and as it is after it."""
    from tuiwb.data.clean.report import before_and_after

    yield from _compared(*before_and_after(view, cleaned, at, number))


def _text(view: "View", removal: "Removal") -> Iterator[Piece]:
    mine = _of(view, removal.row)
    if removal.twin is None or removal.file or removal.likeness < 0.3:
        yield gate(mine, width=_LONGEST), "text"
        return
    yield from _compared(_of(view, removal.twin), mine)


def beside(view: "View", row: int, twin: int) -> Iterator[Piece]:
    """The whole of a row with where it differs from the one that stays for it."""
    yield "[-only in the row that stays-]", "bad"
    yield "  {+only in this one+}\n\n", "good"
    yield from _compared(_of(view, twin), _of(view, row), whole=True)


def _compared(old: str, new: str, *, whole: bool = False) -> Iterator[Piece]:
    """Where a text differs from an older one; as far as there is room, and without most of what they share, unless the
    whole of it is wanted."""
    from tuiwb.data.clean.clusters import difference

    tones = {"same": "dim", "out": "bad", "in": "good"}
    marks = {"same": "{}", "out": "[-{}-]", "in": "{{+{}+}}"}
    room = _LONGEST
    for what, part in difference(old, new):
        if whole:
            yield gate(marks[what].format(part)), tones[what]
            continue
        if room <= 0:
            break
        yield gate(marks[what].format(_shortened(part) if what == "same" else part), width=room), tones[what]
        room -= len(part)


def _shortened(text: str) -> str:
    """A stretch without a difference: its ends."""
    return text if len(text) <= 80 else f"{text[:30]} … {text[-30:]}"


def _of(view: "View", row: int) -> str:
    from tuiwb.data.clean.texts import texts
    from tuiwb.data.turns import BadRow

    try:
        return texts(view.as_it_stands(view.row(row))).of("example")
    except BadRow:
        return view.raw(row, _LONGEST).decode("utf-8", "replace")


def entry_of(recipe: Any, path: str) -> Any:
    """The recipe's dataset of this path; None where it has none."""
    for name in ("datasets", "eval_datasets"):
        for entry in getattr(recipe, name, None) or ():
            if _same(entry.path, path):
                return entry
    return None


def with_steps(recipe: Any, path: str, steps: "tuple[Step, ...]") -> Any:
    """The recipe with these steps in every entry of this path."""
    import msgspec

    from tuiwb.data.clean.lists import plain

    items = tuple(plain(steps)) or None
    changes = {
        name: tuple(msgspec.structs.replace(one, steps=items) if _same(one.path, path) else one for one in entries)
        for name in ("datasets", "eval_datasets")
        if (entries := getattr(recipe, name))
    }
    return msgspec.structs.replace(recipe, **changes)


def _same(one: str, other: str) -> bool:
    return Path(one).expanduser().absolute() == Path(other).expanduser().absolute()
