"""`tuiwb train RECIPE`: checks the recipe, then launches a run that outlives this terminal."""

import argparse

from tuiwb.cli import output
from tuiwb.cli.recipe import add_recipe, print_checks, read_recipe


def configure(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("--follow", action="store_true", help="stay, and print metrics and events until the run ends")
    output.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from tuiwb import resolve
    from tuiwb.runs.training import train

    assessment = resolve.assess(read_recipe(args))
    print_checks(assessment)
    launched = train(assessment)
    if args.json:
        output.print_json({"run_id": launched.run_id, "run_dir": str(launched.path)})
    else:
        output.write(launched.run_id)
    if args.follow:
        from tuiwb.cli import runs

        return runs.follow(launched, as_json=args.json)
    output.say(f"it lives on without this terminal; `tuiwb runs tail {launched.run_id} --until-end` watches it")
    return 0
