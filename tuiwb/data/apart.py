"""Searching, filtering and sorting a large source in another process: reading millions of rows keeps Python busy, and
the screen goes on answering meanwhile. What is found is what `query` and `order` find."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tuiwb.base.tasks import Task
from tuiwb.data import order, query
from tuiwb.data.edited import EditedStore
from tuiwb.data.journal import Journal, Mark
from tuiwb.data.rows import Row, RowStore
from tuiwb.data.sources import open_address
from tuiwb.data.view import View

Rows = npt.NDArray[np.int64]

APART_FROM = 200_000
"""Rows; among fewer, rows are found faster than a process starts."""

_POLL_S = 0.05


def matching(view: View, text: str, task: Task) -> Rows:
    """As `query.matching`, errors too."""
    wanted = query.parse(text, view.columns, view.mark)
    found = _apart(view, {"do": "matching", "text": text}, "searching", task)
    return query.matching(view, wanted, task) if found is None else found


def find(view: View, text: str, start: int, *, backwards: bool, task: Task) -> int | None:
    """As `query.find`, errors too."""
    wanted = query.parse(text, view.columns, view.mark)
    job = {"do": "find", "text": text, "start": start, "backwards": backwards}
    found = _apart(view, job, "searching", task)
    if found is None:
        return query.find(view, wanted, start, backwards=backwards, task=task)
    return int(found[0]) if len(found) else None


def ordered(view: View, key: str, *, descending: bool, among: Rows | None, task: Task) -> Rows:
    """As `order.ordered`, errors too."""
    order.require_key(view, key)
    found = _apart(view, {"do": "ordered", "key": key, "descending": descending}, "sorting", task, among)
    return order.ordered(view, key, descending=descending, among=among, task=task) if found is None else found


def _apart(view: View, job: dict[str, Any], doing: str, task: Task, among: Rows | None = None) -> Rows | None:
    """What a process finds; None where none is worth it, or it did not live to say it."""
    view.index(task)
    total = len(view)
    if (total if among is None else len(among)) < APART_FROM or view.store.address is None:
        return None
    job |= {"address": view.store.address, "total": total, "columns": view.columns}
    process = subprocess.Popen(
        [sys.executable, "-m", "tuiwb.data.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the one who asked, who ends this
    )
    answer = _Answer(process, job | {"among": None if among is None else len(among)}, among)
    try:
        while answer.is_alive():
            task.step(doing, answer.done, total, "rows")
            answer.join(_POLL_S)
        return answer.rows
    finally:
        process.kill()
        process.wait()
        answer.join()
        assert process.stdout is not None
        process.stdout.close()


class _Answer(threading.Thread):
    """Gives the job to the process and reads what it says: how far it is, a number a line, and then what it found."""

    def __init__(self, process: "subprocess.Popen[bytes]", job: dict[str, Any], among: Rows | None) -> None:
        super().__init__(daemon=True)
        self._process, self._job, self._among = process, job, among
        self.done = 0
        self.rows: Rows | None = None
        self.start()

    def run(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(self._job).encode() + b"\n")
            if self._among is not None:
                self._process.stdin.write(self._among.astype("<i8").tobytes())
            self._process.stdin.close()
            for line in self._process.stdout:
                message = json.loads(line)
                if isinstance(message, int):
                    self.done = message
                    continue
                content = self._process.stdout.read(8 * message["rows"])
                if len(content) == 8 * message["rows"]:
                    self.rows = np.frombuffer(content, "<i8").astype(np.int64)
                return


@dataclass(frozen=True, slots=True)
class _Source:
    """What `query` and `order` ask of a view."""

    store: RowStore
    total: int
    columns: tuple[str, ...]

    @property
    def journal(self) -> Journal | None:
        return self.store.journal if isinstance(self.store, EditedStore) else None

    def __len__(self) -> int:
        return self.total

    def mark(self, number: int) -> Mark | None:
        return self.store.mark(number) if isinstance(self.store, EditedStore) else None

    def row(self, number: int) -> Row:
        return self.store.row(number)

    def scan(self) -> Iterator[Row]:
        return self.store.scan(None, 0, self.total)


class _Reporting(Task):
    """A task whose progress is printed for the one who asked."""

    def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        print(done, flush=True)  # noqa: T201 - the pipe to the one who asked


def _main() -> None:
    os.nice(10)
    job = json.loads(sys.stdin.buffer.readline())
    among = None
    if job["among"] is not None:
        among = np.frombuffer(sys.stdin.buffer.read(8 * job["among"]), "<i8").astype(np.int64)
    store = open_address(job["address"])
    store.index()
    source = cast("View", _Source(store, job["total"], tuple(job["columns"])))
    task = _Reporting()
    if job["do"] == "ordered":
        found = order.ordered(source, job["key"], descending=job["descending"], among=among, task=task)
    else:
        wanted = query.parse(job["text"], source.columns, source.mark)
        if job["do"] == "matching":
            found = query.matching(source, wanted, task)
        else:
            first = query.find(source, wanted, job["start"], backwards=job["backwards"], task=task)
            found = np.array([] if first is None else [first], np.int64)
    print(json.dumps({"rows": len(found)}), flush=True)  # noqa: T201 - as above
    sys.stdout.buffer.write(found.astype("<i8").tobytes())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _main()
