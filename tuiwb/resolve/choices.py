"""A recipe on its way to being complete: each value that is chosen comes with the reason."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from tuiwb.recipe import Launch, Recipe


class Resolved(Struct, frozen=True):
    """A complete recipe.

    Attributes:
        recipe: every key has a value that this stage and method make use of.
        reasons: why each value was chosen that the recipe did not state, by key (`launch.gpus` for nested ones).
        stated: the recipe as it was given.
    """

    recipe: Recipe
    reasons: Mapping[str, str] = field(default_factory=dict)
    stated: Recipe = field(default_factory=Recipe)


class Choices:
    """Collects values and reasons. `now` is the recipe as far as it is complete."""

    def __init__(self, recipe: Recipe) -> None:
        self.stated = recipe
        self.now = recipe
        self.reasons: dict[str, str] = {}

    def fill(self, key: str, value: Any, reason: str) -> None:
        """Give `key` a value if the recipe leaves it out."""
        if getattr(self.now, key) is None:
            self.settle(key, value, reason)

    def settle(self, key: str, value: Any, reason: str) -> None:
        """Give `key` this value whatever the recipe says; only for another name of the same thing."""
        self.now = msgspec.structs.replace(self.now, **{key: value})
        self.reasons[key] = reason

    def fill_launch(self, key: str, value: Any, reason: str, *, instead_of: tuple[Any, ...] = (None,)) -> None:
        """As `fill`, for a key of `launch`."""
        launch = self.now.launch or Launch()
        if getattr(launch, key) in instead_of:
            launch = msgspec.structs.replace(launch, **{key: value})
            self.now = msgspec.structs.replace(self.now, launch=launch)
            self.reasons[f"launch.{key}"] = reason

    def done(self) -> Resolved:
        return Resolved(self.now, self.reasons, self.stated)
