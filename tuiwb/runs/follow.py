"""Following a run: its metrics and events as they come, in the order in which they were written."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import JsonlTail, RunDir
from tuiwb.runs.reconcile import standing


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a run. `source`: metrics or events; `part`: the folder's name, for metrics."""

    source: str
    part: str
    value: dict[str, Any]


class Follower:
    """Reads what is new in a run's metrics and events.

    Args:
        last: begin at most so many lines before the end of each file; None begins at the beginning.
    """

    def __init__(self, run: RunDir, *, last: int | None = None) -> None:
        self.run = run
        self.last = last
        self._events = self._tail(run.events_file)
        self._metrics: dict[str, JsonlTail] = {}

    def read(self) -> list[Record]:
        """New lines since the last call, in the order of their times."""
        for part in self.run.parts():
            if part.path.name not in self._metrics:
                self._metrics[part.path.name] = self._tail(part.metrics_file)
        records = [Record("events", "", value) for value in self._events.read()]
        for name, tail in self._metrics.items():
            records += [Record("metrics", name, value) for value in tail.read()]
        return sorted(records, key=lambda record: float(record.value.get("time") or 0))

    def _tail(self, path: Path) -> JsonlTail:
        return JsonlTail(path, 0 if self.last is None else rundir.offset_of_last(path, self.last))


def tail(run: RunDir, *, last: int | None = None, follow: bool = True, every_s: float = 0.2) -> Iterator[Record]:
    """The lines of a run.

    Args:
        last: begin at most so many lines before the end of each file.
        follow: go on until the run is at rest; otherwise end with what there is.
        every_s: seconds between two looks.
    """
    follower = Follower(run, last=last)
    while True:
        # Asked before reading: what was written up to the end of the run is then read after it.
        at_rest = not follow or standing(run).state.get("state") in rundir.RESTING
        yield from follower.read()
        if at_rest:
            return
        time.sleep(every_s)


def tail_log(run: RunDir, *, last: int | None = None, follow: bool = True, every_s: float = 0.2) -> Iterator[str]:
    """The worker's output, whole lines at a time. A progress bar's carriage returns end a line too.

    Args:
        last, follow, every_s: as in `tail`.
    """
    offset = 0 if last is None else rundir.offset_of_last(run.output_file, last)
    while True:
        at_rest = not follow or standing(run).state.get("state") in rundir.RESTING
        try:
            with run.output_file.open("rb") as file:
                file.seek(offset)
                raw = file.read()
        except OSError:
            raw = b""
        end = len(raw) if at_rest else raw.rfind(b"\n") + 1
        offset += end
        for line in raw[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").splitlines():
            yield line.decode("utf-8", "replace")
        if at_rest:
            return
        time.sleep(every_s)
