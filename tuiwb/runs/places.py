"""The waiting runs of this machine: one file each in the runtime folder, locked by the wrapper that waits.

Nobody serves the queue. Each waiting wrapper looks who is before it and takes its GPUs itself when it is its turn.
"""

import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tuiwb.base import paths
from tuiwb.runs.leases import read_in_place, write_in_place


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run waits for.

    Attributes:
        since: unix time at which it began to wait.
        count: how many GPUs.
        among: UUIDs of those that will do, the preferred ones first.
        ready: whether only GPUs are lacking: it is not held, and the runs it comes after have ended.
    """

    run_id: str
    priority: int
    since: float
    count: int
    among: tuple[str, ...]
    ready: bool = True

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorts by who goes first."""
        return (-self.priority, self.since, self.run_id)


@dataclass(frozen=True, slots=True)
class Decision:
    """Either the GPUs to take, or why to wait."""

    take: tuple[str, ...] = ()
    wait: str = ""


def decide(mine: Wish, others: Sequence[Wish], busy: Mapping[str, str], names: Mapping[str, str]) -> Decision:
    """Whether it is our turn.

    A run goes as soon as enough of its GPUs are free and no run before it waits for any of the same GPUs. A run that
    needs many is so never overtaken for ever by runs that need few.

    Args:
        others: the other waiting runs.
        busy: for each GPU that cannot be taken, why.
        names: what to call a GPU, such as `GPU 0`.
    """
    before = [wish for wish in others if wish.ready and wish.rank < mine.rank and set(wish.among) & set(mine.among)]
    if before:
        first = min(before, key=lambda wish: wish.rank)
        why = f" with priority {first.priority}" if first.priority > mine.priority else ""
        return Decision(wait=f"waits behind {first.run_id}{why}")
    free = [uuid for uuid in mine.among if uuid not in busy]
    if len(free) >= mine.count:
        return Decision(take=tuple(free[: mine.count]))
    reasons = "; ".join(f"{names.get(uuid, uuid)} {busy[uuid]}" for uuid in mine.among if uuid in busy)
    wanted = "a GPU" if mine.count == 1 else f"{mine.count} GPUs"
    return Decision(wait=f"waits for {wanted}: {reasons}" if reasons else f"waits for {wanted}")


class Place:
    """Our place among the waiting. Close it to leave."""

    def __init__(self, wish: Wish) -> None:
        self.path = _folder() / f"{wish.run_id}.json"
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        self._wish: Wish | None = None
        self.update(wish)

    def update(self, wish: Wish) -> None:
        if wish != self._wish:
            self._wish = wish
            write_in_place(self.handle, asdict(wish))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self.handle)


def waiting(*, without: str = "") -> list[Wish]:
    """The runs that wait, first come first. Files that a killed wrapper left do not count."""
    found = []
    for path in _folder().glob("*.json"):
        if path.stem == without:
            continue
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            value = read_in_place(handle)
            with contextlib.suppress(TypeError):
                wish = Wish(**value)
                found.append(replace(wish, among=tuple(wish.among)))
        finally:
            os.close(handle)
    return sorted(found, key=lambda wish: wish.rank)


def _folder() -> Path:
    return paths.private_folder(paths.runtime_folder() / "queue")
