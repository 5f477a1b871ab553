"""Whether the next checkpoint of a run will fit on its disk."""

from tuiwb import rundir
from tuiwb.monitor import machine_alarms
from tuiwb.monitor.alarms import Alarm
from tuiwb.rundir import RunDir


class DiskWatch:
    """Knows how large a checkpoint of this run is: as the newest one. Before there is one, the checks before the launch
    have compared the plan with the disk."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._known: tuple[str, int] = ("", 0)
        self._asked = False
        self._full = False

    def look(self, free: int | None, phase: str) -> Alarm | None:
        """The alarm, if it will not fit.

        Args:
            free: bytes where the run is.
            phase: of the newest beat; while a checkpoint is written, its bytes are both used and still needed.
        """
        if free is None:
            return None
        if phase == "save":
            return machine_alarms.disk(free, self._known[1]) if self._full else None
        found = machine_alarms.disk(free, self._needed())
        self._full = found is not None
        if found is None:
            self._asked = False
        return found

    def should_pause(self) -> bool:
        """Whether the run should be asked to save and pause: once, each time that the disk has become full."""
        due = self._full and not self._asked
        self._asked = self._asked or due
        return due

    def ask_again(self) -> None:
        """It could not be asked."""
        self._asked = False

    def _needed(self) -> int:
        paths = [path for part in self.run.parts() for path in rundir.checkpoints(part)]
        if not paths:
            return 0
        newest = paths[-1].name
        if newest != self._known[0]:
            self._known = (newest, rundir.folder_bytes(paths[-1]))
        return self._known[1]
