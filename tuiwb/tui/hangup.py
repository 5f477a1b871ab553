"""Nothing is lost when the terminal goes away: a connection breaks, a window is closed, tmux is killed.

The session is written whenever it has changed, and at a hang-up once more. A hang-up comes as a signal; where that is
ignored (`nohup`) or never sent (`setsid`), it is seen at the terminal itself, which then gives an end of file at every
look: Textual's input thread would go round for ever on a whole core.
"""

import asyncio
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

from tuiwb.tui import session

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench

_KEEP_EVERY_S, _LOOK_EVERY_S = 3.0, 1.0


def begin(bench: "Workbench") -> None:
    """Keep the session of this workbench from now on, and end it when its terminal is gone."""
    kept: session.Remembered | None = None

    def keep() -> None:
        nonlocal kept
        if not bench.get_screen_stack(bench.current_mode):
            return  # it is closing
        now = bench.remembered()
        if now is not None and not now.same_as(kept):
            kept = now
            bench.start("keep the session", lambda _: session.keep(now), lambda _: None)

    bench.set_interval(_KEEP_EVERY_S, keep)
    if bench.is_headless:
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hang_up, bench)
    loop.add_signal_handler(signal.SIGTERM, bench.leave)
    if sys.__stdin__ is not None:
        # It was a terminal when the program began; one that is gone by now no longer says that it is one.
        descriptor = sys.__stdin__.fileno()
        bench.set_interval(_LOOK_EVERY_S, lambda: hang_up(bench) if is_gone(descriptor) else None)


def is_gone(terminal: int) -> bool:
    """Whether nobody holds the other end of this terminal any more."""
    poll = select.poll()
    poll.register(terminal, 0)
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def hang_up(bench: "Workbench") -> None:
    """Write the session and end as a program does at a hang-up: there is no terminal to restore."""
    bench.save_session()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGHUP)
