"""`tuiwb data edit`: correct, accept, reject, tag and rate rows in a journal; the source stays as it is."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import UsageFault
from tuiwb.cli import output
from tuiwb.cli.data_source import add_source, open_source

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.edited import EditedStore
    from tuiwb.data.journal import Change, Journal, Mark


def configure(actions: Any) -> None:
    edit = actions.add_parser("edit", help="correct, accept, reject, tag, rate rows; kept in a journal, with undo")
    add_source(edit)
    edit.add_argument("--row", type=int, metavar="N", help="the row, from 0")
    what = edit.add_mutually_exclusive_group(required=True)
    what.add_argument("--set", metavar="JSON", help="columns and their new values; the others stay")
    what.add_argument("--replace", metavar="JSON", help="the whole row")
    what.add_argument("--restore", action="store_true", help="the row as the source has it")
    what.add_argument("--accept", action="store_true", help="accept the row, or take that back")
    what.add_argument("--reject", action="store_true", help="reject it: it is not trained on; or take that back")
    what.add_argument("--tag", metavar="NAMES", help="its tags, comma-separated; '' takes them away")
    what.add_argument("--rate", type=int, metavar="1-5", help="its rating")
    what.add_argument("--prefer", type=int, metavar="M", help="its answer is better than that of row M")
    what.add_argument("--undo", action="store_true", help="take the last change back, whoever made it")
    what.add_argument("--redo", action="store_true", help="do again what was taken back")
    what.add_argument("--list", action="store_true", help="the rows that have a mark")
    what.add_argument("--pairs", metavar="FILE", help="write the pairs made by --prefer as preference rows")
    edit.add_argument("--force", action="store_true", help="replace FILE if it is there")
    edit.set_defaults(run=_edit)


def _edit(args: argparse.Namespace) -> int:
    from tuiwb.data import edits

    if args.path == "-":
        raise UsageFault("what comes from a pipe cannot be edited", key="PATH")
    with open_source(args, editable=True) as view:
        assert view.journal is not None
        if args.list:
            return _list(view, view.journal, as_json=args.json)
        if args.pairs:
            written = edits.write_pairs(view, Path(args.pairs), force=args.force)
            if args.json:
                output.print_json({"written": written, "output": args.pairs})
            else:
                output.say(f"{written:,} pairs are in {args.pairs}.")
            return 0
        change = view.journal.undo() if args.undo else view.journal.redo() if args.redo else _changed(view, args)
        if args.json:
            output.print_json(
                {
                    "journal": str(view.journal.path),
                    "change": None if change is None else {"row": change.row, "words": change.words},
                    "undone": args.undo,
                    "marks": len(view.journal),
                }
            )
        elif change is None:
            output.say("Nothing changed." if not (args.undo or args.redo) else "There is nothing left to take back.")
        else:
            how = "Taken back: " if args.undo else "Again: " if args.redo else ""
            output.say(f"{how}{change.words}; kept in {view.journal.path}.")
    return 0


def _changed(view: "View", args: argparse.Namespace) -> "Change | None":
    from tuiwb.data import edits, journal

    if args.row is None:
        raise UsageFault("which row? Name it with --row N", key="--row")
    if not 0 <= args.row < len(view):
        raise UsageFault(f"there are {len(view):,} rows, from 0", file=args.path, key="--row")
    if args.prefer is not None:
        return edits.prefer(view, args.row, args.prefer)
    if args.set is not None or args.replace is not None:
        given = _object(args.set if args.set is not None else args.replace)
        now = view.row(args.row)
        if args.set is not None and now.fault:
            raise UsageFault(f"the row cannot be read ({now.fault.message}): give all of it with --replace")
        return edits.correct(view, args.row, {**now.value, **given} if args.set is not None else given)
    if args.restore:
        return edits.correct(view, args.row, None)
    make: Callable[[Mark], Mark]
    if args.accept or args.reject:
        make = journal.verdict("accepted" if args.accept else "rejected")
    elif args.tag is not None:
        make = journal.tags(tuple(name.strip() for name in args.tag.split(",")))
    else:
        make = journal.rating(args.rate)
    return edits.change(view, args.row, make)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageFault(f"this is not valid JSON: {error}", key="--set") from error
    if not isinstance(found, dict):
        raise UsageFault("a row is a JSON object: {column: value}", key="--set")
    return found


def _list(view: "View", journal: "Journal", *, as_json: bool) -> int:
    store: EditedStore = view.store  # type: ignore[assignment]
    view.index()
    for number in sorted(journal.marks):
        mark, applied = journal.marks[number], store.mark(number) is not None
        if as_json:
            output.print_json(
                {
                    "row": number,
                    "applied": applied,
                    "edited": mark.value is not None,
                    "verdict": mark.verdict,
                    "tags": list(mark.tags),
                    "rating": mark.rating,
                }
            )
            continue
        words = [
            mark.verdict or "",
            "corrected" if mark.value is not None else "",
            f"rated {mark.rating}" if mark.rating else "",
            ", ".join(mark.tags),
            "" if applied else "NOT APPLIED: the source has another row there now",
        ]
        output.write(f"{number}\t{'; '.join(word for word in words if word)}")
    output.say(f"{len(journal):,} rows have a mark, {len(journal.pairs):,} pairs; {journal.path}")
    return 0
