"""The alarms of a run, evaluated by its wrapper, so that they are told with nobody watching.

Each is an event when it begins to hold (`alarm`) and when it is over (`alarm_over`); those that hold are in state.json,
where the screen sees them; and they are told to the user's command and webhook. The rules are those of `monitor`.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuiwb import rundir
from tuiwb.base.units import size
from tuiwb.monitor import alarms, downgrades, machine_alarms
from tuiwb.monitor.alarms import Alarm, MetricWatch
from tuiwb.rundir import JsonlTail, RunDir
from tuiwb.runs.diskwatch import DiskWatch
from tuiwb.runs.pace import BeatWatch

SHOWN_S = 60.0
"""What held but for one line of metrics, such as a spike, is shown for so long."""

AGAIN_S = 300.0
"""The same alarm is told again only after so long."""

_SAMPLES = 60
_PRIMED = 100
_REWARDED = ("ppo", "grpo", "rloo")

Source = Literal["metrics", "machine", "beat", "worker"]


@dataclass(frozen=True, slots=True)
class _Held:
    """An alarm that holds, since when, and when it was last found (monotonic seconds)."""

    alarm: Alarm
    source: Source
    since: float
    seen: float


class Alarms:
    """Watches one attempt of one run. Times are monotonic seconds.

    Args:
        job: its job.yaml; `alarms` holds `command` (words to run), `webhook` (whether there is one), `silent_steps` and
            `silent_s`.
        on_stall: called once when nothing moves any more, before anything is killed.
    """

    def __init__(self, run: RunDir, job: Mapping[str, Any], attempt: int, on_stall: Callable[[], None]) -> None:
        self.run, self.job, self.attempt = run, job, attempt
        self.disk = DiskWatch(run)
        self.helpers: list[int] = []
        self._settings: Mapping[str, Any] = job.get("alarms") or {}
        self._on_stall = on_stall
        self._metrics: dict[str, tuple[JsonlTail, MetricWatch]] = {}
        self._events = JsonlTail(run.events_file, rundir.offset_of_last(run.events_file, 0))
        self._samples: deque[dict[str, Any]] = deque(maxlen=_SAMPLES)
        self._held: dict[tuple[str, str], _Held] = {}
        self._told: dict[tuple[str, str], float] = {}

    def look(self, now: float, beats: BeatWatch) -> bool:
        """Read what is new in metrics, events and the beat. Cheap: mostly a stat for each file.

        Returns:
            whether the alarms that hold are others than at the last look.
        """
        changed = self._take(now, "metrics", self._logged())
        for event in self._events.read():
            if event.get("event") == "training" and isinstance(event.get("runs"), dict):
                changed |= self._take(now, "worker", downgrades.downgrades(downgrades.asked(self.job), event["runs"]))
        stall = alarms.silent(
            beats.phase,
            beats.silent_s(now),
            self._step_s(),
            patience=float(self._settings.get("silent_steps") or 10.0),
            least_s=float(self._settings.get("silent_s") or 60.0),
        )
        if stall is not None and stall.key not in self._held:
            self._on_stall()
        return self._take(now, "beat", [stall] if stall else []) or changed

    def sampled(self, now: float, sample: dict[str, Any], phase: str) -> bool:
        """Take a line of samples.jsonl; as `look`."""
        self._samples.append(sample)
        found = machine_alarms.of_samples(tuple(self._samples), phase)
        if (full := self.disk.look(sample.get("disk_free"), phase)) is not None:
            found.append(full)
        return self._take(now, "machine", found)

    def tell(self, alarm: Alarm) -> None:
        """Write it down, run the user's command and send it to the webhook."""
        rundir.append_event(self.run, "alarm", by="wrapper", attempt=self.attempt, **alarm.to_json())
        if words := [str(word) for word in self._settings.get("command") or []]:
            self._help("alarm_command", words, alarm)
        if self._settings.get("webhook"):
            self._help("alarm_webhook", [sys.executable, "-m", "tuiwb.runs.webhook", str(self.run.path)], alarm)

    def ended(self, cause: str, reason: str) -> None:
        """The attempt has come to its end: out of memory is told with what the plan says would save most."""
        if cause not in ("out_of_memory", "host_memory"):
            return
        remedies = sorted((self.job.get("plan") or {}).get("remedies") or [], key=lambda each: -each["saves_bytes"])
        fix = "; ".join(f"{each['change']} saves {size(each['saves_bytes'])}" for each in remedies[:3])
        self.tell(Alarm(cause, reason, "critical", fix or "`tuiwb plan` shows what would need less"))

    @property
    def holding(self) -> list[dict[str, Any]] | None:
        """The alarms that hold, oldest first, as state.json has them; None without any."""
        return [
            {"rule": held.alarm.rule, "severity": held.alarm.severity, "message": held.alarm.message}
            for held in self._held.values()
        ] or None

    def _logged(self) -> list[Alarm]:
        found = []
        for part in self.run.parts():
            name = part.path.name
            if name not in self._metrics:
                self._metrics[name] = self._follow(part)
            tail, watch = self._metrics[name]
            for line in tail.read():
                found += watch.take(line)
        return found

    def _follow(self, part: rundir.PartDir) -> tuple[JsonlTail, MetricWatch]:
        """A new attempt knows what was usual in the one before, and tells nothing of it again."""
        recipe = self.job.get("input") or {}
        watch = MetricWatch(fp16=bool(recipe.get("fp16")), rewarded=part.name in _REWARDED)
        offset = 0
        if self.attempt > 1:
            for line in rundir.last_lines(part.metrics_file, _PRIMED):
                watch.take(line)
            offset = rundir.offset_of_last(part.metrics_file, 0)
        return JsonlTail(part.metrics_file, offset), watch

    def _step_s(self) -> float | None:
        return next((watch.step_s for _, watch in reversed(self._metrics.values()) if watch.step_s), None)

    def _take(self, now: float, source: Source, found: Sequence[Alarm]) -> bool:
        """Tell what is new, and say of what is not found any more that it is over.

        Returns:
            whether other alarms hold than before.
        """
        changed = False
        for alarm in found:
            held = self._held.get(alarm.key)
            if held is None:
                changed = True
                if now - self._told.get(alarm.key, -AGAIN_S) >= AGAIN_S:
                    self._told[alarm.key] = now
                    self.tell(alarm)
            self._held[alarm.key] = _Held(alarm, source, held.since if held else now, now)
        for held in [held for held in self._held.values() if held.source == source and held.seen < now]:
            if source == "worker" or (source == "metrics" and now - held.seen < SHOWN_S):
                continue
            changed = True
            del self._held[held.alarm.key]
            lasted = round(now - held.since, 1)
            rundir.append_event(self.run, "alarm_over", by="wrapper", rule=held.alarm.rule, held_s=lasted)
        return changed

    def _help(self, what: str, words: Sequence[str], alarm: Alarm) -> None:
        """Run a command that is told the alarm, and do not wait for it.

        Args:
            what: the event that says so where it cannot be run.
        """
        told = {
            "TUIWB_ALARM_RULE": alarm.rule,
            "TUIWB_ALARM_SEVERITY": alarm.severity,
            "TUIWB_ALARM_MESSAGE": alarm.message,
            "TUIWB_ALARM_FIX": alarm.fix,
            "TUIWB_ALARM_RUN": self.run.run_id,
            "TUIWB_ALARM_NAME": str(self.job.get("name") or ""),
        }
        try:
            with self.run.output_file.open("ab") as output:
                child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env={**os.environ, **told},
                    cwd=self.run.path,
                )
        except OSError as error:
            problem = f"{words[0]}: {error.strerror}"
            rundir.append_event(self.run, what, by="wrapper", problem=problem)
            return
        child.returncode = 0  # the wrapper collects all its children itself; Popen must not wait or warn
        self.helpers.append(child.pid)
