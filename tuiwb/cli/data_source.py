"""What the verbs about data have in common: how a source is named, opened and looked at with a model's eyes."""

import argparse
import sys
from typing import TYPE_CHECKING

from tuiwb.base.errors import UsageFault
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.render import Renderer

FORMATS = "alpaca sharegpt messages prompt_completion preference hh_rlhf kto stepwise qa prompt_only text tokenized"
_PATH = "a file (json, jsonl, csv, tsv, txt, parquet, arrow; gz, zst, bz2), a folder, a hub id, or - for stdin"


def add_source(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """The arguments that name a source."""
    if many:
        parser.add_argument("paths", nargs="+", metavar="PATH", help=_PATH)
    else:
        parser.add_argument("path", metavar="PATH", help=_PATH)
    parser.add_argument(
        "--format", metavar="NAME", help=f"what the rows are, where it cannot be told: {FORMATS}, or a type of Axolotl"
    )
    parser.add_argument(
        "--column", action="append", default=[], metavar="PART=NAME", help="which column plays a part of the format"
    )
    parser.add_argument("--split", metavar="NAME", help="of a folder or a hub dataset, such as train or train[:5%%]")
    parser.add_argument("--subset", metavar="NAME", help="configuration of a hub dataset that has several")
    parser.add_argument("--journal", metavar="FILE", help="edits made by hand, as `tuiwb data edit` keeps them")
    output.add_json(parser)


def add_model(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The arguments that say with which tokenizer and template rows are looked at."""
    parser.add_argument(
        "--model", required=required, metavar="MODEL", help="a name, a folder, a .gguf file or a hub id"
    )
    parser.add_argument("--chat-template", metavar="NAME", help="a name (chatml, alpaca …) or a file; the model's own")
    parser.add_argument("--max-length", type=int, metavar="N", help="cut to so many tokens, as training would")


def open_source(args: argparse.Namespace, path: str | None = None, *, editable: bool = False) -> "View":
    """Open what the arguments name."""
    from tuiwb import data
    from tuiwb.data import declared, spool
    from tuiwb.data.journal import place_of

    columns = {}
    for given in args.column:
        part, equals, name = given.partition("=")
        if not equals:
            raise UsageFault(f"{given!r} is not PART=NAME, such as answer=reply", key="--column")
        columns[part] = name
    where = args.path if path is None else path
    if where == "-":
        where = str(spool.spooled(sys.stdin.buffer))
    name, more = declared.of_axolotl(args.format) if args.format else (None, {})
    view = data.open(
        where,
        name=name,
        columns={**more, **columns} or None,
        split=args.split,
        subset=args.subset,
        journal=args.journal,
        editable=editable,
    )
    if not editable and args.journal is None and (beside := place_of(view.path)).exists():
        output.say(f"Edits by hand are not applied; --journal {beside} would.")
    return view


def renderer_of(args: argparse.Namespace) -> "Renderer | None":
    """The renderer of the model that was named; None where none was."""
    if not args.model:
        return None
    from tuiwb import models
    from tuiwb.data.render import Renderer

    tokenizer = models.load_tokenizer(models.open_model(args.model, config_only=True))
    has_template = args.chat_template or tokenizer.chat_template
    template = tokenizer.template(args.chat_template) if has_template else None
    return Renderer(tokenizer, template, max_length=args.max_length)
