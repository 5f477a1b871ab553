"""Where each file of a run is. Nothing here reads or writes; the other modules of this room do."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "TUIWB_RUN_ID"
"""Environment variable that marks every process of a run."""

ATTEMPT = "TUIWB_ATTEMPT"
"""Environment variable with the number of the attempt, from 1."""

_PART = re.compile(r"(\d+)-(.+)")
_UNSAFE = re.compile(r"[^a-z0-9._]+")


@dataclass(frozen=True, slots=True, order=True)
class PartDir:
    """The folder of one part of a run, `parts/<n>-<name>`: a trainer's output folder."""

    path: Path

    @property
    def number(self) -> int:
        match = _PART.fullmatch(self.path.name)
        return int(match[1]) if match else 0

    @property
    def name(self) -> str:
        match = _PART.fullmatch(self.path.name)
        return match[2] if match else self.path.name

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def answers_file(self) -> Path:
        return self.path / "answers.jsonl"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"


@dataclass(frozen=True, slots=True, order=True)
class RunDir:
    """The folder of one run. Its name is the run's id."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def job_file(self) -> Path:
        return self.path / "job.yaml"

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def output_file(self) -> Path:
        return self.path / "output.log"

    @property
    def beat_file(self) -> Path:
        return self.path / "beat.json"

    @property
    def samples_file(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def exit_file(self) -> Path:
        return self.path / "exit.json"

    @property
    def labels_file(self) -> Path:
        """What people say of the run after its launch."""
        return self.path / "labels.json"

    @property
    def ballast_file(self) -> Path:
        """Space kept back while the run lives, given up so that `exit.json` fits on a full disk."""
        return self.path / ".ballast"

    @property
    def parts_folder(self) -> Path:
        return self.path / "parts"

    def part(self, number: int, name: str) -> PartDir:
        """The folder of part `number`, counted from 1. It is not created."""
        return PartDir(self.parts_folder / f"{number}-{_safe(name) or 'part'}")

    def parts(self) -> list[PartDir]:
        """The parts that exist, in their order."""
        try:
            found = [PartDir(path) for path in self.parts_folder.iterdir() if _PART.fullmatch(path.name)]
        except OSError:
            return []
        return sorted(found, key=lambda part: part.number)

    def existing(self) -> bool:
        """Whether this is a complete run directory: one whose launch got as far as its first state."""
        return self.job_file.is_file() and self.state_file.is_file()


def new_run_id(name: str, kind: str) -> str:
    """An id that sorts by time, is unique, and is safe as a folder's name: `20261121-143005-sft-lora-9f3a1c`."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    label = (_safe(name) or _safe(kind) or "run")[:40].strip("-.")
    return f"{stamp}-{label}-{os.urandom(3).hex()}"


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text.lower()).strip("-.")
