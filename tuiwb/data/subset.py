"""Some rows of a source as a file of their own: each as it stands in the source, byte by byte."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.decode import LONGEST_ROW
from tuiwb.data.view import View

_STEP = 1000


def line_of(view: View, number: int) -> bytes:
    """A row as a line of JSON: its own bytes where the source is JSON, and its values elsewhere.

    Raises:
        InputFault: there is no such line: the row cannot be read, or is longer than any that is.
    """
    if view.store.kind.startswith("JSON"):
        raw = view.raw(number, LONGEST_ROW + 1)
        if len(raw) <= LONGEST_ROW:
            return raw.replace(b"\r", b" ").replace(b"\n", b" ")
    row = view.row(number)
    if row.fault is not None:
        raise InputFault(f"row {number:,}: {row.fault.message}", file=view.path, line=row.line)
    return orjson.dumps(row.value, default=str, option=orjson.OPT_NON_STR_KEYS)


def lines_of(view: View, numbers: Iterable[int], task: Task | None = None, total: int | None = None) -> Iterator[bytes]:
    """The lines of rows; those that cannot be one are passed over."""
    for done, number in enumerate(numbers):
        if task and done % _STEP == 0:
            task.step("writing", done, total, "rows")
        with contextlib.suppress(InputFault):
            yield line_of(view, int(number))


def write_lines(output: Path, lines: Iterable[bytes], sources: Iterable[Path], *, force: bool = False) -> int:
    """Write rows as JSON lines or, where `output` ends in .json, as an array.

    Args:
        sources: files that are never written over.

    Returns:
        how many rows were written.

    Raises:
        UsageFault: `output` is a source, or is there already without `force`.
        EnvironmentFault: it cannot be written; an old file is untouched.
    """
    refuse(output, sources, force=force)
    array = output.suffix == ".json"
    written = 0
    try:
        with atomic.replacing(output, mode=0o600) as file:
            for line in lines:
                file.write((b",\n" if written else b"[\n") + line if array else line + b"\n")
                written += 1
            if array:
                file.write(b"\n]\n" if written else b"[]\n")
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=output) from error
    return written


def refuse(output: Path, sources: Iterable[Path], *, force: bool) -> None:
    """See `write_lines`."""
    if not output.exists():
        return
    if output.is_dir():
        raise UsageFault("this is a folder; name a file in it", file=output, key="--output")
    if any(source.exists() and output.samefile(source) for source in sources):
        raise UsageFault("this is the source itself, which is never written over", file=output, key="--output")
    if not force:
        raise UsageFault("this file is there already; name another, or add --force", file=output, key="--output")
