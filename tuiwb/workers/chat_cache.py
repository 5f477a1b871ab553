"""Keys and values of conversations: cut, padded into a batch, taken out of it again."""

from dataclasses import dataclass
from typing import Any


def common_prefix(one: list[int], other: list[int]) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def new_cache(model: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def croppable(cache: Any) -> bool:
    """Whether every layer keeps every position: sliding windows and linear attention forget what was cut."""
    from transformers.cache_utils import DynamicLayer

    return cache is not None and all(type(layer) is DynamicLayer for layer in cache.layers)


def merge(rows: list[tuple[Any, int]]) -> Any:
    """One cache of several rows, each padded on the left by its gap. Keys and values: (1, heads, length, size)."""
    import torch
    from torch.nn.functional import pad
    from transformers import DynamicCache

    layers = []
    for parts in zip(*(cache.layers for cache, _ in rows), strict=True):
        keys, values = (
            torch.cat([pad(getattr(part, name), (0, 0, gap, 0)) for part, (_, gap) in zip(parts, rows, strict=True)])
            for name in ("keys", "values")
        )
        layers.append((keys, values))
    return DynamicCache(layers)


def copied(cache: Any, length: int) -> Any:
    """The first positions of a cache of one row, as memory of its own."""
    from transformers import DynamicCache

    return DynamicCache(
        [(layer.keys[:, :, :length].clone(), layer.values[:, :, :length].clone()) for layer in cache.layers]
    )


def split(cache: Any, model: Any, row: int, start: int, end: int) -> Any:
    """The cache of one row, positions `start` to `end`, as memory of its own."""
    from transformers import DynamicCache

    return DynamicCache(
        [
            (layer.keys[row : row + 1, :, start:end].clone(), layer.values[row : row + 1, :, start:end].clone())
            for layer in cache.layers
        ],
        config=model.config,
    )


@dataclass
class Kept:
    """Keys and values of exactly the tokens `ids`, of which the last `answer` are the model's own."""

    cache: Any
    ids: list[int]
    answer: int = 0


class Shelf:
    """The conversations of one lane whose keys and values are kept, the one that was used last at the end.

    Args:
        room: how many.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: list[Kept] = []

    def take(self, prompt: list[int], others: list[Kept]) -> tuple[Kept, int] | None:
        """What is known of a prompt, but for its last token at least.

        A conversation that goes on, or whose last answer is asked for again, is taken out. Where only the beginning is
        shared (a system prompt, an earlier turn), that is copied and the other conversation stays.

        Args:
            others: further ones to copy from.

        Returns:
            keys and values, cut to what is shared, and how many tokens that is; None when nothing is.
        """
        best, shared, mine = None, 0, False
        for number, kept in enumerate([*self._kept, *others]):
            length = min(common_prefix(kept.ids, prompt), len(prompt) - 1)
            if length > shared and croppable(kept.cache):
                best, shared, mine = kept, length, number < len(self._kept)
        if best is None:
            return None
        surplus = len(best.ids) - shared
        if mine and surplus <= best.answer + 1:
            self._kept.remove(best)
            if surplus:
                best.cache.crop(-surplus)
            best.ids = best.ids[:shared]
            return best, shared
        return Kept(copied(best.cache, shared), best.ids[:shared]), shared

    def put(self, kept: Kept) -> None:
        """Keep it; the one that was not used for longest goes."""
        self._kept.append(kept)
        del self._kept[: max(len(self._kept) - self._room, 0)]
