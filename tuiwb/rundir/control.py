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
from tuiwb.rundir.layout import RunDir

VERBS = ("save", "stop", "pause", "cancel")

_REQUEST = re.compile(r"(\d{6})\.json")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `id` is its number, as the file's name has it; `fields`: what else the asker said (`by`, `why`)."""

    id: str
    verb: str
    time: float
    fields: dict[str, Any] = field(default_factory=dict)


def request(run: RunDir, verb: str, **fields: Any) -> Request:
    """Ask a run for something.

    Args:
        verb: save, stop, pause or cancel.

    Raises:
        OSError: it could not be written; nothing was asked.
    """
    if verb not in VERBS:
        raise ValueError(verb)
    run.control.mkdir(mode=0o700, exist_ok=True)
    asked = time.time()
    temporary = run.control / f".{os.getpid()}.{time.monotonic_ns()}"
    atomic.write_json(temporary, {"verb": verb, "time": asked, **fields})
    try:
        number = max((int(name[:6]) for name in _names(run) if _REQUEST.fullmatch(name)), default=0)
        while True:
            number += 1
            try:
                os.link(temporary, run.control / f"{number:06d}.json")
            except FileExistsError:
                continue
            return Request(f"{number:06d}", verb, asked, fields)
    finally:
        temporary.unlink()


def pending_requests(run: RunDir) -> list[Request]:
    """Requests without an acknowledgement, oldest first. Cheap enough for every step: one listing of the folder."""
    names = _names(run)
    if not names:
        return []
    pending = []
    for name in sorted(names):
        number = name.removesuffix(".json")
        if _REQUEST.fullmatch(name) and f"{number}.ack.json" not in names and (found := _load(run.control / name)):
            verb, asked = str(found.pop("verb", "")), float(found.pop("time", 0.0))
            pending.append(Request(number, verb, asked, found))
    return pending


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
