"""`tuiwb recipe import|export`: recipes from other tools, and to them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import UsageFault
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.recipe.imports import Imported

_KINDS = ("trl", "script")


def configure_import(parser: argparse.ArgumentParser) -> None:
    from tuiwb.cli.recipe import add_settings

    parser.add_argument(
        "file", metavar="FILE|-", help="a YAML file of another tool, a script with a command line in it, or - for stdin"
    )
    parser.add_argument(
        "--from",
        dest="tool",
        default="auto",
        choices=("auto", "llamafactory", "axolotl", "trl", "command"),
        help="whose spelling it is in; auto tells it by the keys",
    )
    parser.add_argument("--dataset-dir", metavar="DIR", help="where LLaMA-Factory's dataset_info.json is")
    add_output(parser, "write the recipe there instead of printing it")
    add_settings(parser)
    output.add_json(parser)
    parser.set_defaults(run=run_import)


def configure_export(parser: argparse.ArgumentParser) -> None:
    from tuiwb.cli.recipe import add_recipe

    parser.add_argument("kind", choices=_KINDS, help="trl: a configuration for its command line; script: Python")
    add_recipe(parser)
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="a new folder for it and the prepared data"
    )
    output.add_json(parser)
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    from tuiwb import resolve
    from tuiwb.cli.recipe import read_recipe
    from tuiwb.resolve.handover import hand_over

    found = hand_over(resolve.assess(read_recipe(args)), Path(args.output).expanduser(), args.kind)
    if args.json:
        output.print_json(found.to_json())
        return 0
    output.write(found.command)
    held = f", {found.held_out:,} to measure on" if found.held_out else ""
    output.say(f"{found.rows:,} examples to train on{held}; the command above trains them")
    for note in found.notes:
        output.say(f"note: {note}")
    return 0


def run_import(args: argparse.Namespace) -> int:
    from tuiwb import recipe as recipes
    from tuiwb.cli.recipe import read_settings

    imported = _imported(args)
    recipe = recipes.with_settings(imported.recipe, read_settings(args))
    text = recipes.dumps(recipe)
    if args.output:
        write_new(Path(args.output), text, force=args.force)
    if args.json:
        entries = [entry.to_json() for entry in imported.entries]
        counts = {
            name: sum(entry["outcome"] == name for entry in entries) for name in ("taken", "translated", "refused")
        }
        output.print_json(
            {
                "from": imported.tool,
                "recipe": recipes.to_plain(recipe),
                "yaml": text,
                "output": args.output,
                "keys": entries,
                "counts": counts,
            }
        )
        return 0
    if not args.output:
        output.write(text.rstrip("\n"))
    _account(imported, to_stdout=bool(args.output))
    lost = [entry.key for entry in imported.entries if entry.matters]
    if lost:
        output.say(f"{len(lost)} of its keys would change what is learned and were not taken: {', '.join(lost)}")
    if args.output:
        output.say(f"`tuiwb recipe check {args.output}` says what keeps it from running here")
    return 0


def _imported(args: argparse.Namespace) -> "Imported":
    from tuiwb.recipe import imports

    extra: dict[str, Any] = {"dataset_dir": args.dataset_dir} if args.dataset_dir else {}
    if args.file != "-":
        return imports.read_file(Path(args.file).expanduser(), args.tool, extra=extra)
    found = imports.read(sys.stdin.read(), "stdin", args.tool, extra=extra)
    return imports.Imported(found.tool, imports.placed(found.recipe, (Path.cwd(),)), found.entries)


def _account(imported: "Imported", *, to_stdout: bool) -> None:
    """What became of each key. Beside a recipe that is printed, only what was not simply taken, on stderr."""
    rows = []
    for entry in imported.entries:
        mark = "default" if not entry.stated else "REFUSED" if entry.matters else entry.outcome
        rows.append((entry.key, mark, entry.into, entry.why))
    if to_stdout:
        output.print_table(["key", "outcome", "became", "why"], rows)
        return
    for key, mark, into, why in rows:
        if mark != "taken":
            output.say(f"{mark}: {key}{f' → {into}' if into else ''}{f' ({why})' if why else ''}")


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """`--output FILE`, and `--force` to write over one that is there."""
    parser.add_argument("--output", "-o", metavar="PATH", help=what)
    parser.add_argument("--force", action="store_true", help="write over what is there")


def write_new(file: Path, text: str, *, force: bool) -> None:
    """Write a file that is not there yet, or over it.

    Raises:
        UsageFault: it is there, and nobody said `--force`.
    """
    from tuiwb.base import atomic

    if file.is_dir():
        raise UsageFault("this is a folder; name a file in it", file=file, key="--output")
    if file.exists() and not force:
        raise UsageFault("this file is there already; name another, or add --force", file=file, key="--output")
    atomic.write_text(file, text)
