"""What the Models screen lists and tells: one row a model, from this machine, the catalogue and the hub."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from tuiwb.base.tasks import Progress
from tuiwb.base.text import gate_line
from tuiwb.base.units import count, gib, parameters, size
from tuiwb.tui.widgets.table import Cell

if TYPE_CHECKING:
    from tuiwb.models import CatalogueEntry, ModelInfo, SearchHit

_LABEL = 12
_PAIRS_FROM = 64
HERE, CATALOGUE, HUB = "here", "catalogue", "hub"

SAMPLE = (
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Italy?"},
)


@dataclass(frozen=True, slots=True)
class Row:
    """A model in the list.

    Args:
        ref: what a recipe, `tuiwb models get` and the like take.
        bytes: on disk, or what a download takes; None where nobody says.
        chat: trained to converse; None where nobody says.
        downloads: on the hub.
    """

    ref: str
    where: str
    hub_id: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    type: str | None = None
    bytes: int | None = None
    context: int | None = None
    vocabulary: int | None = None
    license: str | None = None
    chat: bool | None = None
    gated: bool = False
    downloads: int | None = None
    path: str | None = None
    source: str | None = None
    template: str | None = None
    adapter_of: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at this machine found. `free` is the disk that is left, in bytes."""

    rows: tuple[Row, ...]
    free: int


def from_info(info: "ModelInfo") -> Row:
    return Row(
        ref=info.hub_id or info.name if info.kind == "hub" else info.name,
        where=HERE if info.path else HUB,
        hub_id=info.hub_id,
        architecture=None if info.adapter else info.architecture,
        parameters=info.parameters,
        type=info.quantization or info.dtype,
        bytes=info.bytes_on_disk or None,
        context=info.context_length,
        vocabulary=info.vocab_size,
        license=info.license,
        chat=info.chat_template is not None if info.path else None,
        path=str(info.path) if info.path else None,
        template=info.chat_template,
        adapter_of=(info.adapter.base_model or "an unnamed model") if info.adapter else None,
    )


def from_entry(entry: "CatalogueEntry") -> Row:
    info = entry.info(entry.name)
    return Row(
        ref=entry.name,
        where=CATALOGUE,
        hub_id=entry.hub_id,
        architecture=entry.architecture,
        parameters=entry.parameters,
        type=f"{info.dtype}, published as {entry.published_as}" if entry.published_as else info.dtype,
        bytes=entry.download_bytes,
        context=entry.context_length,
        vocabulary=info.vocab_size,
        license=entry.license,
        chat=entry.chat,
        gated=entry.gated,
        source=entry.source,
    )


def from_hit(hit: "SearchHit") -> Row:
    return Row(
        ref=hit.hub_id,
        where=HUB,
        hub_id=hit.hub_id,
        architecture=hit.architecture,
        parameters=hit.parameters,
        license=hit.license,
        chat=hit.chat,
        gated=hit.gated,
        downloads=hit.downloads,
    )


def listed(here: Sequence[Row], hits: Sequence[Row], wanted: str) -> tuple[Row, ...]:
    """The rows to show: what is here, what the catalogue adds, what the hub added; each model once.

    Args:
        wanted: words that a row's name has to hold, all of them; a hit of the hub is there because of them.
    """
    from tuiwb import models

    words = wanted.casefold().split()

    def fits(row: Row) -> bool:
        return all(word in f"{row.ref} {row.hub_id or ''}".casefold() for word in words)

    known = {(row.hub_id or row.ref).casefold() for row in here}
    offered = [from_entry(entry) for entry in models.catalogue() if entry.hub_id.casefold() not in known]
    known |= {str(row.hub_id).casefold() for row in offered}
    found = [row for row in hits if str(row.hub_id).casefold() not in known]
    return (*filter(fits, here), *filter(fits, offered), *found)


def cells(row: Row, progress: Progress | None) -> tuple[Cell, ...]:
    """A row of the table; with `progress` it is on its way."""
    if progress is not None:
        mark: Cell = ("↓", "accent")
        last: Cell = (share(progress) or "…", "accent")
    else:
        mark = ("●", "good") if row.where == HERE else ("·", "dim")
        last = ("" if row.bytes is None else gib(row.bytes), "" if row.where == HERE else "dim")
    tone = "" if row.where == HERE else "dim"
    return (
        mark,
        (row.ref, "" if row.where == HERE else "dim"),
        ("" if row.parameters is None else parameters(row.parameters), tone),
        last,
        ("" if row.context is None else count(row.context), tone),
        ((row.license or "") + (" (gated)" if row.gated else ""), tone),
    )


def detail(row: Row, width: int, height: int, note: str = "") -> Content:
    """Everything that is known of a model, a line each; in pairs where the lines are more than the height.

    Args:
        width, height: cells of the panel.
        note: a last line, as a warning.
    """
    short: list[tuple[str, str | None]] = [
        ("where", _where(row)),
        ("licence", (row.license or "not stated") + (", gated" if row.gated else "")),
        ("parameters", None if row.parameters is None else count(row.parameters)),
        ("context", None if row.context is None else f"{count(row.context)} tokens"),
        ("on disk" if row.where == HERE else "download", None if row.bytes is None else size(row.bytes)),
        ("template", _template(row)),
        ("type", row.type),
        ("vocabulary", None if row.vocabulary is None else f"{count(row.vocabulary)} tokens"),
        ("class", row.architecture),
        ("downloads", None if row.downloads is None else count(row.downloads)),
    ]
    long: list[tuple[str, str | None]] = [
        ("adapter of", row.adapter_of),
        ("hub id", row.hub_id if row.hub_id != row.ref else None),
        ("path", row.path),
        ("source", row.source),
        ("access", "accept its licence on the hub" if row.gated and row.where != HERE else None),
    ]
    shorts = [(name, value) for name, value in short if value]
    longs = [(name, value) for name, value in long if value]
    lines = [Content.styled(gate_line(row.ref, width), "bold")]
    in_pairs = width >= _PAIRS_FROM and len(shorts) + len(longs) + 1 > height
    if in_pairs:
        half = (width - 2) // 2
        pairs = [shorts[at : at + 2] for at in range(0, len(shorts), 2)]
        lines += [Content("  ").join(_field(name, value, half) for name, value in pair) for pair in pairs]
    else:
        lines += [_field(name, value, width) for name, value in shorts]
    for name, value in longs:
        lines += _folded(name, value, width)
    if note:
        lines.append(Content.styled(gate_line(note), "$text-warning"))
    return Content("\n").join(lines)


def _field(name: str, value: str, width: int) -> Content:
    shown = gate_line(value, width - _LABEL)
    return Content.assemble((name.ljust(_LABEL), "dim"), (shown.ljust(width - _LABEL), "$foreground"))


def _folded(name: str, value: str, width: int) -> list[Content]:
    """A long value over several lines, broken wherever the line ends: a path has no words."""
    room = max(width - _LABEL, 8)
    text = gate_line(value)
    chunks = [text[at : at + room] for at in range(0, len(text), room)]
    return [_field(name if number == 0 else "", chunk, width) for number, chunk in enumerate(chunks)]


def share(progress: Progress) -> str:
    """`46 %`; empty while the end is unknown."""
    return f"{100 * progress.done // progress.total} %" if progress.total else ""


def progress_line(ref: str, progress: Progress, width: int) -> Content:
    """One line: what is being done, a bar, how much of how much."""
    doing = gate_line(f"{ref}: {progress.doing or 'starting'}", max(width // 2, 12))
    if not progress.total:
        return Content.assemble(("↓ ", "$text-accent"), f"{doing} …")
    figures = share(progress)
    if progress.unit == "bytes":
        figures += f"  {size(progress.done)} of {size(progress.total)}"
    room = width - len(doing) - len(figures) - 6
    if room < 8:
        return Content.assemble(("↓ ", "$text-accent"), f"{doing}  {figures}")
    full = room * min(progress.done, progress.total) // progress.total
    return Content.assemble(
        ("↓ ", "$text-accent"), f"{doing}  ", ("━" * full, "$text-accent"), ("─" * (room - full), "dim"), f"  {figures}"
    )


def template_text(ref: str) -> str:
    """A model's chat template: a conversation as the model sees it, then the source. Reads the tokenizer.

    Raises:
        InputFault: the model is not here, has no template, or its template refuses a plain conversation.
    """
    from tuiwb import models
    from tuiwb.base.errors import InputFault

    tokenizer = models.load_tokenizer(models.open_model(ref))
    template = tokenizer.template()
    try:
        text = template.render(SAMPLE, add_generation_prompt=True)
        ids = f"{count(len(tokenizer.encode(text)))} tokens"
    except InputFault as error:
        text, ids = str(error), "refused"
    named = sorted(tokenizer.special_tokens.items())
    special = "\n".join(f"{name.ljust(10)} {json.dumps(token, ensure_ascii=False)}" for name, token in named)
    parts = (f"A conversation as the model sees it ({ids})", text, "Special tokens", special, "Source", template.source)
    return "\n\n".join(parts)


def totals(rows: Iterable[Row], free: int) -> str:
    """`2 here, 1.30 GiB · 45.1 GiB free`."""
    here = [row for row in rows if row.where == HERE]
    return f"{len(here)} here, {gib(sum(row.bytes or 0 for row in here))} · {gib(free)} free"


def _where(row: Row) -> str:
    return {HERE: "on this machine", CATALOGUE: "in the catalogue", HUB: "on the hub"}[row.where]


def _template(row: Row) -> str | None:
    if row.template is not None:
        return "yes: t shows it"
    if row.chat is None:
        return None
    if row.where == HERE:
        return "none; set chat_template in the recipe"
    return "yes" if row.chat else "none: a base model"
