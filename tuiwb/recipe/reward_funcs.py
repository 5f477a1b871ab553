"""How `reward_funcs` are written: `length:200`, `regex:PATTERN`, `exact:COLUMN`, `judge:ENDPOINT`, `my.py:function`."""

from dataclasses import dataclass
from typing import Literal

from tuiwb.base.errors import InputFault
from tuiwb.base.pattern import compiled

_KEY = "reward_funcs"


@dataclass(frozen=True, slots=True)
class RewardFunc:
    """One function that scores answers.

    Attributes:
        kind: `length` (argument: tokens), `regex` (a pattern), `exact` (a column, or empty for the row's own answer),
            `judge` (an endpoint), `python` (a file, and the name of its function).
    """

    kind: Literal["length", "regex", "exact", "judge", "python"]
    argument: str
    function: str = ""

    @property
    def name(self) -> str:
        """Its name among the metrics."""
        return self.function or self.kind


def parse_reward(text: str) -> RewardFunc:
    """Read one of `reward_funcs`.

    Raises:
        InputFault: it is none; with the forms that are.
    """
    kind, _, argument = text.partition(":")
    match kind:
        case "length" if argument.isdecimal() and int(argument):
            return RewardFunc("length", argument)
        case "length":
            raise InputFault(f"{text} names no length; write the wanted tokens, such as length:200", key=_KEY)
        case "regex":
            compiled(argument, key=_KEY, whole=True)
            return RewardFunc("regex", argument)
        case "exact":
            return RewardFunc("exact", argument)
        case "judge" if argument:
            return RewardFunc("judge", argument)
    file, _, function = text.rpartition(":")
    if file.endswith(".py") and function.isidentifier():
        return RewardFunc("python", file, function)
    raise InputFault(
        f"{text} is no reward; write length:TOKENS, regex:PATTERN, exact:COLUMN, judge:ENDPOINT or FILE.py:FUNCTION",
        key=_KEY,
    )
