"""What a check says."""

from typing import Literal

from msgspec import Struct

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


class Check(Struct, frozen=True):
    """One finding on a recipe before it runs. An error keeps it from being launched.

    Attributes:
        key: the recipe key at fault, or empty.
        message: what is wrong, in one sentence.
        fix: what to do, such as `method: lora`; empty when there is nothing to do.
    """

    level: Level
    key: str
    message: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        return {"level": self.level, "key": self.key, "message": self.message, "fix": self.fix}


def error(key: str, message: str, fix: str = "") -> Check:
    return Check("error", key, message, fix)


def warning(key: str, message: str, fix: str = "") -> Check:
    return Check("warning", key, message, fix)


def note(key: str, message: str, fix: str = "") -> Check:
    return Check("note", key, message, fix)
