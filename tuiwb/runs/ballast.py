"""Space that a live run keeps back, so that its end can be written on a disk that others have filled."""

import contextlib
import os

from tuiwb.rundir import RunDir

BYTES = 1 << 20


def load(run: RunDir) -> None:
    """Take the space.

    Raises:
        OSError: there is none.
    """
    handle = os.open(run.ballast_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, BYTES)
    finally:
        os.close(handle)


def drop(run: RunDir) -> None:
    """Give it up."""
    with contextlib.suppress(OSError):
        run.ballast_file.unlink()
