"""`tuiwb models list|search|get|show|delete`: find, bring, inspect and delete models."""

import argparse
import sys
from typing import Any

from tuiwb.base import units
from tuiwb.base.errors import EnvironmentFault, UsageFault
from tuiwb.cli import output
from tuiwb.cli.progress import followed


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the models on this machine; --all adds what the catalogue offers")
    listing.add_argument("--all", action="store_true", help="also the catalogue of well-known models")
    listing.set_defaults(run=_list)

    search = actions.add_parser("search", help="look for models in the catalogue and on the hub")
    search.add_argument("query", metavar="TEXT", nargs="?", default="", help="words of the name")
    search.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many from the hub (20)")
    search.set_defaults(run=_search)

    get = actions.add_parser("get", help="bring a model here; a download that was cut off is continued")
    get.add_argument("model", metavar="NAME", help="a name of the catalogue or a hub id, ORGANISATION/NAME")
    get.set_defaults(run=_get)

    show = actions.add_parser("show", help="what a model is: architecture, exact parameters, licence, chat template")
    show.add_argument("model", metavar="MODEL", help="a name, a hub id, a folder or a .gguf file")
    show.add_argument("--template", action="store_true", help="print only the chat template")
    show.set_defaults(run=_show)

    delete = actions.add_parser("delete", help="delete a model that was brought here")
    delete.add_argument("model", metavar="NAME")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(run=_delete)

    for action in (listing, search, get, show, delete):
        output.add_json(action)


def run(args: argparse.Namespace) -> int:
    raise AssertionError("an action is required")


def _list(args: argparse.Namespace) -> int:
    from tuiwb import models

    here = models.installed()
    offered = models.catalogue() if args.all else ()
    if args.json:
        output.print_json(
            {
                "models": [{key: value for key, value in info.to_json().items() if key != "config"} for info in here],
                "catalogue": [entry.to_json() for entry in offered],
            }
        )
        return 0
    if here:
        rows = [
            (
                info.hub_id if info.kind == "hub" else info.name,
                _parameters(info.parameters),
                info.quantization or info.dtype or "",
                units.gib(info.bytes_on_disk),
                units.count(info.context_length) if info.context_length else "",
                info.license or "",
            )
            for info in here
        ]
        output.print_table(["model", "parameters", "type", "on disk", "context", "licence"], rows, right=(1, 3, 4))
    else:
        output.say("No model is here yet; `tuiwb models get smollm2-135m-instruct` brings a small one.")
    if offered:
        output.say("\nIn the catalogue (`tuiwb models get NAME`):")
        _print_catalogue(offered)
    return 0


def _search(args: argparse.Namespace) -> int:
    from tuiwb import models

    known = models.matching(args.query)
    hits: list[Any] = []
    failure: EnvironmentFault | None = None
    try:
        hits = models.search(args.query, limit=args.limit)
    except EnvironmentFault as error:
        failure = error
        if not known:
            raise
    if args.json:
        output.print_json(
            {
                "catalogue": [entry.to_json() for entry in known],
                "hub": [hit.to_json() for hit in hits],
                "hub_error": None if failure is None else str(failure),
            }
        )
        return 0
    if known:
        output.say("In the catalogue:")
        _print_catalogue(known)
    if failure is not None:
        output.say(f"Only the catalogue was searched: {failure}.")
    elif hits:
        output.say("\nOn the hub, the most downloaded first:")
        rows = [
            (
                hit.hub_id,
                _parameters(hit.parameters),
                hit.license or "",
                units.count(hit.downloads),
                ", ".join(word for word, said in (("chat", hit.chat), ("gated", hit.gated)) if said),
            )
            for hit in hits
        ]
        output.print_table(["model", "parameters", "licence", "downloads", ""], rows, right=(1, 3))
    elif not known:
        output.say("Nothing of that name was found.")
    return 0


def _get(args: argparse.Namespace) -> int:
    from tuiwb import models

    path = followed(lambda task: models.get(args.model, task=task), as_json=args.json, in_steps=True)
    info = models.open_model(args.model)
    if args.json:
        output.print_json({"model": args.model, "path": str(path), "bytes": info.bytes_on_disk})
    else:
        output.say(f"{args.model} is here: {_parameters(info.parameters)} parameters, {units.gib(info.bytes_on_disk)}.")
        output.write(str(path))
    return 0


def _show(args: argparse.Namespace) -> int:
    from tuiwb import models

    info = models.open_model(args.model, config_only=True)
    if args.template:
        template = models.load_tokenizer(info).template() if info.path else None
        if template is None:
            raise UsageFault(f"its template is known only once it is here; run `tuiwb models get {args.model}`")
        output.print_json({"chat_template": template.source}) if args.json else output.write(template.source)
        return 0
    if args.json:
        output.print_json(info.to_json())
        return 0
    adapter = info.adapter
    rows = [
        ("path", info.path or f"not on this machine (`tuiwb models get {args.model}`)"),
        ("hub id", info.hub_id),
        ("architecture", None if adapter else info.architecture),
        ("adapter", adapter and f"{adapter.peft_type} of rank {adapter.r} for {adapter.base_model}"),
        ("targets", adapter and ", ".join(adapter.target_modules)),
        ("parameters", None if info.parameters is None else units.count(info.parameters)),
        ("type", info.quantization or info.dtype),
        ("weights on disk", units.gib(info.bytes_on_disk) if info.bytes_on_disk else None),
        ("context", info.context_length and f"{units.count(info.context_length)} tokens"),
        ("vocabulary", info.vocab_size and units.count(info.vocab_size)),
        ("licence", info.license),
        ("chat template", _template_words(info)),
    ]
    output.print_table(["model", info.name], [row for row in rows if row[1] is not None])
    return 0


def _delete(args: argparse.Namespace) -> int:
    from tuiwb import models

    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageFault("deleting asks first; add --yes where nobody can answer")
        output.say(f"Delete {args.model} from this machine? [y/N]")
        if input().strip().lower() not in ("y", "yes"):
            output.say("Nothing was deleted.")
            return 0
    freed = models.delete(args.model)
    if args.json:
        output.print_json({"deleted": args.model, "bytes": freed})
    else:
        output.say(f"{args.model} is deleted; {units.gib(freed)} are free again.")
    return 0


def _print_catalogue(entries: Any) -> None:
    rows = [
        (
            entry.name,
            _parameters(entry.parameters),
            units.count(entry.context_length) if entry.context_length else "",
            entry.license,
            ", ".join(word for word, said in (("chat", entry.chat), ("gated", entry.gated)) if said),
        )
        for entry in entries
    ]
    output.print_table(["model", "parameters", "context", "licence", ""], rows, right=(1, 2))


def _parameters(number: int | None) -> str:
    return "" if number is None else units.parameters(number)


def _template_words(info: Any) -> str | None:
    if info.chat_template is not None:
        return f"yes, {units.count(len(info.chat_template))} characters (--template prints it)"
    return None if info.path is None else "none; set `chat_template:` in the recipe"
