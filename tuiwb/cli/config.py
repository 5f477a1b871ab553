"""`tuiwb config path|show`: where the settings are and what they say."""

import argparse

from tuiwb.base import paths, settings
from tuiwb.cli import output


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    path = actions.add_parser("path", help="print where the settings and the other files are")
    output.add_json(path)
    path.set_defaults(run=_path)
    show = actions.add_parser("show", help="print every setting, its value and what it does")
    output.add_json(show)
    show.set_defaults(run=_show)


def run(args: argparse.Namespace) -> int:
    raise AssertionError("an action is required")


def _path(args: argparse.Namespace) -> int:
    places = {
        "config": paths.config_file(),
        "runs": settings.runs_root(),
        "models": settings.models_root(),
        "cache": settings.cache_root(),
        "session": paths.session_file(),
        "log": paths.log_file(),
        "presets": paths.presets_folder(),
    }
    if args.json:
        output.print_json({name: str(path) for name, path in places.items()})
    else:
        output.print_table(["what", "where"], places.items())
    return 0


def _show(args: argparse.Namespace) -> int:
    import msgspec

    values = msgspec.to_builtins(settings.load())
    if args.json:
        output.print_json(values)
        return 0
    helps = settings.help_texts()
    rows = [
        (f"{section}.{name}", value, helps.get(f"{section}.{name}", ""))
        for section, table in values.items()
        for name, value in table.items()
    ]
    output.print_table(["setting", "value", "what it does"], rows)
    return 0
