"""Rows from a pipe: kept in a file that is deleted when this process ends, so that they can be reached by number."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from tuiwb.base import paths, settings
from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of

_BLOCK = 1 << 20
_spooled: set[str] = set()


def spooled(stream: BinaryIO) -> Path:
    """The file with all that the stream holds.

    Raises:
        InputFault: the stream is empty, or a terminal.
        EnvironmentFault: the disk is full.
    """
    if stream.isatty():
        raise InputFault("- reads rows from a pipe, and there is none", file="standard input")
    folder = Path(tempfile.mkdtemp(prefix="stdin-", dir=paths.private_folder(settings.cache_root() / "unpacked")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        first = stream.read(_BLOCK)
        if not first.strip():
            raise InputFault("there are no rows", file="standard input")
        path = folder / f"stdin{_ending(first)}"
        with path.open("wb") as file:
            file.write(first)
            shutil.copyfileobj(stream, file, _BLOCK)
    except OSError as error:
        raise EnvironmentFault(f"stdin cannot be kept ({reason_of(error)})", file=folder) from error
    _spooled.add(str(path))
    return path


def name_of(path: str | Path) -> str:
    """What a path is called where people read it."""
    return "standard input" if str(path) in _spooled else str(path)


def _ending(first: bytes) -> str:
    """What a file of that beginning would be called."""
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[", b"PAR1", b"ARROW1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh")):
        return ""
    lines = text.splitlines()[:2]
    for delimiter, ending in ((b"\t", ".tsv"), (b",", ".csv")):
        if len(lines) == 2 and lines[0].count(delimiter) and lines[0].count(delimiter) <= lines[1].count(delimiter):
            return ending
    return ".txt"
