"""A room's slow function in a thread, its result as a message. Nothing here may take the event loop's time.

`start(name, work, done, failed)` runs `work(task)` in a daemon thread, so that leaving the workbench never waits for
it, and posts `JobDone`. The handler, in the event loop, calls `done(value)` or `failed(error)`. The latest job of a
name wins: starting it again cancels the one before, whose result is dropped. `work` gets a `Task`: it reports progress
through it and ends early when it was cancelled; it never touches a widget.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from textual.message import Message
from textual.message_pump import MessagePump

from tuiwb.base.errors import TuiwbError
from tuiwb.base.log import log_bug
from tuiwb.base.tasks import Cancelled, Task

T = TypeVar("T")

_SWITCH_S = 0.001
"""How long a thread may keep the interpreter while the event loop wants it; five times as long is Python's own choice,
and an event waits for it several times until it is drawn."""


@dataclass
class JobDone(Message, bubble=False):
    """A job ended. `error` is None when it ended well."""

    job: str
    task: Task
    value: object
    error: TuiwbError | None


@dataclass(frozen=True, slots=True)
class _Job:
    task: Task
    keep: bool
    done: Callable[[Any], None]
    failed: Callable[[TuiwbError], None]


class JobHost(MessagePump):
    """Mixed into the app and into the screens."""

    _jobs: dict[str, _Job] | None = None

    def start(
        self,
        name: str,
        work: Callable[[Task], T],
        done: Callable[[T], None],
        failed: Callable[[TuiwbError], None] | None = None,
        *,
        keep: bool = False,
    ) -> Task:
        """Run `work` in a thread.

        Args:
            name: the latest job of this name wins.
            done: gets the result, in the event loop.
            failed: gets the error, in the event loop; without it the error is shown as a toast.
            keep: go on when another screen is shown (a download); otherwise leaving the screen cancels it.

        Returns:
            the task: poll its `progress`, or `cancel` it.
        """
        if self._jobs is None:
            self._jobs = {}
        self.cancel(name)
        sys.setswitchinterval(_SWITCH_S)
        task = Task()
        self._jobs[name] = _Job(task, keep, done, failed or self.job_failed)
        threading.Thread(target=self._run, args=(name, task, work), name=f"tuiwb {name}", daemon=True).start()
        return task

    def cancel(self, name: str) -> None:
        """Ask a job to end; its result will not be seen."""
        if self._jobs and (job := self._jobs.pop(name, None)):
            job.task.cancel()

    def cancel_jobs(self, *, kept: bool = False) -> None:
        """Ask all jobs to end, those with `keep` only when `kept`."""
        for name, job in list((self._jobs or {}).items()):
            if kept or not job.keep:
                self.cancel(name)

    def task_of(self, name: str) -> Task | None:
        """The task of a job that is under way."""
        job = (self._jobs or {}).get(name)
        return job.task if job else None

    def kept_jobs(self) -> list[str]:
        """The names of the jobs under way that leaving the workbench would cut off."""
        return [name for name, job in (self._jobs or {}).items() if job.keep]

    def job_failed(self, error: TuiwbError) -> None:
        """What becomes of an error that nobody handles."""
        raise NotImplementedError

    def _run(self, name: str, task: Task, work: Callable[[Task], object]) -> None:
        value: object = None
        error: TuiwbError | None = None
        try:
            value = work(task)
        except TuiwbError as fault:
            error = fault
        except Exception as bug:
            place = log_bug(bug)
            error = TuiwbError(f"this is a bug in tuiwb ({type(bug).__name__}); details are in {place}")
        self.post_message(JobDone(name, task, value, error))

    def on_job_done(self, message: JobDone) -> None:
        job = (self._jobs or {}).get(message.job)
        if job is None or job.task is not message.task:
            return
        assert self._jobs is not None
        del self._jobs[message.job]
        if message.error is None:
            job.done(message.value)
        elif not isinstance(message.error, Cancelled):
            job.failed(message.error)
