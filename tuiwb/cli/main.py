"""Entry point: finds the verb, runs it, and turns every end into an exit code.

A verb is a module of this package with `configure(parser)` and `run(args) -> int`; only the one asked for is
imported, so that `tuiwb --version` costs little more than starting Python.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, cast

import tuiwb

if TYPE_CHECKING:
    import argparse
    from types import ModuleType

VERBS = {
    "demo": "the whole path on a small real model: plan, data, train, watch, chat",
    "plan": "how much memory a recipe needs, phase by phase, and what to change",
    "data": "look at a dataset as the model will see it",
    "recipe": "show, check, list and describe recipes and presets",
    "train": "launch a training run that outlives this terminal",
    "runs": "list, watch, save, stop, resume and delete runs",
    "doctor": "what of this machine keeps tuiwb from its work, and what to do about it",
    "gpus": "what the GPUs and the host are doing now",
    "models": "find, get, inspect and delete models",
    "chat": "talk to a model or to what a run trained",
    "eval": "measure models, the tuned one against its base",
    "export": "one whole model of a base and what was trained on it, or what serves both",
    "endpoints": "servers to talk to: addresses and keys",
    "config": "where the settings are and what they say",
    "completion": "print the line that switches on shell completion",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; without one, open the workbench.

    Returns:
        0 done, 2 wrong use, 3 the input is at fault, 4 the environment is, 5 the run failed, 130 interrupted,
        1 a bug of ours (its traceback is in the log).
    """
    _open_standard_streams()
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in ("--version", "-V"):
        print(f"tuiwb {tuiwb.__version__}")
        return 0
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe left (`tuiwb … | head`): not an error, and nothing more can be said on stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _report(error, as_json="--json" in arguments)


def _open_standard_streams() -> None:
    """Where one was closed (`tuiwb … >&-`), the next file that is opened would take its number, and a child that is
    given a stdout would lose that file: for a run that would be its lock."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def build_parser(only: str | None = None) -> "argparse.ArgumentParser":
    """The parser of the whole command line.

    Args:
        only: import and configure this verb alone; the others get an empty parser. None configures all of them.
    """
    import argparse

    parser = argparse.ArgumentParser(
        prog="tuiwb",
        description="A terminal workbench for fine-tuning language models. Without a verb it opens the screen.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"tuiwb {tuiwb.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb, summary in VERBS.items():
        subparser = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if only in (None, verb):
            module = _module(verb)
            module.configure(subparser)
            if not subparser.get_default("run"):
                subparser.set_defaults(run=module.run)
            _describe(subparser)
    return parser


def _describe(parser: "argparse.ArgumentParser") -> None:
    """Let the help of each action begin with the sentence that the verb has of it."""
    for group in _groups(parser):
        for listed in group._choices_actions:
            action = group.choices[listed.dest]
            if not action.description and listed.help:
                action.description = f"{listed.help[0].upper()}{listed.help[1:]}."


def _run(arguments: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(build_parser())
    if not arguments:
        return cast(int, _module("workbench").run(None))
    verb = next((word for word in arguments if not word.startswith("-")), None)
    parser = build_parser(only=verb or "")
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(_asked(parser, args), unknown)
    return cast(int, args.run(args))


def _asked(parser: "argparse.ArgumentParser", args: "argparse.Namespace") -> "argparse.ArgumentParser":
    """The parser of the action that these arguments name."""
    for group in _groups(parser):
        if (name := getattr(args, group.dest, None)) in group.choices:
            return _asked(group.choices[name], args)
    return parser


def _refuse(parser: "argparse.ArgumentParser", unknown: list[str]) -> None:
    """End with the usage of what was asked, and with the nearest option that it has."""
    import difflib

    options = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(unknown[0].partition("=")[0], options, n=1)
    parser.error(f"unrecognized arguments: {' '.join(unknown)}" + (f"; did you mean {near[0]}?" if near else ""))


def _groups(parser: "argparse.ArgumentParser") -> "list[argparse._SubParsersAction[argparse.ArgumentParser]]":
    import argparse

    return [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]


def _module(verb: str) -> "ModuleType":
    return importlib.import_module(f"tuiwb.cli.{verb}")


def _report(error: Exception, *, as_json: bool) -> int:
    from tuiwb.base.errors import TuiwbError
    from tuiwb.base.text import gate_line

    if not isinstance(error, TuiwbError):
        from tuiwb.base.log import log_bug

        place = log_bug(error)
        print(f"tuiwb: this is a bug in tuiwb ({type(error).__name__}); details are in {place}", file=sys.stderr)
        return 1
    if error.file and (spool := sys.modules.get("tuiwb.data.spool")):
        error.file = spool.name_of(error.file)
    if as_json:
        import json

        print(json.dumps(error.to_json()))
    print(f"tuiwb: {gate_line(str(error))}", file=sys.stderr)
    return error.exit_code
