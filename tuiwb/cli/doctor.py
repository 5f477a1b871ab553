"""`tuiwb doctor`: what of this machine keeps tuiwb from its work, and what to do about it."""

import argparse

from tuiwb.base.errors import EnvironmentFault
from tuiwb.cli import output

_MARKS = {"ok": "ok", "note": "note", "warning": "WARNING", "error": "ERROR"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="do not ask whether the hub can be reached")
    output.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from tuiwb.resolve.doctor import diagnose

    found = []
    for finding in diagnose(network=not args.offline):
        found.append(finding)
        if not args.json:
            output.hanging(f"{_MARKS[finding.level]:<8}{finding.name:<15} ", finding.message)
            if finding.fix:
                output.hanging(f"{'':<8}{'':<15} → ", finding.fix)
    if args.json:
        output.print_json([finding.to_json() for finding in found])
    return EnvironmentFault.exit_code if any(finding.level == "error" for finding in found) else 0
