"""Attention of short rows on a CPU that computes in bfloat16: torch's backward pass takes two to four times too long.

Forwards, torch's fused kernel is used. Backwards it works through small blocks, which on rows of 256 tokens and less
cost more than matrix products over the whole row; measured with torch 2.13 on a CPU with units for bfloat16: 23 against
97 ms for 16 rows of 128 tokens, 46 against 71 ms for 8 rows of 256, 121 against 102 ms for 4 of 512. The gradients are
nearer to those of float32 than the kernel's.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# Above this the fused kernel is faster.
LONGEST = 256


def install() -> None:
    """Use it in this process wherever a model asks for `sdpa`; what it is not made for goes to transformers' own."""
    AttentionInterface.register("sdpa", attention_forward)


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """As transformers' `sdpa_attention_forward`."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    special = {name for name, value in more.items() if value is not None and name in ("position_bias", "cache")}
    if special or not causal or attention_mask is not None or dropout or not _is_short(query, key, value):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling=scaling, is_causal=is_causal, **more
        )
    output = _Causal.apply(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling)
    return output.transpose(1, 2).contiguous(), None


def _is_short(query: Tensor, key: Tensor, value: Tensor) -> bool:
    return (
        query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and torch.is_grad_enabled()
        and 1 < query.shape[2] == key.shape[2] <= LONGEST
        and query.shape[-1] == value.shape[-1]
    )


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """
        Args:
            query: (batch, heads, length, width).
            key, value: (batch, key heads, length, width); each serves heads / key heads of the query's.
        """
        groups = query.shape[1] // key.shape[1]
        output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query,
            key.repeat_interleave(groups, 1) if groups > 1 else key,
            value.repeat_interleave(groups, 1) if groups > 1 else value,
            0.0,
            True,
            scale=scaling,
        )
        ctx.save_for_backward(query, key, value, output, logsumexp)
        ctx.scaling = scaling
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """As FlashAttention's backward pass (Dao 2023, algorithm 2), with a row of the batch as the block."""
        query, key, value, output, logsumexp = ctx.saved_tensors
        (outer,) = gradients
        _, heads, length, width = query.shape
        key_heads = key.shape[1]
        rows = heads // key_heads * length
        by_query = torch.empty(query.shape, dtype=query.dtype)
        by_key, by_value = torch.empty(key.shape, dtype=key.dtype), torch.empty(value.shape, dtype=value.dtype)
        # Reused by every row of the batch: new memory of this size costs more than the work in it.
        weights, changes = torch.empty(2, key_heads, rows, length).unbind()
        short_weights, short_changes = torch.empty(2, key_heads, rows, length, dtype=query.dtype).unbind()
        shifts = (outer.float() * output.float()).sum(-1)
        for row in range(len(query)):
            queries, outers = query[row].reshape(key_heads, rows, width), outer[row].reshape(key_heads, rows, width)
            keys, values = key[row].contiguous(), value[row].contiguous()
            # In float32: an exponent that is off by a rounding of bfloat16 would be off by several per cent.
            torch.bmm(queries.float() * ctx.scaling, keys.float().transpose(1, 2), out=weights)
            weights.sub_(logsumexp[row].reshape(key_heads, rows, 1)).exp_()
            weights.view(heads, length, length).tril_()
            short_weights.copy_(weights)
            torch.bmm(short_weights.transpose(1, 2), outers, out=by_value[row])
            torch.bmm(outers, values.transpose(1, 2), out=short_changes)
            changes.copy_(short_changes).sub_(shifts[row].reshape(key_heads, rows, 1)).mul_(weights).mul_(ctx.scaling)
            short_changes.copy_(changes)
            torch.bmm(short_changes, keys, out=by_query[row].view(key_heads, rows, width))
            torch.bmm(short_changes.transpose(1, 2), queries, out=by_key[row])
        return by_query, by_key, by_value, None
