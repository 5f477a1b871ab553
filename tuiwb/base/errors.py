"""The errors that a user may meet, and the exit code of each.

A message is one sentence: what is wrong, where, and what to do. It is shown as it is, so it never holds a
traceback. Anything else that is raised is a bug of ours and goes to the log.
"""

from pathlib import Path
from typing import ClassVar


class TuiwbError(Exception):
    """An error for the user's eyes.

    Args:
        message: one sentence: what is wrong and what to do.
        file: the file at fault, shown before the message.
        line: the line in that file, counted from 1.
        key: the recipe key, column or option at fault.
    """

    exit_code: ClassVar[int] = 4

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line
        self.key = key
        super().__init__(message)

    def __str__(self) -> str:
        place = "" if self.file is None else self.file
        if self.line is not None:
            place += f":{self.line}"
        where = ": ".join(part for part in (place, self.key) if part)
        return f"{where}: {self.message}" if where else self.message

    def to_json(self) -> dict[str, object]:
        """The error as `--json` prints it."""
        return {
            "error": self.message,
            "file": self.file,
            "line": self.line,
            "key": self.key,
            "exit_code": self.exit_code,
        }


class UsageFault(TuiwbError):
    """The command was used wrongly."""

    exit_code = 2


class InputFault(TuiwbError):
    """A recipe, dataset or model that the user gave is at fault."""

    exit_code = 3


class EnvironmentFault(TuiwbError):
    """The machine, disk, network or an installed package is at fault."""

    exit_code = 4


class RunFault(TuiwbError):
    """A run failed."""

    exit_code = 5


def reason_of(error: OSError) -> str:
    """The plain words of an operating system error, such as `No space left on device`."""
    return error.strerror or type(error).__name__
