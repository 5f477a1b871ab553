"""Requests to a run and their acknowledgements, each a file of its own in control/.

A request is `000001.json`; its acknowledgement, `000001.ack.json`, is written by whoever fulfilled it. A number is
taken with link(2), which fails when it is taken already, so two askers never get the same one.
"""

import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiwb.base import atomic
from tuiwb.rundir.documents import current_attempt
from tuiwb.rundir.layout import RunDir

VERBS = ("save", "stop", "pause", "cancel", "hold", "release")

_REQUEST = re.compile(r"(\d{6})\.json")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `id` is its number, as the file's name has it; `attempt`: of the run, when it was asked; `fields`:
    what else the asker said (`by`, `why`)."""

    id: str
    verb: str
    time: float
    attempt: int
    fields: dict[str, Any] = field(default_factory=dict)


def request(run: RunDir, verb: str, **fields: Any) -> Request:
    """Ask a run for something.

    Args:
        verb: one of VERBS. hold and release are for a run that waits, and answered by its wrapper.

    Raises:
        OSError: it could not be written; nothing was asked.
    """
    if verb not in VERBS:
        raise ValueError(verb)
    run.control.mkdir(mode=0o700, exist_ok=True)
    asked, attempt = time.time(), current_attempt(run)
    temporary = run.control / f".{os.getpid()}.{time.monotonic_ns()}"
    atomic.write_json(temporary, {"verb": verb, "time": asked, "attempt": attempt, **fields})
    try:
        number = max((int(name[:6]) for name in _names(run) if _REQUEST.fullmatch(name)), default=0)
        while True:
            number += 1
            try:
                os.link(temporary, run.control / f"{number:06d}.json")
            except FileExistsError:
                continue
            return Request(f"{number:06d}", verb, asked, attempt, fields)
    finally:
        temporary.unlink()


def pending_requests(run: RunDir) -> list[Request]:
    """Requests without an acknowledgement, oldest first. Cheap enough for every step: one listing of the folder."""
    names = _names(run)
    pending = (name for name in sorted(names) if f"{name.removesuffix('.json')}.ack.json" not in names)
    return [found for name in pending if (found := _request(run, name))]


def all_requests(run: RunDir) -> list[Request]:
    """Every request that was ever made, oldest first."""
    return [found for name in sorted(_names(run)) if (found := _request(run, name))]


def acknowledge(run: RunDir, done: Request, *, checkpoint: Path | None = None, **fields: Any) -> None:
    """Say that a request was fulfilled.

    Args:
        checkpoint: for save, stop and pause: the verified checkpoint.
        fields: `step`, or `problem` when it could not be done.

    Raises:
        OSError: it could not be written.
    """
    where = None if checkpoint is None else os.path.relpath(checkpoint, run.path)
    answer = {"time": time.time(), "checkpoint": where, **fields}
    atomic.write_json(run.control / f"{done.id}.ack.json", answer)


def acknowledgement(run: RunDir, asked: Request | str) -> dict[str, Any] | None:
    """The answer to a request, or None while there is none: `time`, `checkpoint` (relative to the run), `step`,
    `problem`.

    Args:
        asked: the request, or its id.
    """
    number = asked if isinstance(asked, str) else asked.id
    return _load(run.control / f"{number}.ack.json")


def _request(run: RunDir, name: str) -> Request | None:
    found = _load(run.control / name) if _REQUEST.fullmatch(name) else None
    if found is None:
        return None
    verb, asked, attempt = (found.pop(key, 0) for key in ("verb", "time", "attempt"))
    return Request(name.removesuffix(".json"), str(verb), float(asked), int(attempt), found)


def _names(run: RunDir) -> set[str]:
    try:
        return {path.name for path in run.control.iterdir()}
    except OSError:
        return set()


def _load(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
