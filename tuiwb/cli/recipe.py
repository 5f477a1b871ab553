"""`tuiwb recipe show|check|schema|list|presets|import|export`: what a recipe says, leaves to us, and gets wrong."""

import argparse
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import UsageFault
from tuiwb.cli import output, recipe_port, recipe_presets

if TYPE_CHECKING:
    from tuiwb.recipe import Recipe
    from tuiwb.resolve import Assessment


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print the complete recipe: every value, and why it was chosen")
    add_recipe(show)
    output.add_json(show)
    show.set_defaults(run=_show)
    check = actions.add_parser("check", help="say what would keep the recipe from running here (exit 3 if anything)")
    add_recipe(check)
    output.add_json(check)
    check.set_defaults(run=_check)
    schema = actions.add_parser("schema", help="print the JSON schema of a recipe, for editors")
    output.add_json(schema)
    schema.set_defaults(run=_schema)
    presets = actions.add_parser("list", help="list the presets and when to use each")
    output.add_json(presets)
    presets.set_defaults(run=_list)
    recipe_presets.configure(
        actions.add_parser("presets", help="make presets fit a model and a GPU, and say what was chosen and why")
    )
    recipe_port.configure_import(
        actions.add_parser("import", help="make a recipe of LLaMA-Factory's, Axolotl's or TRL's, or of a command line")
    )
    recipe_port.configure_export(
        actions.add_parser("export", help="write what `trl <stage> --config` runs, or a plain Python script")
    )


def run(args: argparse.Namespace) -> int:
    raise AssertionError("an action is required")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The arguments of every verb that takes a recipe."""
    recipe: Any = parser.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of a preset")
    recipe.completer = _completions
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """`--set KEY=VALUE`, as often as wanted; `read_settings` reads them."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a key: lora_r=8, datasets.0.path=my.jsonl, launch.gpus=0,1; nothing after = takes it out",
    )


def read_recipe(args: argparse.Namespace) -> "Recipe":
    """The recipe that the arguments of `add_recipe` name.

    Raises:
        UsageFault: a `--set` without `=`.
        InputFault: the recipe, or a setting, is at fault.
    """
    from tuiwb import recipe

    return recipe.with_settings(recipe.load(args.recipe), read_settings(args))


def read_settings(args: argparse.Namespace) -> dict[str, str]:
    """The keys and values of `--set`.

    Raises:
        UsageFault: one is without `=`.
    """
    settings = {}
    for text in args.settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageFault(f"--set needs KEY=VALUE, and `{text}` has no `=`")
        settings[key.strip()] = value
    return settings


def print_checks(assessment: "Assessment", *, raised: bool = False) -> None:
    """What the checks found, on stderr, the worst first.

    Args:
        raised: the first error is about to be raised, and would be said twice.
    """
    for check in assessment.checks[1 if raised else 0 :]:
        fix = f" → {check.fix}" if check.fix else ""
        output.say(f"{check.level}: {f'{check.key}: ' if check.key else ''}{check.message}{fix}")


def _completions(prefix: str, **_: object) -> list[str]:
    """Presets and recipe files, for argcomplete."""
    from argcomplete.completers import FilesCompleter

    from tuiwb.recipe import presets

    names = [preset.name for preset in presets() if preset.name.startswith(prefix)]
    return [*names, *FilesCompleter(("yaml", "yml", "json"))(prefix)]


def _show(args: argparse.Namespace) -> int:
    from tuiwb import resolve
    from tuiwb.recipe import to_plain

    assessment = resolve.assess(read_recipe(args))
    resolved = assessment.resolved
    if args.json:
        output.print_json(
            {
                "recipe": to_plain(resolved.recipe),
                "reasons": dict(resolved.reasons),
                "stated": to_plain(resolved.stated),
                "checks": [check.to_json() for check in assessment.checks],
            }
        )
        return 0
    output.print_table(["key", "value", "why"], rows(resolved))
    print_checks(assessment)
    return 0


def rows(resolved: Any) -> list[tuple[str, str, str]]:
    """Key, value and reason of each key that has a value, in the order of the model."""
    from tuiwb.recipe import Recipe, differences

    found = []
    for one in differences(Recipe(), resolved.recipe):
        found.append((one.key, as_text(one.after), resolved.reasons.get(one.key, "stated in the recipe")))
    return found


def as_text(value: Any) -> str:
    """A value as a recipe file would hold it, on one line."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check(args: argparse.Namespace) -> int:
    from tuiwb import resolve

    assessment = resolve.assess(read_recipe(args), rows=True)
    if args.json:
        checks = [check.to_json() for check in assessment.checks]
        output.print_json({"ok": assessment.ok, "checks": checks})
    elif assessment.ok:
        output.write("this recipe can be launched")
    print_checks(assessment)
    return 0 if assessment.ok else 3


def _schema(args: argparse.Namespace) -> int:
    from tuiwb import recipe

    output.print_json(recipe.schema())
    return 0


def _list(args: argparse.Namespace) -> int:
    from tuiwb import recipe

    presets = recipe.presets()
    if args.json:
        rows = [{"name": one.name, "summary": one.summary, "path": one.path and str(one.path)} for one in presets]
        output.print_json(rows)
    else:
        output.print_table(["preset", "when to use it"], [(one.name, one.summary) for one in presets])
    return 0
