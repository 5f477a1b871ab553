"""The JSON documents of a run: job, state, beat, exit and result.

Each is replaced as a whole, so a reader meets the old one or the new one. What cannot be parsed reads as None and is
left where it is. The names of the fields are those that the writers below take.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiwb.base import atomic
from tuiwb.rundir.identity import boot_id, host_name
from tuiwb.rundir.jsonl import append_line, encode, read_all
from tuiwb.rundir.layout import ATTEMPT, PartDir, RunDir

RESTING = frozenset({"paused", "stopped", "finished", "failed", "cancelled", "interrupted", "lost"})
"""States in which a run has no process."""

STEPPING = frozenset({"train", "eval", "save"})
"""Phases whose beats count optimizer steps; those of the other phases count what is done there, such as rows."""

ACTIVE = frozenset({"queued", "starting", "running", "saving", "stopping"})
"""States in which a wrapper should be there."""


def write_job(run: RunDir, job: Mapping[str, Any]) -> None:
    """job.yaml, once: JSON text, which is YAML, so that it can be read without a YAML parser.

    Raises:
        OSError: it could not be written.
    """
    atomic.write_json(run.job_file, job, indent=1)


def read_job(run: RunDir) -> dict[str, Any]:
    """job.yaml, or an empty dict if it is absent or broken."""
    return _read(run.job_file) or {}


def write_state(run: RunDir, state: str, **fields: Any) -> dict[str, Any]:
    """Replace state.json by the old one with these changes and the next `seq`. Only the holder of the lock writes.

    Args:
        state: one of the states of design section 5.
        fields: replace those of the same name; None removes one.

    Returns:
        what was written.

    Raises:
        OSError: it could not be written; the old state stands. The caller goes on all the same.
    """
    old = _read(run.state_file)
    if old is None and run.state_file.exists():
        # Unreadable: kept for whoever wants to know why, never overwritten.
        run.state_file.replace(run.state_file.with_name(f"state.json.broken-{time.time_ns()}"))
    old = old or {"seq": 0, "attempt": 1}
    changes = {"state": state, "seq": old["seq"] + 1, "time": time.time(), **fields}
    new = {key: value for key, value in {**old, **changes}.items() if value is not None}
    atomic.write_json(run.state_file, new)
    return new


def read_state(run: RunDir) -> dict[str, Any] | None:
    """state.json: `state`, `seq`, `attempt`, `time`, `reason`, `wrapper` and `launcher` (identities), `resume` (the
    checkpoint of this attempt's start: `part`, `checkpoint` relative to the run, `step`)."""
    return _read(run.state_file)


def append_event(run: RunDir, event: str, **fields: Any) -> bool:
    """One line in events.jsonl: `time`, `event`, `by` (wrapper, worker or user) and whatever belongs to it.

    Returns:
        False if it could not be written; nobody dies of that.
    """
    return append_line(run.events_file, {"time": time.time(), "event": event, **fields})


def read_events(run: RunDir) -> list[dict[str, Any]]:
    """All events, oldest first."""
    return read_all(run.events_file)


class BeatWriter:
    """The worker's sign of life. Costs well under a millisecond and never raises.

    It measures what the wrapper needs to know how long a stop may take: the longest step and the last save.

    Args:
        every_s: seconds between two writes while the phase stays the same; a change of phase is always written.
    """

    def __init__(self, run: RunDir, every_s: float = 0.2) -> None:
        self.run = run
        self.every_s = every_s
        self.longest_step_s = 0.0
        self.last_save_s = 0.0
        self._phase = ""
        self._step = 0
        self._phase_since = self._step_since = self._written = 0.0

    def beat(self, phase: str, step: int = 0, total_steps: int | None = None, part: int = 1) -> None:
        """Say what the worker is doing.

        Args:
            phase: wait, load, data, compile, train, eval or save.
            step: optimizer steps that are complete; before training, what else is counted, such as rows.
            total_steps: of these.
        """
        now = time.monotonic()
        changed = phase != self._phase
        if changed:
            if self._phase == "save":
                self.last_save_s = now - self._phase_since
            self._phase_since = self._step_since = now
        elif step != self._step and phase == "train":
            # The first step after a load, an evaluation or a save is measured from the start of its phase.
            self.longest_step_s = max(self.longest_step_s, now - self._step_since)
            self._step_since = now
        self._phase, self._step = phase, step
        if changed or now - self._written >= self.every_s:
            self._written = now
            write_beat(
                self.run,
                phase,
                step,
                total_steps,
                part=part,
                longest_step_s=round(self.longest_step_s, 3),
                last_save_s=round(self.last_save_s, 3),
            )


def write_beat(run: RunDir, phase: str, step: int = 0, total_steps: int | None = None, **fields: Any) -> bool:
    """Replace beat.json (not fsynced: only its newest value matters).

    Returns:
        False if it could not be written; nobody dies of that.
    """
    beat = {
        "phase": phase,
        "step": step,
        "total_steps": total_steps,
        "time": time.time(),
        # Ages are told from the clock since boot, which nobody sets.
        "boot_time": time.clock_gettime(time.CLOCK_BOOTTIME),
        "boot_id": boot_id(),
        "host": host_name(),
        "pid": os.getpid(),
        "attempt": current_attempt(run),
        **fields,
    }
    temporary = run.beat_file.with_name(f".beat.{os.getpid()}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, encode(beat))
        finally:
            os.close(handle)
        temporary.replace(run.beat_file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        return False
    return True


def read_beat(run: RunDir) -> dict[str, Any] | None:
    """beat.json: the fields of `write_beat`, and `age_s`, seconds since it was written."""
    beat = _read(run.beat_file)
    if beat is not None:
        if beat.get("boot_id") == boot_id() and "boot_time" in beat:
            beat["age_s"] = time.clock_gettime(time.CLOCK_BOOTTIME) - beat["boot_time"]
        else:
            beat["age_s"] = max(0.0, time.time() - float(beat.get("time", 0)))
    return beat


def write_labels(run: RunDir, *, notes: str, tags: Sequence[str]) -> None:
    """labels.json: notes and tags that replace those of job.yaml, which stays as it was launched.

    Raises:
        OSError: it could not be written.
    """
    atomic.write_json(run.labels_file, {"notes": notes, "tags": list(tags)}, indent=1)


def read_labels(run: RunDir) -> dict[str, Any]:
    """labels.json, or an empty dict."""
    return _read(run.labels_file) or {}


def write_exit(run: RunDir, **fields: Any) -> None:
    """exit.json, by whoever holds the lock: `attempt`, `state`, `reason`, `returncode`, `signal`, `checkpoint`.

    Raises:
        OSError: it could not be written.
    """
    atomic.write_json(run.exit_file, {"time": time.time(), **fields}, indent=1)


def read_exit(run: RunDir) -> dict[str, Any] | None:
    """exit.json of the newest attempt that ended."""
    return _read(run.exit_file)


def ended(run: RunDir, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """exit.json if it tells the end of the attempt that `state` is about."""
    found = read_exit(run)
    return found if found is not None and found.get("attempt") == state.get("attempt") else None


def write_result(
    run: RunDir,
    part: PartDir,
    outcome: str,
    *,
    checkpoint: Path | None = None,
    step: int | None = None,
    message: str | None = None,
    **fields: Any,
) -> None:
    """result.json of a part, by the worker, as its last act.

    Args:
        outcome: finished, stopped or failed.
        checkpoint: the folder that came out or that was saved last (kept relative to the run, which may be moved).
        message: for failed: one sentence, such as the exception's.
        fields: what else was measured (`peak_bytes`, `metrics`, `error`: the exception's type, …).

    Raises:
        OSError: it could not be written.
    """
    result = {
        "outcome": outcome,
        "attempt": current_attempt(run),
        "time": time.time(),
        "checkpoint": None if checkpoint is None else os.path.relpath(checkpoint, run.path),
        "step": step,
        "message": message,
        **fields,
    }
    part.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write_json(part.result_file, {key: value for key, value in result.items() if value is not None}, indent=1)


def read_result(part: PartDir) -> dict[str, Any] | None:
    """result.json of a part: the fields of `write_result`."""
    return _read(part.result_file)


def current_attempt(run: RunDir) -> int:
    """The attempt that this process belongs to, or the run's newest."""
    if marked := os.environ.get(ATTEMPT, "").strip():
        return int(marked)
    return int((read_state(run) or {}).get("attempt", 1))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (many are read when runs are listed)
            value = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
