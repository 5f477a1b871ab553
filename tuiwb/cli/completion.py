"""`tuiwb completion SHELL`: prints what switches on completion of verbs, options, runs and models."""

import argparse

from tuiwb.base.errors import EnvironmentFault
from tuiwb.cli import output


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell to complete in")
    parser.epilog = 'Put `eval "$(tuiwb completion bash)"` into ~/.bashrc; for fish: tuiwb completion fish | source'


def run(args: argparse.Namespace) -> int:
    try:
        from argcomplete import shellcode
    except ImportError as error:
        raise EnvironmentFault("argcomplete is not installed: pip install argcomplete") from error
    output.write(shellcode(["tuiwb"], shell=args.shell))
    return 0
