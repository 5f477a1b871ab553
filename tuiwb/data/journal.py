"""What people did to rows by hand: corrections, verdicts, tags, ratings, comparisons, in a file beside the source.

The source itself is never written. The journal is JSON lines, one change a line, only ever appended to; undo and redo
are lines as well, so that any session can go back on what an earlier one did. A row is named by its number and by a
hash of its bytes: where the source has become another, a change of a row that is no longer there is not applied, and
that is said.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from tuiwb.base import paths
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.data.rows import Value

ENDING = ".edits.jsonl"
_VERSION = 1

Verdict = Literal["accepted", "rejected"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What was done to one row. `value` is the corrected row, None where it stands as in the source."""

    of: str
    """Hash of the row's bytes in the source."""
    value: Value | None = None
    verdict: Verdict | None = None
    tags: tuple[str, ...] = ()
    rating: int | None = None
    """From 1 to 5."""

    @property
    def empty(self) -> bool:
        return self == Mark(self.of)

    @property
    def words(self) -> str:
        """Such as `accepted, corrected, rated 4, tagged odd and look`."""
        corrected = "corrected" if self.value is not None else ""
        rated = f"rated {self.rating}" if self.rating else ""
        tagged = f"tagged {' and '.join(self.tags)}" if self.tags else ""
        return ", ".join(filter(None, (self.verdict, corrected, rated, tagged)))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows whose answers were compared: the numbers of the better and of the worse one."""

    chosen: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the journal: the mark of a row before and after, or a pair that was made."""

    row: int
    before: Mark | None = None
    after: Mark | None = None
    pair: Pair | None = None

    @property
    def words(self) -> str:
        """Such as `row 12 rejected`."""
        if self.pair:
            return f"row {self.pair.chosen:,} preferred to row {self.pair.rejected:,}"
        before, after = self.before or Mark(""), self.after or Mark("")
        if before.value != after.value:
            done = "corrected" if after.value is not None else "as in the source"
        elif before.verdict != after.verdict:
            done = after.verdict or "without a verdict"
        elif before.tags != after.tags:
            done = f"tagged {', '.join(after.tags)}" if after.tags else "without tags"
        else:
            done = f"rated {after.rating}" if after.rating else "without a rating"
        return f"row {self.row:,} {done}"


class Journal:
    """Marks by row number. Safe between threads, and between programs that have the same journal open."""

    def __init__(self, path: Path) -> None:
        """The file is made with the first change.

        Raises:
            InputFault: this is another kind of file.
            EnvironmentFault: it cannot be read.
        """
        self.path = path
        self.marks: dict[int, Mark] = {}
        self.pairs: list[Pair] = []
        self.broken = 0
        """Lines that cannot be read, as a crash may leave one."""
        self._done: list[Change] = []
        self._undone: list[Change] = []
        self._read_to = 0
        self._lock = threading.RLock()
        self.refresh()

    def __len__(self) -> int:
        """Rows that something was done to."""
        return len(self.marks)

    def __bool__(self) -> bool:
        """True, always: an empty journal is one too."""
        return True

    @property
    def last(self) -> Change | None:
        """What `undo` would take back."""
        return self._done[-1] if self._done else None

    @property
    def next(self) -> Change | None:
        """What `redo` would do again."""
        return self._undone[-1] if self._undone else None

    def refresh(self) -> bool:
        """Take in what was written since, by whom ever; true when there was something."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    if os.fstat(file.fileno()).st_size < self._read_to:
                        self._forget()  # another file has taken its place
                    file.seek(self._read_to)
                    new = file.read()
            except FileNotFoundError:
                new = b""
            except OSError as error:
                raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=self.path) from error
            whole = new[: new.rfind(b"\n") + 1]
            for line in whole.splitlines():
                self._take(line, first=self._read_to == 0)
                self._read_to += len(line) + 1
            return bool(whole)

    def change(self, row: int, of: str, make: Callable[[Mark], Mark], *, seen: Value | None = None) -> Change | None:
        """Change the mark of a row.

        Args:
            of: hash of the row's bytes in the source.
            make: from the mark as it is now, whoever made it, to the new one.
            seen: the corrected value that `make` starts from, where it replaces the value.

        Returns:
            the change; None where nothing is different.

        Raises:
            UsageFault: another program has corrected the row in the meantime.
            EnvironmentFault: the journal cannot be written; nothing has changed.
        """
        with self._writing() as append:
            before = self.marks.get(row)
            if before is not None and before.of != of:
                before = None
            after = make(before or Mark(of))
            if after == (before or Mark(of)):
                return None
            if after.value != (before and before.value) and (before and before.value) != seen:
                raise UsageFault(f"row {row:,} was corrected elsewhere in the meantime; look at it again")
            append({"row": row, **_to_json(after)})
            return self.last

    def add_pair(self, pair: Pair) -> None:
        """Keep that one row's answer is better than another's."""
        with self._writing() as append:
            append({"pair": [pair.chosen, pair.rejected]})

    def undo(self) -> Change | None:
        """Take the last change back; None when there is none."""
        with self._writing() as append:
            undone = self.last
            if undone is not None:
                append({"undo": True})
            return undone

    def redo(self) -> Change | None:
        """Do again what was taken back last; None when there is none, or something else was done since."""
        with self._writing() as append:
            done = self.next
            if done is not None:
                append({"redo": True})
            return done

    def digest(self) -> str:
        """Of what decides about training, however it came about: corrections and verdicts."""
        with self._lock:
            marks = [(row, _to_json(replace(self.marks[row], tags=(), rating=None))) for row in sorted(self.marks)]
        return hashlib.blake2b(orjson.dumps(marks, option=_DUMP), digest_size=16).hexdigest()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """The journal to oneself, with all that others wrote taken in; what is appended is durable, or it is undone."""
        with self._lock:
            if not self.path.parent.exists():
                paths.private_folder(self.path.parent)
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                self.refresh()
                yield lambda entry: self._append(handle, entry)
            except OSError as error:
                raise self._unwritable(error) from error
            finally:
                os.close(handle)

    def _append(self, handle: int, entry: dict[str, Any]) -> None:
        end = os.fstat(handle).st_size
        text = b"" if end else orjson.dumps({"journal": _VERSION}) + b"\n"
        if end and os.pread(handle, 1, end - 1) != b"\n":
            text += b"\n"  # a line that a crash cut off
        text += orjson.dumps({**entry, "time": round(time.time(), 3)}, option=_DUMP) + b"\n"
        try:
            if os.write(handle, text) != len(text):
                raise OSError(28, "No space left on device")
            os.fsync(handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, end)
            raise
        self.refresh()

    def _take(self, line: bytes, *, first: bool) -> None:
        try:
            entry = orjson.loads(line)
            if first:
                if entry.get("journal") != _VERSION:
                    raise InputFault("this is no journal of edits that this version can read", file=self.path)
            elif "undo" in entry:
                self._undone.append(self._done.pop())
                self._apply(self._undone[-1], back=True)
            elif "redo" in entry:
                self._done.append(self._undone.pop())
                self._apply(self._done[-1])
            else:
                change = self._change_of(entry)
                self._done.append(change)
                self._undone.clear()
                self._apply(change)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            if first:
                raise InputFault("this is no journal of edits", file=self.path) from error
            self.broken += 1

    def _change_of(self, entry: dict[str, Any]) -> Change:
        if "pair" in entry:
            chosen, rejected = entry["pair"]
            return Change(int(chosen), pair=Pair(int(chosen), int(rejected)))
        row = int(entry["row"])
        return Change(row, self.marks.get(row), _of_json(entry))

    def _apply(self, change: Change, *, back: bool = False) -> None:
        if change.pair:
            if back:
                self.pairs.remove(change.pair)
            else:
                self.pairs.append(change.pair)
            return
        mark = change.before if back else change.after
        if mark is None or mark.empty:
            self.marks.pop(change.row, None)
        else:
            self.marks[change.row] = mark

    def _forget(self) -> None:
        self.marks, self.pairs, self._done, self._undone, self._read_to = {}, [], [], [], 0

    def _unwritable(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(f"the change was not kept: cannot be written ({reason_of(error)})", file=self.path)


_DUMP = orjson.OPT_NON_STR_KEYS


def _to_json(mark: Mark) -> dict[str, Any]:
    entry: dict[str, Any] = {"of": mark.of}
    for name in ("value", "verdict", "rating"):
        if (what := getattr(mark, name)) is not None:
            entry[name] = what
    return {**entry, "tags": list(mark.tags)} if mark.tags else entry


def _of_json(entry: dict[str, Any]) -> Mark:
    value, verdict, rating = entry.get("value"), entry.get("verdict"), entry.get("rating")
    if verdict not in (None, "accepted", "rejected") or not isinstance(value, (dict, type(None))):
        raise ValueError(verdict)
    tags = tuple(str(tag) for tag in entry.get("tags", ()))
    return Mark(str(entry["of"]), value, verdict, tags, None if rating is None else int(rating))


def hash_of(raw: bytes) -> str:
    """The hash by which a row is known again."""
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


def place_of(source: Path) -> Path:
    """Where the journal of a source is, or would be: beside it, or in the data home where that folder cannot be
    written or belongs to the hub's cache."""
    beside = source.with_name(source.name + ENDING)
    cached = source.is_dir() and source.parent.name == "snapshots"
    if beside.exists() or (os.access(source.parent, os.W_OK) and not cached):
        return beside
    where = hashlib.blake2b(str(source.resolve()).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return paths.data_home() / "journals" / f"{source.name}-{where}{ENDING}"


def verdict(what: Verdict | None) -> Callable[[Mark], Mark]:
    """To be given to `change`; the same again takes it back."""
    return lambda mark: replace(mark, verdict=None if mark.verdict == what else what)


def rating(stars: int | None) -> Callable[[Mark], Mark]:
    """As `verdict`, from 1 to 5."""
    if stars is not None and not 1 <= stars <= 5:
        raise UsageFault(f"a rating is from 1 to 5, not {stars}")
    return lambda mark: replace(mark, rating=None if mark.rating == stars else stars)


def tags(names: tuple[str, ...]) -> Callable[[Mark], Mark]:
    """These and no others."""
    return lambda mark: replace(mark, tags=tuple(dict.fromkeys(name for name in names if name)))


def value(corrected: Value | None) -> Callable[[Mark], Mark]:
    """This instead of what the source says; None goes back to the source."""
    return lambda mark: replace(mark, value=corrected)
