"""`tuiwb data split|mix`: parts that share no row; several sources in one, each in its share."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base import units
from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Task
from tuiwb.cli import output
from tuiwb.cli.data_source import add_model, add_source, open_source, renderer_of
from tuiwb.cli.progress import followed

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.mixture import Mixture


def configure(actions: Any) -> None:
    split = actions.add_parser("split", help="cut a source into parts, seeded, by stratum and by group")
    add_source(split)
    split.add_argument(
        "--parts", default="train=0.9,eval=rest", metavar="NAME=SHARE,…", help="the parts (train=0.9,eval=rest)"
    )
    split.add_argument("--stratify", metavar="COLUMN", help="each value of it in the same shares")
    split.add_argument(
        "--group",
        metavar="COLUMN",
        help="equal values stay together; same-prompt: rows with the same prompt; near: near-duplicates",
    )
    split.add_argument("--threshold", type=float, default=0.7, metavar="J", help="Jaccard of --group near (0.7)")
    split.add_argument("--seed", type=int, default=42, metavar="N", help="of every draw (42)")
    split.add_argument("--output", required=True, metavar="FOLDER", help="where NAME.jsonl of each part goes")
    split.add_argument("--force", action="store_true", help="replace files that are there")
    split.set_defaults(run=_split)

    mix = actions.add_parser("mix", help="several sources in one epoch: weights, caps, upsampling, tokens of each")
    add_source(mix, many=True)
    mix.add_argument("--max-repeats", type=float, metavar="N", help="no row is seen more often in an epoch")
    mix.add_argument("--seed", type=int, default=42, metavar="N", help="of every draw (42)")
    add_model(mix, required=False)
    mix.add_argument("--output", metavar="FILE", help="write an epoch, shuffled; without it the shares are shown alone")
    mix.add_argument("--to", metavar="FORMAT", help="write the rows in this format (needed where they differ)")
    mix.add_argument("--force", action="store_true", help="replace FILE if it is there")
    mix.description = (
        "A PATH may end in =30% for a fixed share of the examples; the others divide the rest by their rows. "
        "Five to ten per cent of general data (general.jsonl=10%) keep a model from forgetting what it knew."
    )
    mix.set_defaults(run=_mix)


def _split(args: argparse.Namespace) -> int:
    from tuiwb.data.partition import Partition, partition, shares, write_parts
    from tuiwb.data.subset import refuse

    wanted = shares(args.parts)
    folder = Path(args.output).expanduser()
    with open_source(args) as view:
        files = {name: folder / f"{name}.jsonl" for name in wanted}
        for file in files.values():
            refuse(file, view.store.files(), force=args.force)

        def work(task: Task) -> Partition:
            view.index(task)
            near = args.group == "near"
            groups = _near(view, args.threshold, task) if near else None
            group = None if near else args.group
            found = partition(
                view, wanted, seed=args.seed, stratify=args.stratify, group=group, groups=groups, task=task
            )
            write_parts(view, found, files, force=args.force, task=task)
            return found

        found = followed(work)
    counts = {name: len(rows) for name, rows in found.parts.items()}
    first, *others = files
    entries = {
        "datasets": [{"path": str(files[first].absolute()), "format": view.format.name}],
        "eval_datasets": [{"path": str(files[name].absolute()), "format": view.format.name} for name in others],
    }
    if args.json:
        parts = {name: {"path": str(files[name]), "rows": number} for name, number in counts.items()}
        how = {"seed": args.seed, "stratify": args.stratify, "group": args.group, "fingerprint": view.fingerprint}
        output.print_json(
            {"parts": parts, "left_out": found.left_out, "groups": found.groups, **how, "recipe": entries}
        )
        return 0
    total = max(sum(counts.values()), 1)
    rows = [(name, f"{number:,}", f"{100 * number / total:.1f} %", files[name]) for name, number in counts.items()]
    output.print_table(["part", "rows", "share", "file"], rows, right=(1, 2))
    if found.left_out:
        output.say(f"{units.count(found.left_out)} rows cannot be trained on and are in no part.")
    return 0


def _near(view: "View", threshold: float, task: Task) -> Any:
    """A number for each row, equal for near-duplicates."""
    from tuiwb.data.grouping import near_groups

    return near_groups(view, threshold, task)


def _mix(args: argparse.Namespace) -> int:
    from tuiwb.data.mixture import epoch_lines, mix
    from tuiwb.data.subset import write_lines

    named = [_named(text) for text in args.paths]
    renderer = renderer_of(args)
    views = [open_source(args, path) for path, _ in named]
    try:
        shares = [share for _, share in named]

        def work(task: Task) -> "tuple[Mixture, int]":
            mixture = mix(views, shares, seed=args.seed, max_repeats=args.max_repeats, renderer=renderer, task=task)
            if not args.output:
                return mixture, 0
            lines = epoch_lines(views, mixture, args.to, seed=args.seed, task=task)
            sources = [file for view in views for file in view.store.files()]
            return mixture, write_lines(Path(args.output), lines, sources, force=args.force)

        mixture, written = followed(work)
        weights = [None] * len(views) if all(share is None for share in shares) else mixture.weights
        entries = [
            {"path": str(view.path.absolute()), "format": view.format.name, **({"weight": weight} if weight else {})}
            for view, weight in zip(views, weights, strict=True)
        ]
    finally:
        for view in views:
            view.close()
    if args.json:
        sources = [source.to_json() for source in mixture.sources]
        output.print_json(
            {"sources": sources, "examples": len(mixture.rows), "written": written, "recipe": {"datasets": entries}}
        )
        return 0
    rows = [
        (
            source.path,
            f"{source.usable:,}",
            f"{100 * source.share:.1f} %",
            f"{source.examples:,}",
            f"{source.repeats:.2f}",
            "" if source.tokens is None else f"{source.tokens:,}",
            "" if source.trained is None else f"{source.trained:,}",
        )
        for source in mixture.sources
    ]
    heads = ["source", "rows", "share", "examples", "repeats", "tokens", "trained tokens"]
    output.print_table(heads, rows, right=range(1, 7))
    if args.output:
        output.say(f"{units.count(written)} rows are in {args.output}.")
    return 0


def _named(text: str) -> tuple[str, float | None]:
    """A path, and the share behind it."""
    found = re.fullmatch(r"(.+)=([\d.]+)(%?)", text)
    if found is None:
        return text, None
    share = float(found[2]) / (100 if found[3] else 1)
    if not 0 < share <= 1:
        raise UsageFault(f"{found[2]}{found[3]} is no share of the mixture, such as 30%", key=found[1])
    return found[1], share
