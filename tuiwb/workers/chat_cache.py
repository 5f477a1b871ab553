"""Keys and values of conversations: cut, padded into a batch, taken out of it again."""

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
