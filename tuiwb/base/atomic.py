"""Files that are either the old one or the new one, whatever happens in between."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_bytes(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `content`: temporary file, fsync, rename, fsync of the folder.

    Raises:
        OSError: the write failed; the old file is untouched and no temporary file stays.
    """
    with replacing(path, mode=mode) as file:
        file.write(content)


def write_text(path: Path, content: str, *, mode: int = 0o600) -> None:
    write_bytes(path, content.encode(), mode=mode)


def write_json(path: Path, value: object, *, mode: int = 0o600, indent: int | None = None) -> None:
    """As `write_bytes`; the document ends in a newline, so that people can `cat` it."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n", mode=mode)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A binary file to write into, which takes the place of `path` when the block ends well.

    Raises:
        OSError: the write failed; the old file is untouched and no temporary file stays.
    """
    import tempfile  # every verb that only reads would pay for it

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
