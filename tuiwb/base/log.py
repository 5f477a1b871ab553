"""The log: tracebacks and library warnings go here, never to the user's screen."""

import logging
import traceback
from pathlib import Path

from tuiwb.base import paths


def logger(name: str) -> logging.Logger:
    """A logger whose records reach the log file once `start` was called."""
    return logging.getLogger(f"tuiwb.{name}")


def start() -> None:
    """Send our records and Python's warnings to the log file (1 MB, one old file kept). A log that cannot be written
    is no reason not to work."""
    root = logging.getLogger("tuiwb")
    if root.handlers:
        return
    from logging.handlers import RotatingFileHandler  # not worth 2 ms of every start

    try:
        paths.private_folder(paths.log_file().parent)
        handler: logging.Handler = RotatingFileHandler(paths.log_file(), maxBytes=1_000_000, backupCount=1)
    except Exception:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.propagate = False
    logging.captureWarnings(capture=True)
    warnings = logging.getLogger("py.warnings")
    warnings.addHandler(handler)
    warnings.propagate = False


def log_bug(error: BaseException) -> Path:
    """Write the traceback of an unexpected error to the log.

    Returns:
        the log file.
    """
    start()
    logger("bug").error("%s", "".join(traceback.format_exception(error)))
    return paths.log_file()
