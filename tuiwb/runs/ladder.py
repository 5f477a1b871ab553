"""The stop ladder: ask and wait for the checkpoint, then SIGTERM, then SIGKILL. Who climbs it is the wrapper, so
nobody needs to watch."""

from typing import Literal

from tuiwb.runs.pace import Pace

BEFORE_TRAINING = frozenset({"", "wait", "load", "data"})
"""Phases in which a stop loses nothing."""

BUSY = frozenset({"save", "eval"})
"""Phases that may take longer than any step, and in which no stop can be answered."""

EARLY_GRACE_S = 5.0
"""How long a worker that has not begun gets to end by itself."""

TERM_GRACE_S = 15.0
"""Between SIGTERM and SIGKILL."""

LEAVING_S = 3.0
"""How long processes that outlive the worker may take to end by themselves (uploads, worker pools)."""


def patience(grace_s: float) -> dict[str, float]:
    """The waits of a run, as job.yaml holds them. A user who waits less for a stop waits less for all of it."""
    return {"grace_s": grace_s, "term_s": min(TERM_GRACE_S, grace_s), "leaving_s": min(LEAVING_S, grace_s)}


class Ladder:
    """One climb at most; a cancel takes over from a stop.

    Args:
        grace_s: least time from the request until SIGTERM.
        term_s: time from SIGTERM until SIGKILL.
    """

    def __init__(self, *, grace_s: float, term_s: float) -> None:
        self.grace_s = grace_s
        self.term_s = term_s
        self.verb: str | None = None
        self.signals: list[str] = []
        self._asked = self._terminated = self._busy = 0.0
        self._acknowledged: float | None = None

    def ask(self, verb: Literal["stop", "pause", "cancel"], now: float) -> bool:
        """Begin to climb.

        Returns:
            False if that, or more, was asked already.
        """
        if self.verb == "cancel" or self.verb == verb:
            return False
        if self.verb is None or verb == "cancel":
            self._asked = now
        self.verb = verb
        return True

    def acknowledged(self, now: float) -> None:
        """The worker has saved and is on its way out."""
        if self._acknowledged is None:
            self._acknowledged = now

    def withdraw(self) -> None:
        """The worker could not save, and goes on rather than lose what it has done."""
        if self.verb in ("stop", "pause") and not self.signals:
            self.verb, self._acknowledged = None, None

    def grace(self, pace: Pace) -> float:
        """Seconds that a stop may take before it is helped along."""
        if pace.phase in BEFORE_TRAINING:
            return min(self.grace_s, EARLY_GRACE_S)
        return max(self.grace_s, 3 * pace.longest_step_s + pace.last_save_s)

    def next(self, now: float, pace: Pace) -> Literal["terminate", "kill"] | None:
        """What is due now; each of the two is due once."""
        if self.verb is None or "kill" in self.signals:
            return None
        if self.signals:
            due: Literal["terminate", "kill"] | None = "kill" if now >= self._terminated + self.term_s else None
        else:
            due = "terminate" if now >= self._deadline(now, pace) else None
        if due == "terminate":
            self._terminated = now
        if due:
            self.signals.append(due)
        return due

    def _deadline(self, now: float, pace: Pace) -> float:
        if self.verb == "cancel":
            return self._asked
        since = self._asked if self._acknowledged is None else self._acknowledged
        if pace.phase in BUSY:
            # As long as it makes progress it is left alone, and the step after it has its own time to answer: an
            # evaluation, or a save that began before the stop was asked for, is no refusal.
            self._busy = max(self._busy, now - pace.still_s)
        return max(since, self._busy) + self.grace(pace)
