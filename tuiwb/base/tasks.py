"""Long work that reports how far it is and stops when asked.

A room's slow function takes `task: Task`; it calls `task.step(...)` as often as it likes, which is cheap and raises
`Cancelled` once somebody asked for the end. The screen runs it in a thread and polls `task.progress` (latest wins).
"""

import threading

from msgspec import Struct

from tuiwb.base.errors import TuiwbError


class Cancelled(TuiwbError):
    """The user stopped it."""

    exit_code = 130

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)


class Progress(Struct, frozen=True):
    """How far a task is. `total` is None while it is unknown; `unit` is `bytes`, `rows`, `tokens` or `steps`."""

    doing: str = ""
    done: int = 0
    total: int | None = None
    unit: str = ""


class Task:
    """The handle that the asker and the worker share. Safe between threads."""

    def __init__(self) -> None:
        self._cancel = threading.Event()
        self.progress = Progress()

    def cancel(self) -> None:
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        return self._cancel.is_set()

    def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        """Say how far the work is.

        Raises:
            Cancelled: the asker wants it to end.
        """
        self.progress = Progress(doing, done, total, unit)
        if self._cancel.is_set():
            raise Cancelled(f"{doing} was cancelled")
