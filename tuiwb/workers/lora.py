"""LoRA layers that add their part in place.

PEFT computes `x W + scaling * (x A) B` as five operations, of which three pass over a tensor as large as the layer's
output, forwards and backwards; and with a bfloat16 base it takes x to the adapter's float32, from where autocast takes
it back. Here the small product is added by the matrix product itself, in the type of the base. A base in 4 bits is put
together in each pass, straight into that type, or once for all where the copy is small beside the machine's memory. The
numbers are the same up to rounding.
"""

import math
import sys
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from tuiwb import hardware
from tuiwb.memory.kernels import KEPT_SHARE


def fuse_lora(model: torch.nn.Module) -> int:
    """Speed up the LoRA layers of a PeftModel that are plain: on the CPU, one adapter in float32, a base in float32,
    bfloat16 or 4 bits, no dropout, no DoRA.

    Returns:
        how many there are.
    """
    kinds = _kinds()
    plain = [layer for layer in model.modules() if type(layer) in kinds and _is_plain(layer)]
    for layer in plain:
        layer.forward = MethodType(_forward, layer)
    _keep(plain)
    return len(plain)


def kept_bytes(model: torch.nn.Module) -> int:
    """What the copies of a 4-bit base take that are kept in what is computed in; 0 where there are none."""
    return sum(layer.kept.nbytes for layer in model.modules() if getattr(layer, "kept", None) is not None)


def _keep(layers: list[Any]) -> None:
    """Put 4-bit weights together once for all, where that takes next to nothing of this machine's memory."""
    quantized = [layer for layer in layers if _state(layer.base_layer) is not None]
    bases = [layer.base_layer for layer in quantized]
    needed = sum(math.prod(_state(base).shape) * base.compute_dtype.itemsize for base in bases)
    if needed > KEPT_SHARE * hardware.host().memory_available:
        return
    for layer, base in zip(quantized, bases, strict=True):
        layer.kept = _matrix(base.weight, _state(base), base.compute_dtype)


def _kinds() -> tuple[type, ...]:
    from peft.tuners.lora import layer

    # Only there where bitsandbytes is.
    quantized = getattr(sys.modules.get("peft.tuners.lora.bnb"), "Linear4bit", None)
    return (layer.Linear,) if quantized is None else (layer.Linear, quantized)


def _is_plain(layer: Any) -> bool:
    if len(layer.active_adapters) != 1 or layer.lora_variant or not _has_plain_base(layer.base_layer):
        return False
    (name,) = layer.active_adapters
    if name not in layer.lora_A or layer.fan_in_fan_out or not isinstance(layer.lora_dropout[name], torch.nn.Identity):
        return False
    base, *adapter = layer.base_layer.weight, layer.lora_A[name].weight, layer.lora_B[name].weight
    return (
        layer.lora_B[name].bias is None
        and not base.requires_grad
        and all(weight.dtype == torch.float32 for weight in adapter)
        and all(weight.device.type == "cpu" for weight in (base, *adapter))
    )


def _has_plain_base(base: torch.nn.Module) -> bool:
    if type(base) is torch.nn.Linear:
        return base.weight.dtype in (torch.float32, torch.bfloat16)
    state = _state(base)
    return (
        type(base).__name__ == "Linear4bit"
        and state is not None
        and len(state.shape) == 2
        and not getattr(state, "packing_format_for_cpu", False)
    )


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args or kwargs or self.disable_adapters or self.merged or len(self.active_adapters) != 1:
        return type(self).forward(self, x, *args, **kwargs)
    (name,) = self.active_adapters
    base = self.base_layer
    computing = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    weight, state = getattr(self, "kept", None), None
    if weight is None:
        weight, state = base.weight, _state(base)
    if computing != (weight.dtype if state is None else base.compute_dtype):
        return type(self).forward(self, x)
    given = (
        x, weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name], computing, state
    )  # fmt: skip
    # A token at a time, what autograd does around a layer takes longer than the layer.
    return _LoraLinear.apply(*given) if torch.is_grad_enabled() else _computed(*given)[0]


def _state(base: Any) -> Any:
    """How bitsandbytes holds a layer's weight in 4 bits; None where it does not."""
    return getattr(base.weight, "quant_state", None)


def _matrix(weight: Tensor, state: Any, kind: torch.dtype) -> Tensor:
    """The weight of a layer, put together from its 4 bits where it has no more. Not kept from one pass to the other: it
    would take the memory that 4 bits were to save."""
    if state is None:
        return weight
    ops = torch.ops.bitsandbytes
    scales = state.absmax
    if state.nested:
        inner = state.state2
        scales = ops.dequantize_blockwise(scales, inner.absmax, inner.code, inner.blocksize, torch.float32)
        scales += state.offset
    return ops.dequantize_4bit(weight, scales, state.blocksize, state.quant_type, state.shape, kind)


def _computed(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float, kind: torch.dtype, state: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What a layer answers, and what its backward pass needs: the rows, `x A^T`, A and B, all of this kind."""
    rows = x.reshape(-1, x.shape[-1]).to(kind)
    a, b = a.to(kind), b.to(kind)
    small = rows @ a.T
    output = torch.nn.functional.linear(rows, _matrix(weight, state, kind), None if bias is None else bias.to(kind))
    output.addmm_(small, b.T, alpha=scaling)
    return output.view(*x.shape[:-1], output.shape[-1]), rows, small, a, b


class _LoraLinear(torch.autograd.Function):
    """`x W^T + bias + scaling * (x A^T) B^T`; W and the bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        kind: torch.dtype,
        state: Any,
    ) -> Tensor:
        """
        Args:
            x: (..., inputs).
            weight: (outputs, inputs), of this kind, or its 4 bits; bias: (outputs,) or None.
            a: (rank, inputs); b: (outputs, rank); float32, as their gradients.
            kind: what is computed in.
            state: bitsandbytes' description of the 4 bits.
        """
        ctx.kinds = x.dtype, a.dtype
        output, rows, small, a, b = _computed(x, weight, bias, a, b, scaling, kind, state)
        ctx.save_for_backward(rows, small, weight, a, b)
        ctx.scaling, ctx.shape, ctx.state = scaling, x.shape, state
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, small, weight, a, b = ctx.saved_tensors
        of_x, of_adapter = ctx.kinds
        outer = gradients[0].reshape(-1, b.shape[0])
        b_gradient = (outer.T @ small).mul_(ctx.scaling)
        inner = (outer @ b).mul_(ctx.scaling)
        a_gradient = inner.T @ rows
        x_gradient = None
        if ctx.needs_input_grad[0]:
            matrix = _matrix(weight, ctx.state, rows.dtype)
            x_gradient = (outer @ matrix).addmm_(inner, a).view(ctx.shape).to(of_x)
        return x_gradient, None, None, a_gradient.to(of_adapter), b_gradient.to(of_adapter), None, None, None
