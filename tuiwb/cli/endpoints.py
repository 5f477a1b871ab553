"""`tuiwb endpoints`: the servers that can be talked to, judged by, and compared with."""

import argparse
import sys
from typing import TYPE_CHECKING

from tuiwb.base.errors import UsageFault
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.endpoints import Endpoint


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="endpoints_verb", metavar="VERB", required=True)
    add = verbs.add_parser("add", help="keep the address of a server under a name")
    add.add_argument("name", metavar="NAME")
    add.add_argument("url", metavar="URL", help="up to and with /v1, or unix:/path/of/socket")
    add.add_argument("--model", default="", metavar="MODEL", help="the model to ask; not needed where there is one")
    add.add_argument("--key-env", default="", metavar="VARIABLE", help="the environment variable that holds its key")
    add.add_argument("--context", type=int, metavar="TOKENS", help="longest prompt and answer together")
    add.add_argument(
        "--timeout-s", type=float, default=60.0, metavar="S", help="given up after silence of so long (60)"
    )
    add.add_argument("--insecure", action="store_true", help="send the key over plain http to another machine")
    key = verbs.add_parser("key", help="read a key from stdin and keep it in a file that only you can read")
    key.add_argument("name", metavar="NAME")
    key.add_argument("--forget", action="store_true", help="delete the key that is kept")
    test = verbs.add_parser("test", help="ask a server which models it serves")
    test.add_argument("name", metavar="NAME_OR_URL")
    delete = verbs.add_parser("delete", help="forget a server and its key")
    delete.add_argument("name", metavar="NAME")
    for verb, run in ((add, _add), (key, _key), (test, _test), (delete, _delete)):
        verb.set_defaults(run=run)
        output.add_json(verb)
    listed = verbs.add_parser("list", help="the servers that are kept")
    listed.set_defaults(run=_list)
    output.add_json(listed)


def run(args: argparse.Namespace) -> int:
    raise AssertionError("a verb is required")


def _list(args: argparse.Namespace) -> int:
    from tuiwb import endpoints

    known = endpoints.profiles().values()
    if args.json:
        output.print_json(
            [
                {"name": each.name, "url": each.url, "model": each.model, "key": _where(each), "context": each.context}
                for each in known
            ]
        )
    else:
        output.print_table(
            ["NAME", "URL", "MODEL", "KEY"],
            ((each.name, each.url, each.model or "the only one", _where(each)) for each in known),
        )
    return 0


def _where(endpoint: "Endpoint") -> str:
    """Where its key comes from. Never the key."""
    from tuiwb import endpoints
    from tuiwb.base.errors import TuiwbError

    try:
        there = bool(endpoints.key_of(endpoint))
    except TuiwbError as error:
        return error.message
    if endpoint.key_env:
        return f"from {endpoint.key_env}"
    return "kept" if there else "none"


def _add(args: argparse.Namespace) -> int:
    from tuiwb import endpoints

    endpoints.save(
        endpoints.Endpoint(
            name=args.name,
            url=args.url,
            model=args.model,
            key_env=args.key_env,
            context=args.context,
            timeout_s=args.timeout_s,
            insecure=args.insecure,
        )
    )
    if args.json:
        output.print_json({"name": args.name, "url": args.url})
    output.say(f"`tuiwb chat {args.name}` talks to it; `tuiwb endpoints key {args.name}` gives it a key")
    return 0


def _key(args: argparse.Namespace) -> int:
    from tuiwb import endpoints

    endpoints.find(args.name)
    if args.forget:
        endpoints.forget_key(args.name)
    else:
        if sys.stdin.isatty():
            import getpass

            key = getpass.getpass(f"key for {args.name}: ")
        else:
            key = sys.stdin.readline()
        if not key.strip():
            raise UsageFault("the key is empty")
        endpoints.save_key(args.name, key)
    if args.json:
        output.print_json({"name": args.name, "kept": not args.forget})
    return 0


def _test(args: argparse.Namespace) -> int:
    from tuiwb import endpoints

    endpoint = endpoints.find(args.name)
    names = endpoints.models_of(endpoint)
    if args.json:
        output.print_json({"name": endpoint.name, "url": endpoint.url, "models": names})
    else:
        for name in names:
            output.write(name)
    return 0


def _delete(args: argparse.Namespace) -> int:
    from tuiwb import endpoints

    endpoints.delete(args.name)
    if args.json:
        output.print_json({"deleted": args.name})
    return 0
