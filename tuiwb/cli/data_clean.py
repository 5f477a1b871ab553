"""`tuiwb data clean|dedup|contamination|steps`: which rows should not be trained on, and why."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base import units
from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.cli import output
from tuiwb.cli.data_source import add_source, open_source
from tuiwb.cli.progress import followed

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.clean.run import Cleaned
    from tuiwb.data.clean.steps import Step

_CLUSTERS = 10
_WIDTH = 100
_MEASURES = ("cover", "cosine")
"""What the steps of `contamination` measure."""


def configure(actions: Any) -> None:
    clean = actions.add_parser("clean", help="what cleaning steps leave out and why; write what stays")
    add_source(clean)
    clean.add_argument(
        "--steps",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="guides, lima-like, strict, or a file of steps",
    )
    clean.add_argument(
        "--step", action="append", default=[], metavar="STEP", help="one more, such as 'words: {min: 10}'"
    )
    clean.add_argument("--save-steps", metavar="FILE", help="write the steps to a file that --steps and recipes read")
    _add_output(clean)
    clean.set_defaults(run=_clean)

    dedup = actions.add_parser("dedup", help="exact and near-duplicates: one row of each cluster stays")
    add_source(dedup)
    dedup.add_argument(
        "--threshold", default="strict", metavar="J", help="Jaccard similarity: strict 0.8, normal 0.7, loose 0.5"
    )
    dedup.add_argument("--of", default="example", choices=("example", "prompt", "answer"), help="what is compared")
    dedup.add_argument("--against", action="append", default=[], metavar="FILE", help="leave out what is in it, too")
    dedup.add_argument("--exact", action="store_true", help="leave near-duplicates alone")
    _add_semantic(dedup, "rows that mean the same, too")
    dedup.add_argument("--clusters", type=int, default=_CLUSTERS, metavar="N", help=f"show so many ({_CLUSTERS})")
    _add_output(dedup)
    dedup.set_defaults(run=_dedup)

    contamination = actions.add_parser("contamination", help="whether rows hold the prompts of an evaluation")
    add_source(contamination)
    contamination.add_argument(
        "--against", action="append", required=True, metavar="FILE", help="an evaluation; may be given again"
    )
    contamination.add_argument("--n", type=int, default=8, metavar="N", help="words of a run that counts (8)")
    contamination.add_argument(
        "--cover", type=float, default=0.5, metavar="SHARE", help="of a prompt, from which it is contaminated (0.5)"
    )
    _add_semantic(contamination, "rows that ask the same in other words, too")
    _add_output(contamination)
    contamination.set_defaults(run=_contamination)

    steps = actions.add_parser("steps", help="list the cleaning steps, their settings and the presets")
    steps.add_argument("name", nargs="?", metavar="NAME", help="print a preset or a file as a list of steps")
    output.add_json(steps)
    steps.set_defaults(run=_steps)


def _add_semantic(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--semantic", metavar="MODEL", help=f"{what}, by the vectors of a local model")
    parser.add_argument("--cosine", type=float, default=0.9, metavar="C", help="of --semantic, from which (0.9)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", help="write the rows that stay here; without it nothing is written")
    parser.add_argument("--report", metavar="FILE", help="say row by row why, in a file that ends in .md or .json")
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def _clean(args: argparse.Namespace) -> int:
    from tuiwb.data.clean.lists import parse, save, typed

    if not args.steps and not args.step:
        raise UsageFault("name some steps: --steps guides, or see `tuiwb data steps`", key="--steps")
    steps = (*parse(args.steps), *(step for text in args.step for step in typed(text)))
    if args.save_steps:
        save(steps, Path(args.save_steps).expanduser(), force=args.force)
    with open_source(args) as view:
        cleaned, written = _work(view, steps, args)
        if args.json:
            output.print_json({**_summary(view, cleaned), **_places(args, written)})
            return 0
        _print_steps(view, cleaned)
    _tell(cleaned, args, written)
    return 0


def _dedup(args: argparse.Namespace) -> int:
    from tuiwb.data.clean.clusters import clusters
    from tuiwb.data.clean.lists import step_of

    common: dict[str, Any] = {"of": args.of, "against": args.against}
    steps = [step_of("exact_duplicates", common)]
    if not args.exact:
        steps.append(step_of("near_duplicates", {**common, "threshold": _threshold(args.threshold)}))
    if args.semantic:
        steps.append(step_of("semantic_duplicates", {**common, **_semantic(args)}))
    with open_source(args) as view:
        cleaned, written = _work(view, steps, args)
        found = clusters(cleaned)
        if args.json:
            counts = {outcome.step.name: outcome.removed for outcome in cleaned.outcomes}
            output.print_json(
                {
                    "rows": cleaned.rows,
                    "kept": cleaned.kept,
                    "removed": cleaned.flagged,
                    "unusable": len(cleaned.removals) - cleaned.flagged,
                    **counts,
                    "threshold": 1.0 if args.exact else getattr(steps[1], "similarity", 1.0),
                    "clusters": [
                        {
                            "kept": cluster.kept,
                            **({"file": cluster.file} if cluster.file else {}),
                            "rows": [{"row": one.row, "similarity": one.likeness} for one in cluster.members],
                        }
                        for cluster in found
                    ],
                    **_places(args, written),
                }
            )
            return 0
        for cluster in found[: max(args.clusters, 0)]:
            _print_cluster(view, cluster)
        if found:
            output.write("")
        for outcome in cleaned.outcomes:
            output.write(f"{outcome.step.words()}: {units.count(outcome.removed)} rows")
        output.write(f"{units.count(len(found))} clusters, one row of each stays.")
    _tell(cleaned, args, written)
    return 0


def _contamination(args: argparse.Namespace) -> int:
    from tuiwb.data.clean.lists import step_of

    steps = [step_of("contamination", {"against": args.against, "n": args.n, "cover": args.cover})]
    if args.semantic:
        steps.append(step_of("semantic_contamination", {"against": args.against, **_semantic(args)}))
    with open_source(args) as view:
        cleaned, written = _work(view, steps, args)
        found = [removal for removal in cleaned.removals.values() if removal.step >= 0]
        prompts = {(removal.file, removal.twin) for removal in found}
        if args.json:
            output.print_json(
                {
                    "rows": cleaned.rows,
                    "contaminated": len(found),
                    "prompts": len(prompts),
                    "matches": [
                        {"row": one.row, "prompt": one.twin, "file": one.file, _MEASURES[one.step]: one.likeness}
                        for one in found
                    ],
                    "near_misses": [
                        {"row": one.row, _MEASURES[one.step]: one.likeness}
                        for outcome in cleaned.outcomes
                        for one in outcome.near
                    ],
                    **_places(args, written),
                }
            )
            return 0
        for removal in found[:50]:
            output.write(f"row {removal.row:,} {gate_line(removal.why)}")
        if len(found) > 50:
            output.write(f"… and {units.count(len(found) - 50)} more rows; --report names them all")
        what = (
            f"{units.count(len(found))} of {units.count(cleaned.rows)} rows hold {units.count(len(prompts))} prompts."
        )
        output.write(what if found else "No row holds a prompt of the evaluation.")
    _tell(cleaned, args, written)
    return 0


def _steps(args: argparse.Namespace) -> int:
    import msgspec

    from tuiwb.data.clean.lists import PRESETS, STEPS, dumps, parse, plain

    if args.name:
        steps = parse([args.name])
        if args.json:
            output.print_json({"steps": plain(steps)})
        else:
            output.write(dumps(steps).rstrip("\n"))
        return 0
    listed = [
        {
            "name": name,
            "summary": step.summary,
            "settings": {field.name: _default(field) for field in msgspec.structs.fields(step)},
        }
        for name, step in STEPS.items()
    ]
    presets = [{"name": name, "summary": summary} for name, (summary, _) in PRESETS.items()]
    if args.json:
        output.print_json({"steps": listed, "presets": presets})
        return 0
    for one in listed:
        settings = ", ".join(f"{key}: {json.dumps(value)}" for key, value in one["settings"].items())  # type: ignore[attr-defined]
        output.write(f"{one['name']:<18}{one['summary']}" + (f"\n{'':18}{settings}" if settings else ""))
    output.write("")
    for preset in presets:
        output.write(f"{preset['name']:<18}{preset['summary']}")
    return 0


def _default(field: Any) -> Any:
    import msgspec

    return "needed" if field.required else msgspec.to_builtins(field.default)


def _semantic(args: argparse.Namespace) -> dict[str, Any]:
    return {"model": args.semantic, "threshold": args.cosine}


def _threshold(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _work(view: "View", steps: "Iterable[Step]", args: argparse.Namespace) -> "tuple[Cleaned, int | None]":
    from tuiwb.data.clean.cache import cleaned
    from tuiwb.data.clean.write import write, write_report
    from tuiwb.data.subset import refuse

    given = tuple(steps)
    for place in (args.output, args.report):
        if place:  # said before the work, not after it
            refuse(Path(place).expanduser(), view.store.files(), force=args.force)

    def work(task: Task) -> "tuple[Cleaned, int | None]":
        found = cleaned(view, given, task)
        target = Path(args.output).expanduser() if args.output else None
        written = None if target is None else write(view, found, target, force=args.force, task=task)
        if args.report:
            write_report(view, found, Path(args.report).expanduser(), force=args.force)
        return found, written

    return followed(work)


def _summary(view: "View", cleaned: "Cleaned") -> dict[str, Any]:
    from tuiwb.data.clean.report import summary

    return summary(view, cleaned)


def _places(args: argparse.Namespace, written: int | None) -> dict[str, Any]:
    return {"written": written, "output": args.output, "report": args.report}


def _print_steps(view: "View", cleaned: "Cleaned") -> None:
    from tuiwb.data.clean.report import before_and_after, beginning

    for at, outcome in enumerate(cleaned.outcomes):
        did = (
            f"{units.count(outcome.changed)} changed" if outcome.changed else f"{units.count(outcome.removed)} left out"
        )
        output.write(f"{outcome.step.words()}: {did} of {units.count(outcome.looked)}")
        for title, some in (("", outcome.samples[:3]), ("stays, though near: ", outcome.near[:2])):
            for removal in some:
                text = gate_line(beginning(view, removal.row), _WIDTH - 20)
                output.write(f"    {title}row {removal.row:,}: {gate_line(removal.why)}\n        {text}")
        for row in outcome.altered[:3]:
            output.write(f"    row {row:,}: {_marked(*before_and_after(view, cleaned, at, row))}")


def _print_cluster(view: "View", cluster: Any) -> None:
    from tuiwb.data.clean.report import beginning

    place = f"row {cluster.kept:,}" + (f" of {Path(cluster.file).name}" if cluster.file else "")
    text = "" if cluster.file else gate_line(beginning(view, cluster.kept), _WIDTH - 30)
    output.write(f"{place} stays: {text}")
    for removal in cluster.members[:3]:
        output.write(f"    row {removal.row:,}, {gate_line(removal.why)}: {_changed(view, cluster, removal.row)}")
    if len(cluster.members) > 3:
        output.write(f"    and {units.count(len(cluster.members) - 3)} more")


def _changed(view: "View", cluster: Any, row: int) -> str:
    """Where a row differs from the one that stays."""
    from tuiwb.data.clean.texts import texts

    if cluster.file:
        return gate_line(texts(view.as_it_stands(view.row(row))).of("example"), _WIDTH - 30)
    kept, other = (texts(view.as_it_stands(view.row(number))).of("example") for number in (cluster.kept, row))
    return _marked(kept, other) or "no difference in words"


def _marked(old: str, new: str) -> str:
    """Where a text differs from an older one: `[-out-]` and `{+in+}` as word-by-word differences write it."""
    from tuiwb.data.clean.clusters import difference

    marks = {"out": "[-{}-]", "in": "{{+{}+}}"}
    parts = [marks[what].format(part) for what, part in difference(old, new) if what != "same"]
    return gate_line(" ".join(" ".join(parts).split()), _WIDTH)


def _tell(cleaned: "Cleaned", args: argparse.Namespace, written: int | None) -> None:
    unusable = len(cleaned.removals) - cleaned.flagged
    more = f"; {units.count(unusable)} cannot be trained on" if unusable else ""
    output.say(f"{units.count(cleaned.kept)} of {units.count(cleaned.rows)} rows stay{more}.")
    if written is None:
        output.say("Nothing was written; --output FILE writes the rows that stay.")
    else:
        output.say(f"They are in {args.output}.")
    if args.report:
        output.say(f"The reasons are in {args.report}.")
