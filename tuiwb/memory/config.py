"""A config.json, read key by key: what is missing or absurd is refused with the key's name."""

from collections.abc import Mapping
from typing import Any

from tuiwb.base.errors import InputFault


class Config:
    """A config.json whose missing and absurd values are refused with the key's name."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there, as a positive whole number."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**9:
                raise InputFault(
                    f"{value!r} is not a possible value of a model: expected a positive whole number",
                    file=self.source,
                    key=key,
                )
            return value
        if default is not None:
            return default
        raise InputFault(
            "the configuration does not say this, so the memory cannot be computed", file=self.source, key=keys[0]
        )

    def flag(self, key: str, default: bool = False) -> bool:
        return bool(self.get(key, default))

    def pattern(self, length: int, *, windowed: str = "sliding_attention") -> list[bool]:
        """Which layers have a sliding window, from `layer_types`."""
        kinds = self.get("layer_types")
        if isinstance(kinds, list) and len(kinds) >= length:
            return [kind == windowed for kind in kinds[:length]]
        return [False] * length
