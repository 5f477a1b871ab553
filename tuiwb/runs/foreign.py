"""What other trainers write about their runs, as lines of our metrics.jsonl: LLaMA-Factory's trainer_log.jsonl,
TensorBoard's event files (read by TensorBoard itself), and trainer_state.json of transformers' Trainer and of TRL."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tuiwb.rundir import JsonlTail

_NAMES = {"learning_rate": "lr", "step": "current_steps"}
_SKIPPED = {"total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second"}
_ELAPSED = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")


class Source(Protocol):
    """Follows the files of a foreign run. `name`: which files they are."""

    name: str

    def read(self) -> list[dict[str, Any]]:
        """The lines that are new since the last call, as metrics.jsonl would have them."""


def source_of(folder: Path) -> Source | None:
    """The best source that a trainer's output folder has: one that says most and grows at each step comes first."""
    if (folder / "trainer_log.jsonl").is_file():
        return TrainerLog(folder / "trainer_log.jsonl")
    if events := sorted(folder.rglob("events.out.tfevents.*")):
        return EventFiles(events[-1].parent)
    return TrainerStates(folder) if _states(folder) else None


class TrainerLog:
    """LLaMA-Factory's log; it has our keys. A line has the time since the start, so the file's age tells the start."""

    name = "trainer_log.jsonl"

    def __init__(self, path: Path) -> None:
        self._tail = JsonlTail(path)
        self._began: float | None = None

    def read(self) -> list[dict[str, Any]]:
        found = self._tail.read()
        if self._began is None and found and (elapsed := _seconds(found[-1].get("elapsed_time"))) is not None:
            self._began = self._tail.path.stat().st_mtime - elapsed
        return [self._timed(line) for line in found]

    def _timed(self, line: dict[str, Any]) -> dict[str, Any]:
        line = {name: value for name, value in line.items() if value is not None}
        elapsed = _seconds(line.get("elapsed_time"))
        if "time" not in line and self._began is not None and elapsed is not None:
            line["time"] = self._began + elapsed
        return line


class TrainerStates:
    """The newest trainer_state.json of an output folder: it has the whole history, and comes with each checkpoint."""

    name = "trainer_state.json"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = (0, 0)
        self._step = -1

    def read(self) -> list[dict[str, Any]]:
        paths = _states(self._folder)
        if not paths:
            return []
        newest = max(paths, key=lambda path: path.stat().st_mtime_ns)
        status = newest.stat()
        if self._seen == (status.st_mtime_ns, status.st_size):
            return []
        try:
            state = json.loads(newest.read_bytes())
            history = [entry for entry in state["log_history"] if int(entry["step"]) > self._step]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # it is being written
        self._seen = (status.st_mtime_ns, status.st_size)
        if history:
            self._step = int(history[-1]["step"])
        return [{"total_steps": state.get("max_steps"), **_ours(entry)} for entry in history]


class EventFiles:
    """The scalars of TensorBoard's event files in a folder, those of one step on one line."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaders: dict[Path, Any] = {}

    def read(self) -> list[dict[str, Any]]:
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

        found: list[dict[str, Any]] = []
        for path in sorted(self._folder.glob("events.out.tfevents.*")):
            if path not in self._loaders:
                self._loaders[path] = LegacyEventFileLoader(str(path))
            found += _by_step(self._loaders[path].Load())
        return found


def _by_step(events: Any) -> Iterator[dict[str, Any]]:
    line: dict[str, Any] = {}
    for event in events:
        scalars = {_tag(value.tag): _scalar(value) for value in event.summary.value}
        scalars = {name: value for name, value in scalars.items() if value is not None and name not in _SKIPPED}
        if not scalars:
            continue
        if line and line["current_steps"] != event.step:
            yield line
            line = {}
        line = {**line, "time": event.wall_time, "current_steps": int(event.step), **scalars}
    if line:
        yield line


def _scalar(value: Any) -> float | None:
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind == "tensor" and value.tensor.dtype == 1 and not value.tensor.tensor_shape.dim:  # one float
        from tensorboard.util import tensor_util

        return float(tensor_util.make_ndarray(value.tensor))
    return None


def _tag(tag: str) -> str:
    """`train/loss` is `loss`, `eval/loss` is `eval_loss`, as transformers' callback made them."""
    group, _, rest = tag.partition("/")
    name = rest if group == "train" and rest else f"eval_{rest}" if group == "eval" and rest else tag
    return _NAMES.get(name, name)


def _ours(entry: dict[str, Any]) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in entry.items() if name not in _SKIPPED}


def _states(folder: Path) -> list[Path]:
    return [*folder.glob("trainer_state.json"), *folder.glob("checkpoint-*/trainer_state.json")]


def _seconds(text: Any) -> float | None:
    match = _ELAPSED.fullmatch(str(text)) if text is not None else None
    if match is None:
        return None
    days, hours, minutes, seconds = (int(each or 0) for each in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
