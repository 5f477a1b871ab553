"""Slow work of a verb: how far it is, on a line of the terminal that is written over, and an end on Ctrl-C."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from tuiwb.base import units
from tuiwb.base.tasks import Progress, Task
from tuiwb.base.text import gate_line

T = TypeVar("T")

_TICK_S = 0.2


def followed(work: Callable[[Task], T]) -> T:
    """Run `work` in a thread; what it raises is raised here. Only a terminal on stderr sees the progress."""
    task = Task()
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work(task))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name="tuiwb verb", daemon=True)
    thread.start()
    thread.join(_TICK_S)
    shown = False
    try:
        while thread.is_alive():
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[2K{gate_line(_words(task.progress), 79)}")
                sys.stderr.flush()
                shown = True
            thread.join(_TICK_S)
    except KeyboardInterrupt:
        task.cancel()
        thread.join()
        raise
    finally:
        if shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
    if errors:
        raise errors[0]
    return results[0]


def _words(progress: Progress) -> str:
    if not progress.total:
        return f"{progress.doing} …" if progress.doing else ""
    if progress.unit == "bytes":
        return f"{progress.doing}  {units.size(progress.done)} of {units.size(progress.total)}"
    return f"{progress.doing}  {units.count(progress.done)} of {units.count(progress.total)} {progress.unit}"
