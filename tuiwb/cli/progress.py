"""Slow work of a verb: how far it is, and an end on Ctrl-C."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from tuiwb.base import units
from tuiwb.base.tasks import Progress, Task
from tuiwb.base.text import gate_line
from tuiwb.cli import output

T = TypeVar("T")

_TICK_S = 0.2


def followed(work: Callable[[Task], T], *, as_json: bool = False, in_steps: bool = False) -> T:
    """Run `work` in a thread; what it raises is raised here. Ctrl-C cancels it and waits for its end.

    A terminal on stderr sees the progress on a line that is written over.

    Args:
        as_json: print it as JSON lines on stdout instead.
        in_steps: without a terminal, say each new step on stderr.
    """
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
    line = ProgressLine(as_json=as_json, in_steps=in_steps)
    thread.join(_TICK_S)
    try:
        while thread.is_alive():
            line.show(task.progress)
            thread.join(_TICK_S)
        if as_json or in_steps:
            line.show(task.progress)
    except KeyboardInterrupt:
        task.cancel()
        thread.join()
        raise
    finally:
        line.end()
    if errors:
        raise errors[0]
    return results[0]


class ProgressLine:
    """What `followed` shows; see there."""

    def __init__(self, *, as_json: bool, in_steps: bool) -> None:
        self._as_json, self._in_steps = as_json, in_steps
        self._over = sys.stderr.isatty() and not as_json
        self._last = Progress()
        self._dirty = False

    def show(self, progress: Progress) -> None:
        if progress == self._last or not progress.doing:
            return
        new_step = progress.doing != self._last.doing
        self._last = progress
        if self._as_json:
            names = ("doing", "done", "total", "unit")
            output.print_json({name: getattr(progress, name) for name in names})
        elif self._over:
            sys.stderr.write(f"\r\x1b[2K{gate_line(words(progress), 79)}")
            sys.stderr.flush()
            self._dirty = True
        elif self._in_steps and new_step:
            output.say(words(progress))

    def end(self) -> None:
        if self._dirty:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def words(progress: Progress) -> str:
    """`downloading  41.0 MiB of 88.6 MiB, 46 %`, `reading  1,200 of 5,000 rows`."""
    text = gate_line(progress.doing, 60)
    if not progress.total:
        return f"{text} …"
    if progress.unit == "bytes":
        share = 100 * progress.done // progress.total
        return f"{text}  {units.size(progress.done)} of {units.size(progress.total)}, {share} %"
    return f"{text}  {units.count(progress.done)} of {units.count(progress.total)} {progress.unit}".rstrip()
