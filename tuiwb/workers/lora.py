"""LoRA layers that add their part in place.

PEFT computes `x W + scaling * (x A) B` as five operations, of which three pass over a tensor as large as the layer's
output, forwards and backwards; and with a bfloat16 base it takes x to the adapter's float32, from where autocast takes
it back. Here the small product is added by the matrix product itself, in the type of the base. The numbers are the same
up to rounding.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor


def fuse_lora(model: torch.nn.Module) -> int:
    """Speed up the LoRA layers of a PeftModel that are plain: on the CPU, one adapter in float32, a base in float32 or
    bfloat16, no dropout, no DoRA.

    Returns:
        how many there are.
    """
    from peft.tuners.lora.layer import Linear

    count = 0
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.forward = MethodType(_forward, layer)
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    if len(layer.active_adapters) != 1 or layer.lora_variant or type(layer.base_layer) is not torch.nn.Linear:
        return False
    (name,) = layer.active_adapters
    if name not in layer.lora_A or layer.fan_in_fan_out or not isinstance(layer.lora_dropout[name], torch.nn.Identity):
        return False
    base, *adapter = layer.base_layer.weight, layer.lora_A[name].weight, layer.lora_B[name].weight
    return (
        layer.lora_B[name].bias is None
        and base.dtype in (torch.float32, torch.bfloat16)
        and not base.requires_grad
        and all(weight.dtype == torch.float32 for weight in adapter)
        and all(weight.device.type == "cpu" for weight in (base, *adapter))
    )


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args or kwargs or self.disable_adapters or self.merged or len(self.active_adapters) != 1:
        return type(self).forward(self, x, *args, **kwargs)
    (name,) = self.active_adapters
    base = self.base_layer
    computing = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if base.weight.dtype != computing:
        return type(self).forward(self, x)
    return _LoraLinear.apply(
        x, base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    )


class _LoraLinear(torch.autograd.Function):
    """`x W^T + bias + scaling * (x A^T) B^T`; W and the bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """
        Args:
            x: (..., inputs).
            weight: (outputs, inputs); bias: (outputs,) or None.
            a: (rank, inputs); b: (outputs, rank); float32, as their gradients.
        """
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        ctx.kinds = x.dtype, a.dtype
        a, b = a.to(weight.dtype), b.to(weight.dtype)
        small = rows @ a.T
        output = torch.nn.functional.linear(rows, weight, bias)
        output.addmm_(small, b.T, alpha=scaling)
        ctx.save_for_backward(rows, small, weight, a, b)
        ctx.scaling, ctx.shape = scaling, x.shape
        return output.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, small, weight, a, b = ctx.saved_tensors
        of_x, of_adapter = ctx.kinds
        outer = gradients[0].reshape(-1, weight.shape[0])
        b_gradient = (outer.T @ small).mul_(ctx.scaling)
        inner = (outer @ b).mul_(ctx.scaling)
        a_gradient = inner.T @ rows
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = (outer @ weight).addmm_(inner, a).view(ctx.shape).to(of_x)
        return x_gradient, None, None, a_gradient.to(of_adapter), b_gradient.to(of_adapter), None
