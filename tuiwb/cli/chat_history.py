"""`tuiwb chat history`: what was said, found again and taken out."""

import argparse
import sys
import time

from tuiwb.base.errors import UsageFault
from tuiwb.base.text import gate_line
from tuiwb.cli import output


def run(words: list[str], args: argparse.Namespace) -> int:
    verb, *rest = words or ["list"]
    if verb in ("list", "search"):
        return _list(" ".join(rest), args)
    if verb == "judgements":
        return _judgements(args)
    if verb not in ("show", "export", "delete") or len(rest) != 1:
        raise UsageFault(
            "write `history`, `history search WORDS`, `history show|export|delete ID`, `history judgements`"
        )
    return {"show": _show, "export": _export, "delete": _delete}[verb](rest[0], args)


def _list(words: str, args: argparse.Namespace) -> int:
    from tuiwb.chat import store

    hits = store.scan(words)
    if args.json:
        output.print_json(
            [
                {"id": hit.saved.id, "title": hit.saved.title, "whom": hit.saved.whom, "turns": hit.saved.turns,
                 "updated": hit.saved.updated, "lanes": list(hit.saved.lanes), "excerpt": hit.excerpt}
                for hit in hits
            ]
        )  # fmt: skip
        return 0
    output.print_table(
        ["conversation", "when", "whom", "turns", "excerpt" if words else "title"],
        (
            (
                hit.saved.id,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(hit.saved.updated)),
                gate_line(hit.saved.whom, 28),
                hit.saved.turns,
                hit.excerpt if words else hit.saved.title,
            )
            for hit in hits
        ),
        right=[3],
    )
    return 0


def _show(id_: str, args: argparse.Namespace) -> int:
    import msgspec

    from tuiwb.chat import store

    saved = store.load(id_)
    if args.json:
        output.print_json(msgspec.to_builtins(saved))
    else:
        output.write(store.export(saved, "markdown").rstrip())
    return 0


def _export(id_: str, args: argparse.Namespace) -> int:
    from tuiwb.chat import store

    text = store.export(store.load(id_), args.format or "markdown")
    if args.json:
        output.print_json({"format": args.format or "markdown", "text": text})
    elif sys.stdout.isatty():
        output.write(text.rstrip())
    else:
        sys.stdout.write(text)  # a file gets what was said, character by character
    return 0


def _delete(id_: str, args: argparse.Namespace) -> int:
    from tuiwb.chat import store

    deleted = store.load(id_).id
    store.delete(deleted)
    if args.json:
        output.print_json({"deleted": deleted})
    return 0


def _judgements(args: argparse.Namespace) -> int:
    """What was judged in chats: files to train on, and who won comparisons, blind or with the names in sight."""
    from tuiwb.chat import feedback

    files = {kind: feedback.file_of(kind) for kind in feedback.KINDS}
    rows = {kind: sum(1 for _ in file.open("rb")) if file.exists() else 0 for kind, file in files.items()}
    wins = [(blind, pair, found) for blind in (True, False) for pair, found in feedback.wins(blind=blind).items()]
    if args.json:
        output.print_json(
            {
                "files": {kind: {"path": str(file), "rows": rows[kind]} for kind, file in files.items()},
                "comparisons": [{"names": list(pair), "blind": blind, **found} for blind, pair, found in wins],
            }
        )
        return 0
    output.print_table(["kind", "rows", "file"], ((kind, rows[kind], file) for kind, file in files.items()), right=[1])
    for blind, (one, other), found in wins:
        output.write(
            f"{'blind' if blind else 'named'}, {one} against {other}: {found['first']:.0f} won, "
            f"{found['tie']:.0f} tied, {found['second']:.0f} lost; "
            f"win rate {found['win_rate']:.0%} [{found['low']:.0%}, {found['high']:.0%}]"
        )
    return 0
