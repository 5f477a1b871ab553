"""The lock of a run: flock(2) on its `lock` file, held by its wrapper for the wrapper's whole life.

The kernel gives it back when the last descriptor goes, whatever killed the holder. The lock belongs to the open file,
so whoever launches a run takes it and hands the descriptor to the wrapper: there is no moment without a holder.
"""

import fcntl
import os
import time
from pathlib import Path

from tuiwb.rundir import RunDir

_UNLINKED = (".nfs", ".fuse_hidden")
"""How file systems name a file that was deleted while it is open, where they cannot do without a name."""


def take(run: RunDir, *, wait_s: float = 0.5) -> int | None:
    """Take the lock. Closing the descriptor (or the end of the process) gives it back.

    Args:
        wait_s: how long to try: whoever only looks at a lock holds it for an instant.

    Returns:
        a descriptor that children do not inherit, or None if another process has the lock.

    Raises:
        OSError: there is no such run directory, or it cannot be written to.
    """
    handle = os.open(run.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                return None
            time.sleep(0.02)
        except BaseException:
            os.close(handle)
            raise


def held(run: RunDir) -> bool:
    """Whether some process has the lock now."""
    try:
        handle = os.open(run.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def gone(run: RunDir, handle: int) -> bool:
    """Whether the run's folder was deleted behind the back of the lock's holder. A folder that was renamed is not gone,
    nor one whose lock alone was removed, nor one on a share that is away."""
    try:
        if run.job_file.exists():
            return False
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        return os.fstat(handle).st_nlink == 0 or name.startswith(_UNLINKED)
    except OSError:
        return False
