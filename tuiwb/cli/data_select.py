"""`tuiwb data select|chart|rows`: search, filter, sort and sample rows; charts of all of them; the rows of a run."""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base import units
from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.cli import output
from tuiwb.cli.data_source import add_model, add_source, open_source, renderer_of
from tuiwb.cli.progress import followed

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.measure import Chart

CHARTS = ("length", "turns", "trained", "cut", "language", "source")
_BAR = 40
_SHOWN = 1 << 20
"""Bytes of a row that are printed."""


def configure(actions: Any) -> None:
    select = actions.add_parser("select", help="search, filter, sort, sample rows; print them or write them to a file")
    add_source(select)
    select.add_argument(
        "--where",
        metavar="QUERY",
        help="words, /regex/, column:words, column>number, is:rejected, tag:name, rating>3; join them by ' & '",
    )
    select.add_argument("--sort", metavar="KEY", help="a column, or length (characters), or turns")
    select.add_argument("--descending", action="store_true", help="the largest first")
    select.add_argument("--sample", type=int, metavar="N", help="draw so many rows at random")
    select.add_argument("--seed", type=int, default=42, metavar="N", help="of the sample (42)")
    select.add_argument("--limit", type=int, metavar="N", help="the first so many of what was found")
    select.add_argument("--output", metavar="FILE", help="write them here, byte by byte, instead of printing them")
    select.add_argument("--force", action="store_true", help="replace FILE if it is there")
    select.set_defaults(run=_select)

    chart = actions.add_parser("chart", help="how long the rows are, how much is trained, what the cut loses")
    add_source(chart)
    add_model(chart, required=False)
    chart.add_argument("--sample", type=int, metavar="N", help="measure so many rows instead of all")
    chart.add_argument("--chart", choices=CHARTS, action="append", help="only this one; may be given again")
    chart.set_defaults(run=_chart)

    rows = actions.add_parser("rows", help="the rows that a run learned from, exactly, in the order of an epoch")
    rows.add_argument("run_id", metavar="RUN", help="a run, or `last`")
    rows.add_argument("--set", metavar="NAME", help="held_out, or the name of an evaluation dataset (training)")
    rows.add_argument("--part", type=int, default=1, metavar="N", help="of a run with several (1)")
    rows.add_argument("--limit", type=int, metavar="N", help="the first so many")
    output.add_json(rows)
    rows.set_defaults(run=_rows)


def _select(args: argparse.Namespace) -> int:
    import orjson

    with open_source(args) as view:
        numbers = followed(lambda task: _numbers(view, args, task))
        if args.output:
            from tuiwb.data.subset import lines_of, write_lines

            def write(task: Task) -> int:
                lines = lines_of(view, numbers, task, len(numbers))
                return write_lines(Path(args.output), lines, view.store.files(), force=args.force)

            written = followed(write)
            if args.json:
                output.print_json({"rows": len(view), "written": written, "output": args.output})
            else:
                output.say(f"{units.count(written)} of {units.count(len(view))} rows are in {args.output}.")
            return 0
        for number in numbers:
            row = view.row(int(number))
            fault = {"fault": row.fault.message} if row.fault else {"value": row.value}
            if args.json:
                output.print_json({"row": row.id, "line": row.line, **_mark(view, row.id), **fault})
            else:
                raw = view.raw(row.id, _SHOWN)
                if b"\n" in raw and not row.fault:  # an element of an array that is written on several lines
                    raw = orjson.dumps(row.value, default=str, option=orjson.OPT_NON_STR_KEYS)[:_SHOWN]
                output.write(f"{row.id}\t{gate_line(raw.decode('utf-8', 'replace'))}")
        output.say(f"{units.count(len(numbers))} of {units.count(len(view))} rows.")
    return 0


def _numbers(view: "View", args: argparse.Namespace, task: Task) -> Any:
    import numpy as np

    from tuiwb.data.order import ordered, sampled
    from tuiwb.data.query import matching, parse

    view.index(task)
    found = None
    if args.where:
        found = matching(view, parse(args.where, view.columns, view.mark), task)
    if args.sample is not None:
        found = sampled(view, args.sample, seed=args.seed, among=found)
    if args.sort:
        found = ordered(view, args.sort, descending=args.descending, among=found, task=task)
    elif found is None:
        found = np.arange(len(view))
    return found if args.limit is None else found[: max(args.limit, 0)]


def _mark(view: "View", number: int) -> dict[str, Any]:
    mark = view.mark(number)
    if mark is None:
        return {}
    return {
        "edited": mark.value is not None,
        "verdict": mark.verdict,
        "tags": list(mark.tags),
        "rating": mark.rating,
    }


def _chart(args: argparse.Namespace) -> int:
    from tuiwb.data.measure import chart, measure, sample_rows

    if args.sample is not None and args.sample < 1:
        raise UsageFault("a sample needs at least one row", key="--sample")
    renderer = renderer_of(args)
    with open_source(args) as view:

        def work(task: Task) -> Any:
            view.index(task)
            rows = None if args.sample is None else sample_rows(view, args.sample)
            return measure(view, renderer, rows, task)

        measures = followed(work)
        charts = {which: chart(measures, which) for which in args.chart or CHARTS}
        if args.json:
            output.print_json(
                {
                    "rows": len(measures.rows),
                    "whole": measures.whole,
                    "unit": measures.unit,
                    "max_length": measures.max_length,
                    "charts": {
                        which: {
                            "title": one.title,
                            "note": one.note,
                            "bars": [_bar(bar) for bar in one.bars],
                        }
                        for which, one in charts.items()
                    },
                }
            )
            return 0
    for number, one in enumerate(charts.values()):
        for line in itertools.chain([""] if number else [], _lines(one)):
            output.write(line)
    return 0


def _rows(args: argparse.Namespace) -> int:
    from tuiwb import runs
    from tuiwb.data import record

    parts = runs.find(args.run_id).parts()
    if not 1 <= args.part <= len(parts):
        raise UsageFault(f"the run has {len(parts)} parts", key="--part")
    sets = {each.name: each for each in record.read(parts[args.part - 1].path)}
    wanted = args.set or record.TRAINING
    if wanted not in sets:
        raise UsageFault(f"the run has no rows {wanted!r}: {', '.join(sets)}", key="--set")
    found = sets[wanted]
    for entry, row in itertools.islice(record.rows_of(found), args.limit):
        if args.json:
            output.print_json({"path": entry.path, "row": row.id, "line": row.line, "value": row.value})
        else:
            output.write(f"{gate_line(entry.path)}\t{row.id}\t{gate_line(json.dumps(row.value, ensure_ascii=False))}")
    output.say(f"{units.count(len(found.rows))} examples are {wanted} in an epoch of this run.")
    return 0


def _bar(bar: Any) -> dict[str, Any]:
    return {
        "label": bar.label,
        "rows": len(bar.rows),
        "low": bar.low,
        "high": bar.high,
        "first": int(bar.rows[0]) if len(bar.rows) else None,
    }


def _lines(chart: "Chart") -> Iterator[str]:
    yield f"{chart.title}: {gate_line(chart.note)}"
    most = max((len(bar.rows) for bar in chart.bars), default=0)
    wide = max((len(bar.label) for bar in chart.bars), default=0)
    for bar in chart.bars:
        length = round(_BAR * len(bar.rows) / most) if most else 0
        yield f"{gate_line(bar.label, 30):>{min(wide, 30)}}  {len(bar.rows):>9,}  {'█' * length}"
