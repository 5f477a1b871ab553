"""One batch with an adapter of its own for each row.

PEFT goes over the adapters in each layer, picks their rows and puts them back: four adapters cost four times what one
does. Here the matrices of all rows are stacked once for a batch, and each layer multiplies them at once.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def mixable(peft: Any, name: str) -> bool:
    """Whether an adapter is plain LoRA on linear layers, which is what can be stacked."""
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    config = peft.peft_config[name]
    if not isinstance(config, LoraConfig) or config.use_dora or config.modules_to_save or config.lora_bias:
        return False
    if getattr(config, "trainable_token_indices", None):
        return False
    layers = [module for module in peft.modules() if isinstance(module, LoraLayer)]
    return all(
        name not in layer.lora_embedding_A
        and (name not in layer.lora_A or type(layer.lora_A[name]) is torch.nn.Linear)
        and name not in getattr(layer, "lora_variant", {})
        for layer in layers
    )


@contextlib.contextmanager
def adapters_of(peft: Any, rows: Sequence[str | None]) -> Iterator[None]:
    """Each row of the batches inside with its adapter, or without one.

    Args:
        rows: names, a `mixable` one for each row.
    """
    from peft.tuners.lora import LoraLayer

    changed = []
    try:
        for layer in peft.modules():
            if isinstance(layer, LoraLayer):
                layer.forward = _forward(layer, rows)
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.forward


def _forward(layer: Any, rows: Sequence[str | None]) -> Callable[..., Any]:
    import torch

    base = layer.get_base_layer()
    here = [name if name in layer.lora_A else None for name in rows]
    known = [name for name in here if name is not None]
    if not known:
        return lambda x, *args, **named: base(x, *args, **named)
    some = layer.lora_A[known[0]].weight
    rank = max(layer.lora_A[name].weight.shape[0] for name in known)
    down = torch.zeros(len(rows), some.shape[1], rank, dtype=some.dtype, device=some.device)
    up = torch.zeros(
        len(rows), rank, layer.lora_B[known[0]].weight.shape[0], dtype=some.dtype, device=some.device
    )  # zeros add nothing: rows without an adapter, and adapters of a smaller rank
    for row, name in enumerate(here):
        if name is not None:
            a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
            down[row, :, : a.shape[0]] = a.T
            up[row, : b.shape[1]] = b.T * layer.scaling[name]

    def forward(x: Any, *args: Any, **named: Any) -> Any:
        """x: (rows, length, in)."""
        result = base(x, *args, **named)
        return (result + torch.bmm(torch.bmm(x.to(down.dtype), down), up)).to(result.dtype)

    return forward
