"""How fast a worker goes, as its wrapper sees it from the beats."""

from dataclasses import dataclass
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import RunDir


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the worker takes. `still_s`: seconds without progress: since its phase began, in a save since the
    checkpoint last grew, in an evaluation since the newest beat (there is one for each batch)."""

    phase: str = ""
    still_s: float = 0.0
    longest_step_s: float = 0.0
    last_save_s: float = 0.0


class BeatWatch:
    """Follows beat.json of one attempt. Times are monotonic seconds.

    Attributes:
        heard: whether the worker was heard of in this attempt.
        phase: of its newest beat.
    """

    def __init__(self, run: RunDir, attempt: int, now: float) -> None:
        self.run, self.attempt = run, attempt
        self.heard = False
        self.phase = ""
        self._beat: dict[str, Any] = {}
        self._seen = 0
        self._since = self._grew = self._beaten = self._moved = now
        self._size = -1

    def look(self, now: float) -> None:
        """Read the beat if it is a new one. Cheap: mostly one stat."""
        try:
            changed = self.run.beat_file.stat().st_mtime_ns
        except OSError:
            return
        if changed == self._seen:
            return
        self._seen = changed
        beat = rundir.read_beat(self.run)
        if beat is None or beat.get("attempt") != self.attempt:
            return
        if beat.get("phase") != self.phase:
            self._since = now
        if beat.get("phase") != self.phase or beat.get("step") != self._beat.get("step"):
            self._moved = now
        self._beaten = now
        self._beat, self.heard, self.phase = beat, True, str(beat.get("phase", ""))

    def silent_s(self, now: float) -> float:
        """Seconds in which nothing has moved: no step (in an evaluation: no batch; in a save: no byte)."""
        if self.phase == "save":
            self._grow(now)
        alive = {"eval": self._beaten, "save": max(self._moved, self._grew)}
        return now - alive.get(self.phase, self._moved)

    def pace(self, now: float, *, stopping: bool) -> Pace:
        """How it goes.

        Args:
            stopping: a stop waits for a save, so its progress is worth a look at the checkpoint's size.
        """
        if stopping and self.phase == "save":
            self._grow(now)
        since = max(self._since, self._grew)
        return Pace(
            phase=self.phase,
            still_s=now - (max(since, self._beaten) if self.phase == "eval" else since),
            longest_step_s=float(self._beat.get("longest_step_s") or 0),
            last_save_s=float(self._beat.get("last_save_s") or 0),
        )

    def _grow(self, now: float) -> None:
        size = _newest_checkpoint_size(self.run)
        if size != self._size:
            self._size, self._grew = size, now


def _newest_checkpoint_size(run: RunDir) -> int:
    found = [path for part in run.parts() for path in rundir.checkpoints(part)]
    return rundir.folder_bytes(found[-1]) if found else 0
