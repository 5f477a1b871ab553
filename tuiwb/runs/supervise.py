"""What a wrapper does between the start of the worker and the end of the run."""

import os
import select
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tuiwb import rundir
from tuiwb.rundir import Identity, RunDir
from tuiwb.runs import attempts, lock, oom, processes, stacks
from tuiwb.runs.alarming import Alarms
from tuiwb.runs.attached import watched
from tuiwb.runs.ending import PATIENCE_S, write_end
from tuiwb.runs.gpufeed import GpuFeed
from tuiwb.runs.ladder import Ladder, patience
from tuiwb.runs.leases import Lease, release
from tuiwb.runs.pace import BeatWatch
from tuiwb.runs.samples import HostSampler
from tuiwb.runs.spawn import spawn
from tuiwb.runs.verdict import Evidence, Verdict, gather, judge

TICK_S = 0.2
"""Between two looks at control/ and the beat."""

SAMPLE_S = 5.0
"""Between two lines of samples.jsonl."""

SILENT_START_S = 30.0
"""A worker that has lived so long without a beat counts as running."""


class Supervisor:
    """Owns one attempt of one run. Everything it cannot write it does without: the run matters more.

    Args:
        held: the descriptor of the run's lock. It stays open until the process ends.
    """

    def __init__(self, run: RunDir, held: int) -> None:
        self.run = run
        self.lock = held
        self.gone = False
        self.job = rundir.read_job(run)
        self.state = rundir.read_state(run) or {"state": "starting", "attempt": 1}
        self.attempt = int(self.state.get("attempt", 1))
        waits = {**patience(60.0), **(self.job.get("stop") or {})}
        self.leaving_s = waits["leaving_s"]
        self.ladder = Ladder(grace_s=waits["grace_s"], term_s=waits["term_s"])
        self.sampler = HostSampler(run)
        self.launcher: Identity | None = None
        self.adopted = False
        self.returncode: int | None = None
        self._unwritten: tuple[str, dict[str, Any]] | None = None
        self._asked: dict[str, str] = {}
        self._started = time.monotonic()
        self.beats = BeatWatch(run, self.attempt, self._started)
        self.alarms = Alarms(run, self.job, self.attempt, lambda: self._dump("nothing moves"))
        self._sampled = 0.0
        self._oom_kills = oom.kills()
        self.leases: Sequence[Lease] = []
        self.gpus: GpuFeed | None = None
        self.environment: dict[str, str] = {}
        self.held = self.released = False
        self.again = False
        self._terminated_from_outside = False
        self._trace = ""

    # The life of an attempt

    def start(self) -> Verdict:
        """Start the worker, watch it and write its end."""
        self._set(str(self.state["state"]), wrapper=_me().to_json(), output_from=_size(self.run.output_file))
        if verdict := self._wait(float(self.state.get("wait_s") or 0.0)) or self._wait_for_turn():
            return self._end(verdict)
        try:
            child = spawn(self.run, self.job, self.attempt, self.environment, grace_s=self.ladder.grace_s)
        except OSError as error:
            command = self.job.get("argv", ["?"])[0]
            reason = f"the worker cannot be started: {command}: {error.strerror}"
            return self._end(Verdict("failed", reason, "environment"))
        self.launcher = Identity.of(child)
        rundir.append_event(self.run, "started", by="wrapper", attempt=self.attempt, pid=child)
        self._set("starting", launcher=self.launcher.to_json())
        return self._watch()

    def adopt(self) -> Verdict:
        """Watch what a wrapper that was killed has left behind."""
        self.adopted = True
        self.launcher = Identity.from_json(self.state.get("launcher")) or self._oldest()
        if uuids := self.state.get("leases"):
            from tuiwb.runs import turn

            self.leases = turn.retake(self.run, uuids)
        rundir.append_event(self.run, "adopted", by="wrapper", attempt=self.attempt)
        self._set(str(self.state["state"]), wrapper=_me().to_json(), adopted=True)
        return self._watch()

    def terminate(self) -> None:
        """SIGTERM to the wrapper (a shutdown, a batch system): the run is asked to stop. Called by a signal handler."""
        self._terminated_from_outside = True

    # Waiting

    def _wait(self, seconds: float) -> Verdict | None:
        """Let time pass before an attempt after a failure. Returns as `_wait_for_turn`."""
        while time.monotonic() < self._started + seconds:
            self._requests()
            if self.ladder.verb is not None:
                return self._not_begun()
            time.sleep(TICK_S)
        return None

    def _not_begun(self) -> Verdict:
        ends = {"stop": "stopped", "pause": "paused", "cancel": "cancelled"}
        return Verdict(ends[str(self.ladder.verb)], "before it began")

    def _wait_for_turn(self) -> Verdict | None:
        """Wait for the runs that come before and for GPUs.

        Returns:
            the end, if the run was asked to end before it began.
        """
        if self.job.get("gpus") == [] and not self.job.get("after") and not self.job.get("held"):
            self.environment = {"CUDA_VISIBLE_DEVICES": ""}
            return None
        from tuiwb.runs import turn

        since = turn.began_to_wait(self.state)
        mine = turn.Turn(self.run, self.job, since)
        self.held = bool(self.state.get("held", self.job.get("held")))
        self.released = bool(self.state.get("released"))
        while not mine.come(held=self.held):
            if mine.reason != self.state.get("reason"):
                self._set("queued", reason=mine.reason, queued_since=since)
            self._requests()
            if self.released:
                mine.skip_the_others()
            if self.ladder.verb is not None:
                mine.leave()
                return self._not_begun()
            time.sleep(TICK_S)
        self.leases, self.environment = mine.leases, mine.environment
        uuids = [lease.uuid for lease in self.leases] or None
        self._set("starting", reason=None, queued_since=None, leases=uuids)
        return None

    def _hold(self, asked: rundir.Request) -> None:
        """hold and release are answered by whoever waits; a run that trains cannot be held."""
        if self.launcher is not None:
            rundir.acknowledge(self.run, asked, problem="it does not wait any more")
            return
        self.held = asked.verb == "hold"
        self.released = not self.held
        self._set(str(self.state["state"]), held=self.held, released=self.released)
        rundir.acknowledge(self.run, asked)

    # Watching

    def _watch(self) -> Verdict:
        poller = select.poll()
        handle = None
        try:
            if self.launcher is not None:
                handle = self.launcher.open_pidfd()
                poller.register(handle, select.POLLIN)
        except ProcessLookupError:
            pass
        try:
            while handle is not None and not self.gone and not poller.poll(TICK_S * 1000):
                self._reap()
                try:
                    self._tick()
                except Exception:
                    self._own_error(traceback.format_exc())
        finally:
            if handle is not None:
                os.close(handle)
        self._reap()
        self._requests()
        return self._end(None)

    def _tick(self) -> None:
        now = time.monotonic()
        self._requests()
        self.beats.look(now)
        self._show_state()
        if self.alarms.look(now, self.beats):
            self._show_alarms()
        due = self.ladder.next(now, self.beats.pace(now, stopping=self.ladder.verb is not None))
        if due is not None:
            self._climb(due)
        if now - self._sampled >= SAMPLE_S:
            self._sampled = now
            self._sample()
        if self._unwritten is not None:
            state, fields = self._unwritten
            self._set(state, **fields)

    def _own_error(self, trace: str) -> None:
        """A bug of ours must not cost a run: it is noted once, and the watch goes on."""
        if trace != self._trace:
            self._trace = trace
            rundir.append_event(self.run, "wrapper_error", by="wrapper", message=trace[-2000:])

    def _sample(self) -> None:
        among = processes.table()
        roots = [self.launcher.pid if self.launcher else 0, watched(self.job)]
        family = {each for root in roots if root for each in (root, *processes.descendants(root, among))}
        value = self.sampler.sample(family)
        if self.leases and self.gpus is None:
            self.gpus = GpuFeed([lease.uuid for lease in self.leases], SAMPLE_S)
        if self.gpus is not None:
            value["gpus"] = self.gpus.latest(family)
            if self.gpus.problem:
                value["gpu_problem"] = self.gpus.problem
        rundir.append_line(self.run.samples_file, value)
        if self.alarms.sampled(time.monotonic(), value, self.beats.phase):
            self._show_alarms()
        if self.ladder.verb is None and self.beats.phase == "train" and self.alarms.disk.should_pause():
            try:
                rundir.request(self.run, "pause", by="disk")
            except OSError:
                self.alarms.disk.ask_again()  # there was no room even for that

    def _show_alarms(self) -> None:
        self._set(str(self.state["state"]), alarms=self.alarms.holding)

    def _dump(self, why: str) -> None:
        """Write down where the run's processes are."""
        path = stacks.dump(self.run, self._members(), why)
        if path is not None:
            rundir.append_event(self.run, "stacks", by="wrapper", file=path.name, why=why)

    def _requests(self) -> None:
        """Take note of what was asked. save, stop and pause are the worker's to do; cancel is ours. A run whose folder
        was deleted has nobody left who could ask: it is ended."""
        now = time.monotonic()
        if lock.gone(self.run, self.lock):
            self.gone = True
            self.ladder.ask("cancel", now)
            return
        if self._terminated_from_outside:
            self._terminated_from_outside = False
            self.ladder.ask("stop", now)
            rundir.request(self.run, "stop", by="SIGTERM")
        for asked in rundir.all_requests(self.run):  # one may be acknowledged before we first see it
            if asked.id in self._asked or asked.attempt != self.attempt:
                continue
            self._asked[asked.id] = asked.verb
            rundir.append_event(
                self.run, "asked", verb=asked.verb, request=asked.id, by=str(asked.fields.get("by", "user"))
            )
            if asked.verb in ("hold", "release"):
                self._hold(asked)
            elif asked.verb in ("stop", "pause", "cancel"):
                self.ladder.ask(_ending(asked.verb), now)
        for number, verb in list(self._asked.items()):
            answer = rundir.acknowledgement(self.run, number)
            if answer is None or verb == "":
                continue
            self._asked[number] = ""
            if verb in ("stop", "pause") and answer.get("problem"):
                self.ladder.withdraw()
            elif verb in ("stop", "pause"):
                self.ladder.acknowledged(now)
            self._check_answer(number, verb, answer)

    def _check_answer(self, number: str, verb: str, answer: Mapping[str, Any]) -> None:
        fields = {key: answer.get(key) for key in ("checkpoint", "step", "problem") if answer.get(key) is not None}
        if answer.get("checkpoint"):
            found = rundir.verify_checkpoint(self.run.path / str(answer["checkpoint"]))
            fields |= {"valid": found.valid, "bytes": found.bytes}
            if found.problem:
                fields["problem"] = found.problem
        rundir.append_event(self.run, "acknowledged", by="worker", verb=verb, request=number, **fields)

    def _show_state(self) -> None:
        if self.ladder.verb is not None:
            state = "stopping"
        elif self.beats.phase == "save":
            state = "saving"
        elif self.beats.heard or self.adopted or time.monotonic() - self._started > SILENT_START_S:
            state = "running"
        else:
            return
        if state != self.state.get("state"):
            self._set(state)

    def _climb(self, due: str) -> None:
        if self.ladder.verb != "cancel" and self.ladder.signals == [due]:
            self._dump(f"it did not answer to {self.ladder.verb}")
        rundir.append_event(self.run, due, by="wrapper", verb=self.ladder.verb)
        if due == "kill":
            for process in self._members():
                process.send(signal.SIGKILL)
        elif self.launcher is not None:
            self.launcher.send(signal.SIGTERM)

    def _members(self) -> list[Identity]:
        below = [os.getpid()]
        if self.adopted and self.launcher is not None:
            below.append(self.launcher.pid)
        helpers = [] if self.gpus is None else [self.gpus.pid]
        return processes.members(self.run.run_id, below=below, without=[*helpers, *self.alarms.helpers])

    def _oldest(self) -> Identity | None:
        """The launcher, where the wrapper was killed before it had noted it."""
        return min(self._members(), key=lambda process: process.start_time, default=None)

    def _reap(self) -> None:
        """Collect the dead: the worker, and whatever was left to us as a subreaper."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.launcher is not None and pid == self.launcher.pid:
                self.returncode = os.waitstatus_to_exitcode(status)

    # The end

    def _end(self, verdict: Verdict | None) -> Verdict:
        patience = 0.0 if "kill" in self.ladder.signals or self.ladder.verb == "cancel" else self.leaving_s
        swept, unkillable = processes.sweep(self._members, patience_s=patience, reap=self._reap)
        if self.gpus is not None:
            self.gpus.close()
        if self.gone:  # nothing is written: it would make the folder anew
            release(self.leases)
            return Verdict("lost", "its folder was deleted")
        if swept:
            rundir.append_event(self.run, "swept", by="wrapper", processes=swept)
        if unkillable:
            pids = [process.pid for process in unkillable]
            rundir.append_event(self.run, "unkillable", by="wrapper", pids=pids)
        release(self.leases)
        for path, problem in rundir.quarantine_broken(self.run):
            rundir.append_event(self.run, "quarantined", by="wrapper", checkpoint=path.name, problem=problem)
        if verdict is None:
            verdict = judge(self._evidence())
        self.alarms.ended(verdict.cause, verdict.reason)
        self.again = attempts.retry(self.run, self.job, self.state, verdict)
        if self.again:
            return verdict
        write_end(
            self.run,
            verdict,
            self.attempt,
            by="wrapper",
            set_state=self._set,
            patience_s=PATIENCE_S,
            returncode=self.returncode,
            signals=self.ladder.signals,
            unkillable=[process.pid for process in unkillable],
        )
        return verdict

    def _evidence(self) -> Evidence:
        return Evidence(
            helped=tuple(self.ladder.signals),
            returncode=self.returncode,
            host_memory=oom.kills() > self._oom_kills,
            **gather(self.run, self.state),
        )

    def _set(self, state: str, **fields: Any) -> None:
        """Write the state. What the disk does not take now is tried again at the next tick."""
        earlier = self._unwritten[1] if self._unwritten else {}
        try:
            self.state = rundir.write_state(self.run, state, **{**earlier, **fields})
            self._unwritten = None
        except OSError:
            self._unwritten = (state, {**earlier, **fields})
            self.state = {**self.state, "state": state, **fields}


def _ending(verb: str) -> Literal["stop", "pause", "cancel"]:
    return "cancel" if verb == "cancel" else "pause" if verb == "pause" else "stop"


def _me() -> Identity:
    return Identity.of(os.getpid())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
