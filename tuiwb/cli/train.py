"""`tuiwb train RECIPE`: checks the recipe, then launches a run that outlives this terminal."""

import argparse
from typing import Any

from tuiwb.cli import output, runs
from tuiwb.cli.recipe import add_recipe, print_checks, read_recipe


def configure(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    after: Any = parser.add_argument(
        "--after", action="append", default=[], metavar="RUN", help="wait until this run has ended well (repeatable)"
    )
    after.completer = runs.complete
    parser.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="N",
        help="of the runs that wait for a GPU, the higher goes first (0)",
    )
    parser.add_argument("--hold", action="store_true", help="wait until `tuiwb runs resume` lets it go")
    parser.add_argument(
        "--retries", type=int, default=0, metavar="N", help="go on up to N times after a failure that may not last (0)"
    )
    parser.add_argument("--follow", action="store_true", help="stay, and print metrics and events until the run ends")
    output.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from tuiwb import resolve
    from tuiwb.runs import find
    from tuiwb.runs.training import train

    after = tuple(find(name).run_id for name in args.after)
    assessment = resolve.assess(read_recipe(args), rows=True)
    print_checks(assessment, raised=not assessment.ok)
    launched = train(assessment, after=after, priority=args.priority, held=args.hold, retries=args.retries)
    if args.json:
        output.print_json({"run_id": launched.run_id, "run_dir": str(launched.path)})
    else:
        output.write(launched.run_id)
    if args.follow:
        return runs.follow(launched, as_json=args.json)
    output.say(f"it lives on without this terminal; `tuiwb runs tail {launched.run_id} --until-end` watches it")
    runs.warn_of_logout()
    return 0
