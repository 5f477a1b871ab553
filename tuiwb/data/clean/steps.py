"""What a cleaning step is: a name with typed settings, and how it judges one row.

A step that looks at one row at a time is a `RowStep` (`limits`, `rules`); one that compares rows is in `compare` and
`semantic`. `lists` reads and writes lists of them.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from tuiwb.data.clean.texts import Texts
from tuiwb.data.rows import Value

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Judgement(NamedTuple):
    """What a step says of a row. `near` says how near one that stays is to being left out: 1 is at the limit."""

    flagged: bool
    why: Callable[[], str]
    near: float = 0.0


def _nothing() -> str:
    return ""


STAYS = Judgement(False, _nothing)
Judge = Callable[[Texts], Judgement]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a list. Its fields are its settings."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def check(self) -> str:
        """What is wrong with the settings together, or nothing."""
        return ""

    def words(self) -> str:
        """The step on one line, such as `words (min 10, max 2000)`."""
        settings = msgspec.to_builtins(self)
        inside = ", ".join(f"{key} {_shown(value)}" for key, value in settings.items())
        return f"{self.name} ({inside})" if inside else self.name


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class RowStep(Step, frozen=True, kw_only=True):
    """A step that looks at one row at a time."""

    def judge(self) -> Judge:
        """The function that judges a row; made once for all rows.

        Raises:
            EnvironmentFault: a library, model or file that it needs is not there.
            InputFault: a file that it reads is at fault.
        """
        raise NotImplementedError

    def change(self) -> Callable[[Value], Value] | None:
        """For a step that changes rows instead of leaving them out: the function; it returns the same object where
        there is nothing to change."""
        return None


def changes(steps: tuple[Step, ...]) -> Callable[[Value], Value] | None:
    """All changes that steps make to a row, one after the other; None where they make none."""
    made: list[Callable[[Value], Value]] = []
    for step in steps:
        change = step.change() if isinstance(step, RowStep) else None
        if change is not None:
            made.append(change)
    if not made:
        return None

    def change_all(value: Value) -> Value:
        for change in made:
            value = change(value)
        return value

    return change_all
