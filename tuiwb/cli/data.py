"""`tuiwb data inspect|render|convert|…`: what a dataset is, what is wrong with it, what the model sees of a row."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base import units
from tuiwb.base.errors import UsageFault
from tuiwb.base.text import gate, gate_line
from tuiwb.cli import data_clean, data_edit, data_mix, data_select, output
from tuiwb.cli.data_source import FORMATS, add_model, add_source, open_source, renderer_of
from tuiwb.cli.progress import followed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuiwb.data import Problem
    from tuiwb.data.layout import Rendered
    from tuiwb.models import Tokenizer


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    inspect = actions.add_parser("inspect", help="read the whole file: format, columns, problems, lengths")
    add_source(inspect)
    add_model(inspect, required=False)
    inspect.set_defaults(run=_inspect)

    render = actions.add_parser("render", help="show a row as the model sees it, trained and masked tokens apart")
    add_source(render)
    render.add_argument("--row", type=int, default=0, metavar="N", help="number of the row, from 0 (0)")
    add_model(render, required=True)
    render.set_defaults(run=_render)

    convert = actions.add_parser("convert", help="write the rows in another format; the source stays as it is")
    add_source(convert)
    convert.add_argument("--to", required=True, metavar="FORMAT", choices=FORMATS.split(), help="the format to write")
    convert.add_argument("--output", required=True, metavar="FILE", help="a .jsonl file, or .json for an array")
    convert.add_argument("--force", action="store_true", help="replace FILE if it is there")
    convert.set_defaults(run=_convert)

    data_select.configure(actions)
    data_edit.configure(actions)
    data_mix.configure(actions)
    data_clean.configure(actions)


def run(args: argparse.Namespace) -> int:
    raise AssertionError("an action is required")


def _inspect(args: argparse.Namespace) -> int:
    from tuiwb.data.fitting import misfits
    from tuiwb.data.report import report

    renderer = renderer_of(args)
    with open_source(args) as view:
        found = followed(lambda task: report(view, task))
        problems = view.problems
        if renderer is not None:
            problems = (*followed(lambda task: misfits(view, renderer, task)), *problems)
            found["problems"] = [problem.to_json() for problem in problems]
        if args.json:
            output.print_json(found)
        else:
            _print_report(found, problems)
    return 0


def _print_report(found: dict[str, Any], problems: "Sequence[Problem]") -> None:
    usable = "" if found["usable"] == found["rows"] else f", {units.count(found['usable'])} of them usable"
    sure = f"{found['confidence']:.0%} of the sampled rows" if found["format"] else "not clear"
    rows = [
        ("file", f"{found['path']} ({found['kind']}, {units.size(found['bytes'])})"),
        ("rows", units.count(found["rows"]) + usable),
        ("format", f"{found['format'] or 'unknown'} ({sure})"),
        ("reason", found["reason"]),
        ("columns", ", ".join(_column(name, found["types"].get(name, {})) for name in found["columns"])),
    ]
    for what in ("example", "answer"):
        if sizes := found["lengths"].get(what):
            words = f"{sizes['p50']:,} in the middle, {sizes['p90']:,} at 90 %, {sizes['max']:,} at most"
            rows.append((f"{what} length", f"{words} (characters)"))
    for name, value in rows:
        output.write(f"{name:<16}{gate_line(value)}")
    if not problems:
        output.say("No problems.")
        return
    output.write("")
    for problem in problems:
        line = f", line {problem.line}" if problem.line else ""
        file = f"{problem.file}, " if problem.file else ""
        place = f"{file}row {problem.row}{line}: " if problem.row is not None else ""
        of = f" ({units.count(problem.count)} rows)" if problem.count > 1 else ""
        output.write(f"{problem.severity:<9}{gate_line(place + problem.message)}{of}\n{'':9}{gate_line(problem.fix)}")


def _column(name: str, types: dict[str, int]) -> str:
    return f"{name} ({' or '.join(types)})" if types else name


def _render(args: argparse.Namespace) -> int:
    from tuiwb.data.sides import render_sides

    renderer = renderer_of(args)
    assert renderer is not None  # the model is required
    with open_source(args) as view:
        try:
            row = followed(lambda _: view.row(args.row))
        except IndexError:
            raise UsageFault(f"there are {units.count(len(view))} rows, from 0", file=args.path, key="--row") from None
        example = view.translate(row)
        sides = render_sides(example, renderer)
        if args.json:
            output.print_json(
                {
                    "row": row.id,
                    "line": row.line,
                    "format": view.format.name,
                    "sides": [{"name": name, **_document(side, renderer.tokenizer)} for name, side in sides.items()],
                }
            )
            return 0
    for name, side in sides.items():
        if len(sides) > 1:
            output.write(f"== {name}")
        print_rendered(side)
        cut = f"; {units.count(side.truncated)} cut off" if side.truncated else ""
        output.say(f"{units.count(len(side.ids))} tokens, {units.count(side.trained)} of them trained{cut}")
    return 0


def _document(side: "Rendered", tokenizer: "Tokenizer") -> dict[str, Any]:
    return {
        "text": side.text,
        "tokens": [
            {"id": number, "text": tokenizer.decode([number]), "trained": trained}
            for number, trained in zip(side.ids, side.mask, strict=True)
        ],
        "segments": [
            {"start": part.start, "end": part.end, "role": part.role, "trained": part.trained} for part in side.segments
        ],
        "total": len(side.ids),
        "trained": side.trained,
        "truncated": side.truncated,
    }


def print_rendered(side: "Rendered") -> None:
    """On a terminal trained text is bold and green and the rest dim; elsewhere, and without colours, each piece comes
    behind a line that says what becomes of it."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for part in side.segments:
        text = gate(side.text[part.start : part.end])
        if coloured:
            style = "1;32" if part.trained else "2"
            sys.stdout.write(f"\x1b[{style}m{text}\x1b[0m")
        else:
            fate = "trained" if part.trained else "masked"
            output.write(f"[{gate_line(part.role) or 'template'}, {fate}]\n{text}")
    if coloured:
        sys.stdout.write("\n")
    sys.stdout.flush()


def _convert(args: argparse.Namespace) -> int:
    from tuiwb.data.convert import convert

    with open_source(args) as view:
        done = followed(lambda task: convert(view, args.to, Path(args.output), force=args.force, task=task))
    if args.json:
        said = {"problems": done.left_out, "lost": done.lost}
        problems = {name: [problem.to_json() for problem in found] for name, found in said.items()}
        output.print_json({"read": done.read, "written": done.written, "output": args.output, **problems})
        return 0
    output.say(f"{units.count(done.written)} rows are in {args.output}.")
    for problem in done.left_out:
        output.say(f"{units.count(problem.count)} left out, the first is row {problem.row}: {problem.message}")
    for problem in done.lost:
        output.say(f"{units.count(problem.count)} are not whole, the first is row {problem.row}: {problem.message}")
    return 0
