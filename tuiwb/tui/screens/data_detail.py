"""One row as text in pieces: as the model sees it, as turns, raw. Pure functions, run in a thread."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError
from tuiwb.base.text import gate
from tuiwb.base.units import count
from tuiwb.tui.widgets.pieces import Line, Piece, wrap

if TYPE_CHECKING:
    from tuiwb.data import Example, Row, View
    from tuiwb.data.formats import FormatName
    from tuiwb.data.layout import Rendered
    from tuiwb.data.render import Renderer
    from tuiwb.models import Tokenizer

VIEWS = ("model", "turns", "raw")
DIFFERENCE = "difference"
"""The view of a row beside the one that stays for it."""
TITLES = {"model": "as the model sees it", "turns": "as turns", "raw": "raw"}
_LONGEST = 60_000
"""Characters of a text that are shown; more cannot be read by a person and takes time to wrap."""

_KEY = re.compile(r'^(\s*)("(?:[^"\\]|\\.)*":)', re.MULTILINE)
_SEVERITY = {"error": ("✗", "bad"), "warning": ("!", "warn"), "note": ("·", "dim")}


@dataclass(frozen=True, slots=True)
class Lens:
    """What rows are rendered with; `problem` says why there is none. What is `of` the same makes the same of a row."""

    renderer: "Renderer | None" = None
    name: str = ""
    problem: str = ""
    of: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Detail:
    """A row ready to be shown."""

    row: int
    title: str
    counts: str
    lines: Sequence[Line]


def detail(
    view: "View", number: int, look: str, lens: Lens, width: int, twin: int | None = None, why: str = ""
) -> Detail:
    """The row, read and wrapped.

    Args:
        why: cleaning steps leave it out, for this reason.
        twin: the row that stays for it; then, where `look` is `difference`, the text shows where they differ.

    Raises:
        TuiwbError: the file cannot be read any more.
    """
    from tuiwb.tui.screens.data_clean_text import beside

    row = view.row(number)
    if look == DIFFERENCE and twin is not None:
        title = f"Row {count(number)} where it differs from row {count(twin)}, which stays"
        return Detail(number, title, "", wrap(_short(list(beside(view, number, twin))), width))
    look = VIEWS[0] if look == DIFFERENCE else look
    pieces, counts = _pieces(view, row, look, lens)
    if why:
        pieces.insert(0, (gate(f"▽ left out by {why}\n\n"), "warn"))
    if mark := view.mark(number):
        pieces.insert(0, (gate(f"by hand: {mark.words}\n\n"), "key"))
    place = f"row {count(row.id)}" + (f", line {count(row.line)}" if row.line else "")
    return Detail(row.id, f"{place[0].upper()}{place[1:]} {TITLES[look]}", counts, wrap(_short(pieces), width))


def detail_of(
    view: "View", number: int, name: "FormatName", columns: Mapping[str, str], lens: Lens, width: int
) -> Sequence[Line]:
    """What a row would become with this format and these columns, wrapped; or why it is no such row."""
    from tuiwb.data import BadRow, to_example

    row = view.row(number)
    pieces: list[Piece] = [(f"row {count(number)} becomes\n\n", "dim")]
    try:
        if row.fault:
            raise BadRow(row.fault.code, row.fault.message)
        example = to_example(row, name, columns)
        pieces += [*_findings(example), *_turns(example, lens.renderer.tokenizer if lens.renderer else None)]
    except TuiwbError as fault:
        pieces += [(gate(f"✗ {fault.message}\n\n"), "bad"), *_json(row.value)]
    except KeyError as part:
        pieces += [(gate(f"{part.args[0]} has no column yet\n\n"), "warn"), *_json(row.value)]
    return wrap(_short(pieces), width)


def _pieces(view: "View", row: "Row", look: str, lens: Lens) -> tuple[list[Piece], str]:
    from tuiwb.data import BadRow

    if row.fault:
        return [*_finding(row.fault.code, row.fault.message), ("\n", "text"), *_bytes(view, row.id)], ""
    try:
        example = view.translate(row)
    except BadRow as fault:
        return [*_finding(fault.code, fault.detail), ("\n", "text"), *_json(row.value)], ""
    except TuiwbError as error:
        return [(gate(f"{error.message}\n\n"), "warn"), *_json(row.value)], ""
    found = list(_findings(example))
    if look == "raw":
        return found + _json(row.value), ""
    if look == "model":
        if lens.renderer is None:
            return [*found, (f"{gate(lens.problem)}\n\n", "warn"), *_turns(example, None)], ""
        try:
            seen, counts = _seen(example, lens.renderer)
            return found + seen, counts
        except TuiwbError as error:
            return [*found, (f"{gate(str(error))}\n\n", "bad"), *_turns(example, None)], ""
    return found + list(_turns(example, lens.renderer.tokenizer if lens.renderer else None)), ""


def _finding(code: str, text: str) -> Iterator[Piece]:
    from tuiwb.data.problems import RULES

    rule = RULES[code]
    sign, tone = _SEVERITY[rule.severity]
    yield f"{sign} {gate(rule.message.format(detail=text))}", tone
    yield f"  {gate(rule.fix.format())}\n", "dim"


def _findings(example: "Example") -> Iterator[Piece]:
    from tuiwb.data.checks import findings
    from tuiwb.data.lint import lint

    any_found = False
    for code, text in dict((*findings(example), *lint(example))).items():
        any_found = True
        yield from _finding(code, text)
    if any_found:
        yield "\n", "text"


def _seen(example: "Example", renderer: "Renderer") -> tuple[list[Piece], str]:
    """Every text of the example with trained and masked tokens apart, and the counts."""
    from tuiwb.data.sides import render_sides

    sides = render_sides(example, renderer)
    pieces: list[Piece] = list(_unseen(example, next(iter(sides.values())).text))
    counts = []
    for name, side in sides.items():
        if len(sides) > 1:
            pieces.append((f"{'' if not pieces else chr(10) * 2}{name}\n", "head"))
        pieces += _rendered(side, renderer)
        cut = f", {count(side.truncated)} cut off" if side.truncated else ""
        if len(sides) > 1:
            counts.append(f"{name} {count(len(side.ids))}, {count(side.trained)} trained{cut}")
        else:
            share = f" ({100 * side.trained / len(side.ids):.0f} %)" if side.trained else ""
            counts.append(f"{count(len(side.ids))} tokens, {count(side.trained)} trained{share}{cut}")
    if example.label is not None:
        counts.append("wanted" if example.label else "unwanted")
    return pieces, " · ".join(counts)


def _unseen(example: "Example", text: str) -> Iterator[Piece]:
    """What the template leaves out: many know no tools."""
    calls = [call for turn in example.messages or () for call in turn.get("tool_calls") or ()]
    for what, functions in (("tools", example.tools or ()), ("tool calls", calls)):
        names = [str(_function(one).get("name", "")) for one in functions]
        if names and not any(name and name in text for name in names):
            yield f"! the model's template leaves out the {what}: the model never sees them\n\n", "warn"


def _rendered(side: "Rendered", renderer: "Renderer") -> Iterator[Piece]:
    tokenizer = renderer.tokenizer
    names = sorted((tokenizer.token(number) for number in tokenizer.special_ids), key=len, reverse=True)
    special = re.compile("|".join(map(re.escape, names))) if names else re.compile(r"(?!)")
    start, end = side.kept
    cut_note = f"max_length {count(renderer.max_length or 0)}: {count(side.truncated)} tokens are cut off"
    if start:
        yield gate(side.text[:start]), "cut"
        yield f"\n─── {cut_note} above ───\n", "warn"
    for part in side.segments:
        a, b = max(part.start, start), min(part.end, end)
        if a < b:
            yield from _with_special(gate(side.text[a:b]), special, trained=part.trained)
    if end < len(side.text):
        yield f"\n─── {cut_note} below ───\n", "warn"
        yield gate(side.text[end:]), "cut"


def _with_special(text: str, special: "re.Pattern[str]", *, trained: bool) -> Iterator[Piece]:
    at = 0
    for match in special.finditer(text):
        yield text[at : match.start()], "trained" if trained else "masked"
        yield match[0], "stop" if trained else "special"
        at = match.end()
    yield text[at:], "trained" if trained else "masked"


def _turns(example: "Example", tokenizer: "Tokenizer | None") -> Iterator[Piece]:
    if example.segments is not None:
        for text, trained in example.segments:
            yield gate(text), "trained" if trained else "masked"
    elif example.text is not None:
        yield from _turn("text", example.text, tokenizer, {})
    if example.input_ids is not None:
        yield from _turn(f"{count(len(example.input_ids))} token ids", " ".join(map(str, example.input_ids)), None, {})
    if example.tools:
        yield "tools  ", "head"
        yield f"{gate(', '.join(str(_function(tool).get('name', '?')) for tool in example.tools))}\n\n", "text"
    for message in example.messages or ():
        yield from _message(message, tokenizer)
    for name in ("prompt", "completion", "chosen", "rejected"):
        turns = getattr(example, name)
        if isinstance(turns, str):
            yield from _turn(name, turns, tokenizer, {})
        elif turns is not None:
            if name != "prompt":
                yield f"── {name} ──\n", "warn" if name == "rejected" else "good"
            for message in turns:
                yield from _message(message, tokenizer)
    for text, right in example.steps or ():
        yield "✓ " if right else "✗ ", "good" if right else "bad"
        yield f"{gate(text)}\n", "text"
    if example.label is not None:
        yield "label  ", "head"
        yield ("wanted\n", "good") if example.label else ("unwanted\n", "bad")
    for name, value in example.extra.items():
        yield f"{gate(name)}  ", "key"
        yield f"{gate(str(value)[:_LONGEST])}\n", "dim"


def _message(message: Mapping[str, Any], tokenizer: "Tokenizer | None") -> Iterator[Piece]:
    more = {key: value for key, value in message.items() if key not in ("role", "content")}
    yield from _turn(str(message["role"]), str(message["content"]), tokenizer, more)


def _turn(role: str, text: str, tokenizer: "Tokenizer | None", more: Mapping[str, Any]) -> Iterator[Piece]:
    import orjson

    yield gate(role), "head"
    if tokenizer is not None:
        yield f"  {count(len(tokenizer.encode(text[:_LONGEST])))} tokens", "dim"
    yield "\n", "text"
    if text:
        yield f"{gate(text)}\n", "text"
    for key, value in more.items():
        calls = value if key == "tool_calls" and isinstance(value, list) else ()
        for call in calls:
            function = _function(call)
            arguments = orjson.dumps(function.get("arguments"), default=str).decode()
            yield f"{gate(str(function.get('name')))}({gate(arguments)})\n", "key"
        if not calls:
            yield f"{gate(key)}  ", "key"
            yield f"{gate(str(value))}\n", "dim"
    yield "\n", "text"


def _function(tool: Any) -> Mapping[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else {}
    return function if isinstance(function, dict) else {}


def _json(value: Mapping[str, Any]) -> list[Piece]:
    import orjson

    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    shown = gate(text[: _LONGEST + 1])
    pieces: list[Piece] = []
    at = 0
    for match in _KEY.finditer(shown):
        pieces += [(shown[at : match.start(2)], "text"), (match[2], "key")]
        at = match.end()
    pieces.append((shown[at:], "text"))
    return pieces


def _bytes(view: "View", number: int) -> list[Piece]:
    return [(gate(view.raw(number, _LONGEST + 1).decode("utf-8", "replace")), "text")]


def _short(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The pieces as far as they are shown."""
    left = _LONGEST
    for text, tone in pieces:
        if left <= 0:
            break
        yield text[:left], tone
        left -= len(text)
    if left < 0 or (left == 0 and len(pieces) > 1):
        total = sum(len(text) for text, _ in pieces)
        yield f"\n… {count(max(total - _LONGEST, 0))} characters more", "warn"
