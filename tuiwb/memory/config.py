"""A config.json, read key by key: what is missing or absurd is refused with the key's name."""

from collections.abc import Mapping
from typing import Any

from tuiwb.base.errors import InputFault

MOST = 10**9
# Whole numbers that a builder takes as they are: the least that makes sense of each.
_COUNTS = {
    "attn_layer_offset": 0, "attn_layer_period": 1, "decoder_sparse_step": 1, "expansion_ratio": 1,
    "expert_layer_offset": 0, "expert_layer_period": 1, "first_k_dense_replace": 0, "max_position_embeddings": 1,
    "max_window_layers": 0, "n_positions": 1, "n_shared_experts": 0, "num_ln_in_parallel_attn": 1,
    "shared_intermediate_size": 0, "sliding_window": 0, "sliding_window_pattern": 1,
}  # fmt: skip
_LISTS: dict[str, type] = {"architectures": str, "layer_types": str, "mlp_only_layers": int}
# Where one of these is left out, models differ in what that means: what is taken is shown among the assumptions.
_TOLD = frozenset(("num_key_value_heads", "tie_word_embeddings", "n_shared_experts", "first_k_dense_replace"))


class Config:
    """A config.json whose missing and absurd values are refused with the key's name.

    Attributes:
        assumed: a sentence for each value that the configuration leaves out and that is not the same for all models.

    Raises:
        InputFault: a key that is there holds what no model has.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source
        self.assumed: dict[str, str] = {}
        for key, least in _COUNTS.items():
            value = values.get(key)
            if value is not None and not _is_whole(value, least):
                raise self._absurd(key, value, f"a whole number from {least:,}")
        for key, kind in _LISTS.items():
            value = values.get(key)
            if value is not None and not (isinstance(value, list) and all(type(one) is kind for one in value)):
                raise self._absurd(key, value, f"a list of {'names' if kind is str else 'whole numbers'}")
        kinds, layers = values.get("layer_types"), values.get("num_hidden_layers")
        if kinds and isinstance(layers, int) and len(kinds) < layers:
            raise InputFault(f"names {len(kinds)} layers of {layers:,}", file=source, key="layer_types")

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        value = self.values.get(key)
        if value is None:
            self._assume(key, default)
        return default if value is None else value

    def integer(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there, as a positive whole number."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if not _is_whole(value, 1):
                raise self._absurd(key, value, "a positive whole number")
            return int(value)
        if default is not None:
            self._assume(keys[0], default)
            return default
        raise InputFault(
            "the configuration does not say this, so the memory cannot be computed", file=self.source, key=keys[0]
        )

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self._absurd(key, value, "true or false")
        return value

    def pattern(self, length: int, *, windowed: str = "sliding_attention") -> list[bool]:
        """Which layers have a sliding window, from `layer_types`."""
        kinds = self.get("layer_types")
        if isinstance(kinds, list) and len(kinds) >= length:
            return [kind == windowed for kind in kinds[:length]]
        return [False] * length

    def _assume(self, key: str, value: object) -> None:
        if key in _TOLD:
            word = str(value).lower() if isinstance(value, bool) else value if value is not None else "none"
            self.assumed[key] = f"the configuration leaves {key} out: {word} is taken"

    def _absurd(self, key: str, value: object, wanted: str) -> InputFault:
        text = repr(value)
        text = text if len(text) <= 40 else f"{text[:39]}…"
        return InputFault(f"{text} is not a possible value of a model: expected {wanted}", file=self.source, key=key)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < MOST
