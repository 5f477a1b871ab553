"""The whole file, row by row: everything that is wrong, what the columns hold, how long the examples are.

A small file is read here. A large one is read by other processes, a part each, because reading keeps Python busy: the
screen goes on answering, and every core helps.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

from tuiwb.base.tasks import Task
from tuiwb.data.detection import Detection
from tuiwb.data.problems import EXAMPLES, Problem
from tuiwb.data.rows import RowStore
from tuiwb.data.sources import open_address
from tuiwb.data.survey import Lengths, Survey, survey

APART_FROM = 50_000
"""Rows; fewer are read faster than a process starts."""

_FOR_CHAT, _FOR_TEXT = 200, 2000
"""Examples that change a model for good: a chat model's manner, or what a base model knows."""

_MOST_PROCESSES = 8
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reading the whole source found."""

    rows: int
    """All rows, as they are numbered: those that cannot be read too."""
    usable: int
    """Rows without an error."""
    columns: tuple[str, ...]
    types: dict[str, dict[str, int]]
    """Column to type to rows that have it."""
    problems: tuple[Problem, ...]
    lengths: dict[str, Lengths]
    """`example` and `answer`, in characters; empty where no row is an example."""


def verify(store: RowStore, detection: Detection, *, limit: int | None = None, task: Task | None = None) -> Verdict:
    """Read every row.

    Args:
        limit: rows to read at most.

    Raises:
        Cancelled: the task was cancelled.
        EnvironmentFault: the file cannot be read any more.
    """
    task = task or Task()
    store.index(task)
    total = store.known if limit is None else min(limit, store.known)
    apart = total >= APART_FROM and store.address is not None
    found = _apart(store, detection, total, task) if apart else survey(store, detection, 0, total, task)
    for code, detail, line in store.faults():
        found.tally.add(code, detail, line=line)
    _whole(found, store, detection)
    if not total:
        found.tally.add("no_rows")
    elif detection.name is None and found.read:
        found.tally.add("unknown_format", detection.reason)
    return Verdict(total, found.usable, tuple(found.columns), found.types, found.problems(), found.lengths)


def _whole(found: Survey, store: RowStore, detection: Detection) -> None:
    """What no row has alone: duplicates, and that there are few."""
    number, first = found.repeated(EXAMPLES)
    for shown, row in enumerate(first, 1):
        rest = number - len(first) if shown == len(first) else 0
        what = "says the same as an earlier row, apart from case and white space"
        found.tally.add("duplicate", what, row, store.row(row).line, 1 + rest)
    wanted, aim = (_FOR_TEXT, "base") if detection.name in ("text", "tokenized") else (_FOR_CHAT, "chat")
    if 0 < found.usable < wanted:
        found.tally.add(
            "few_examples", f"{found.usable:,} examples are few: a {aim} model takes some {wanted:,} or more"
        )


def _apart(store: RowStore, detection: Detection, total: int, task: Task) -> Survey:
    """Let processes read a part each."""
    number = max(min(os.cpu_count() or 1, _MOST_PROCESSES), 1)
    bounds = [total * part // number for part in range(number + 1)]
    parts = [_Part(store, detection, *ends) for ends in itertools.pairwise(bounds)]
    try:
        while any(part.running for part in parts):
            task.step("checking", sum(part.done for part in parts), total, "rows")
            next(part for part in parts if part.running).wait(_POLL_S)
        results = [part.result(store, detection, task) for part in parts]
    finally:
        for part in parts:
            part.end()
    found = results[0]
    for other in results[1:]:
        found.merge(other)
    return found


class _Part:
    """A process that reads some rows; it says how far it is, a number a line, and then what it found."""

    def __init__(self, store: RowStore, detection: Detection, start: int, stop: int) -> None:
        self._range = (start, stop)
        self.done = 0
        self._found: dict[str, Any] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tuiwb.data.verify"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the one who asked, who ends this
        )
        job = {"address": store.address, "start": start, "stop": stop, "detection": asdict(detection)}
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(job).encode())
            self._process.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._reader.is_alive()

    def wait(self, seconds: float) -> None:
        self._reader.join(seconds)

    def result(self, store: RowStore, detection: Detection, task: Task) -> Survey:
        """What was found; read here when the process did not live to say it."""
        if self._found is None:
            return survey(store, detection, *self._range, task)
        return Survey.from_json(self._found)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                message = json.loads(line)
                if isinstance(message, int):
                    self.done = message
                else:
                    self._found = message


class _Reporting(Task):
    """A task whose progress is printed for the one who asked."""

    def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        print(done, flush=True)  # noqa: T201 - the pipe to the one who asked


def _main() -> None:
    """The process of a part: the job on stdin, the answer on stdout."""
    os.nice(10)
    job = json.load(sys.stdin)
    store = open_address(job["address"])
    store.index()
    found = survey(store, Detection(**job["detection"]), job["start"], job["stop"], _Reporting())
    print(json.dumps(found.to_json()), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _main()
