"""Files of JSON lines: one write() appends a line, and readers follow by offset.

Numbers that JSON does not have are written as the strings `"NaN"`, `"Infinity"` and `"-Infinity"` (as protobuf's JSON
mapping does), so that every line is valid JSON; `JsonlTail` and `read_all` give them back as floats.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BLOCK = 1 << 22
_GUARD = 64
_TAIL = 1 << 14


def encode(value: Mapping[str, Any]) -> bytes:
    """One line. Numbers of numpy and torch become plain ones, anything unknown its text."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(strict(value), ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "replace") + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """The object on a line, or None if the line is broken."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return revived(value) if isinstance(value, dict) else None


def revived(value: dict[str, Any]) -> dict[str, Any]:
    """The same object, with floats for the names of the numbers that JSON lacks."""
    for key, item in value.items():
        if type(item) is str and item in _NOT_FINITE:
            value[key] = _NOT_FINITE[item]
    return value


def strict(value: Any) -> Any:
    """`value` with every number that JSON lacks as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


BOOKKEEPING = frozenset(
    (
        "time",
        "attempt",
        "current_steps",
        "total_steps",
        "percentage",
        "elapsed_time",
        "remaining_time",
        "elapsed_s",
        "remaining_s",
        "total_tokens",
        "trained_tokens",
        "epoch",
        "throughput",
        "eval_tokens",
    )
)
"""Keys of a line of metrics.jsonl that say where and when it was written, not how well the model does: no curves.

`throughput` is `tokens_per_s` under the name that LLaMA-Factory gives it.
"""


class MetricsWriter:
    """Appends lines to one file that nobody else writes. Never raises for a full disk: what did not fit is kept and
    goes out with a later line, so that a metric is late rather than lost.

    Args:
        path: the file; created with its folder. A line that an earlier attempt left torn is ended first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending = b""
        self._handle = -1
        self._open()

    def write(self, value: Mapping[str, Any]) -> bool:
        """Append one line with one write().

        Returns:
            whether everything so far has reached the file.
        """
        self._pending += encode(value)
        return self.flush()

    def flush(self) -> bool:
        """Try again to write what is pending."""
        try:
            if self._handle < 0:
                self._open()
            while self._pending:
                self._pending = self._pending[os.write(self._handle, self._pending) :]
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.flush()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        if _torn(self._handle):
            self._pending = b"\n" + self._pending


def append_line(path: Path, value: Mapping[str, Any]) -> bool:
    """Append one line to a file that several processes append to.

    Returns:
        False if it did not fit or could not be opened; a run never dies of that.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        line = (b"\n" if _torn(handle) else b"") + encode(value)
        return os.write(handle, line) == len(line)
    except OSError:
        return False
    finally:
        os.close(handle)


class JsonlTail:
    """Follows a file by offset.

    Attributes:
        offset: bytes consumed; give it to a new tail to go on there.
        skipped: broken lines so far.
        restarts: how often the file was truncated or replaced; the reader then starts again at 0, and whoever keeps
            what was read before should forget it.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.skipped = 0
        self.restarts = 0
        self._file: tuple[int, int] | None = None
        self._guard = b""

    def read(self, max_bytes: int | None = None) -> list[dict[str, Any]]:
        """The complete lines since the last call; a torn last line waits for its end.

        Args:
            max_bytes: stop after about so many bytes; `more` then says whether to call again.
        """
        values = []
        for line in self.read_lines(max_bytes):
            if (value := decode(line)) is not None:
                values.append(value)
            elif line.strip():
                self.skipped += 1
        return values

    def read_lines(self, max_bytes: int | None = None) -> list[bytes]:
        """As `read`, but the lines as they stand in the file, for who has a faster parser and much to read."""
        lines: list[bytes] = []
        try:
            status = self.path.stat()
            if self._file == (status.st_dev, status.st_ino) and status.st_size == self.offset:
                return lines
            with self.path.open("rb", buffering=0) as file:
                self._check(file.fileno())
                self._consume(file.fileno(), lines, max_bytes)
        except FileNotFoundError:
            if self._file is not None:
                self._restart(None)
        except OSError:
            pass  # a share that is away for a moment: the next call finds the same offset
        return lines

    @property
    def more(self) -> bool:
        """Whether the file has bytes that were not consumed (a torn line counts)."""
        try:
            return self.path.stat().st_size > self.offset
        except OSError:
            return False

    def _check(self, handle: int) -> None:
        status = os.fstat(handle)
        known, size = (status.st_dev, status.st_ino), status.st_size
        replaced = self._file is not None and self._file != known
        if not replaced and size >= self.offset:
            replaced = os.pread(handle, len(self._guard), self.offset - len(self._guard)) != self._guard
        if replaced or size < self.offset:
            self._restart(known)
        self._file = known

    def _restart(self, known: tuple[int, int] | None) -> None:
        self.offset = 0
        self.restarts += 1
        self._guard = b""
        self._file = known

    def _consume(self, handle: int, lines: list[bytes], max_bytes: int | None) -> None:
        block = _BLOCK if max_bytes is None else min(_BLOCK, max_bytes)
        rest = b""
        while chunk := os.pread(handle, block, self.offset + len(rest)):
            rest += chunk
            end = rest.rfind(b"\n") + 1
            if end:
                lines += rest[: end - 1].split(b"\n")
                self.offset += end
                self._guard = (self._guard + rest[max(0, end - _GUARD) : end])[-_GUARD:]
                rest = rest[end:]
                if max_bytes is not None:
                    break


def read_all(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a file; an absent file has none."""
    return JsonlTail(path).read()


def last_line(path: Path) -> dict[str, Any] | None:
    """The newest complete and sound line, read from the end of the file."""
    lines = last_lines(path, 1)
    return lines[-1] if lines else None


def last_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """At most `count` newest complete and sound lines, oldest first."""
    found: list[dict[str, Any]] = []
    try:
        with path.open("rb", buffering=0) as file:
            end, size = file.seek(0, os.SEEK_END), _TAIL
            while True:
                start = max(end - size, 0)
                # Before the first newline may be the rest of a line, behind the last one a torn line.
                lines = os.pread(file.fileno(), end - start, start).split(b"\n")[1 if start else 0 : -1]
                if start == 0 or len(lines) > count:
                    break
                size *= 8
    except OSError:
        return found
    for line in reversed(lines):
        if (value := decode(line)) is not None:
            found.append(value)
            if len(found) == count:
                break
    return found[::-1]


def offset_of_last(path: Path, count: int) -> int:
    """Where the last `count` complete lines begin, found from the end of the file: 0 if there are fewer."""
    try:
        with path.open("rb", buffering=0) as file:
            position = file.seek(0, os.SEEK_END)
            newlines = 0
            while position > 0:
                size = min(1 << 16, position)
                position -= size
                block = os.pread(file.fileno(), size, position)
                found = block.count(b"\n")
                if newlines + found > count:
                    # The line begins after the newline that is number count + 1 from the end.
                    at = len(block)
                    for _ in range(count + 1 - newlines):
                        at = block.rindex(b"\n", 0, at)
                    return position + at + 1
                newlines += found
    except OSError:
        pass
    return 0


def _torn(handle: int) -> bool:
    """Whether the file's last line lacks its end."""
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        number = value.item()
        return strict(number) if isinstance(number, float) else number
    return str(value)
