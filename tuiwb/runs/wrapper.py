"""The process that owns a run: `python -m tuiwb.runs.wrapper RUN_DIR`.

It leaves the terminal and its parent behind, holds the run's lock for its whole life, starts the worker in a session of
its own, and stays until the last process of the run is gone. Standard library only: it is as small as Python gets and
does not depend on what a training environment may break.
"""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

from tuiwb import rundir
from tuiwb.rundir import RunDir
from tuiwb.runs import lock
from tuiwb.runs.supervise import Supervisor

BUSY = 75
"""Exit code when another wrapper has the run (EX_TEMPFAIL of sysexits.h)."""

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuiwb.runs.wrapper", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--lock", type=int, default=None, help="descriptor of the lock, taken by whoever starts us")
    parser.add_argument("--adopt", action="store_true", help="watch the run's processes instead of starting them")
    args = parser.parse_args(argv)
    run = RunDir(args.run_dir.absolute())
    held = args.lock if args.lock is not None else lock.take(run)
    if held is None:
        return BUSY
    os.set_inheritable(held, False)
    _detach()
    state = rundir.read_state(run)
    if state is None or rundir.ended(run, state):
        return 0  # somebody else brought this attempt to its end before we had the lock
    adopt = args.adopt
    while True:
        supervisor = Supervisor(run, held)
        signal.signal(signal.SIGTERM, lambda *_: supervisor.terminate())  # noqa: B023 (the newest is meant)
        if adopt:
            supervisor.adopt()
        else:
            supervisor.start()
        if not supervisor.again:
            return 0
        adopt = False


def _detach() -> None:
    """Become nobody's child and nobody's foreground: fork, own session, no terminal, no hang-ups."""
    if os.fork():
        os._exit(0)
    os.setsid()
    # Handlers rather than SIG_IGN: a worker would inherit ignoring, and could not be interrupted any more.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, b"tuiwb-wrapper", 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
