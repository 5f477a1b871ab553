"""RMSNorm with a frozen weight in a third of the passes over memory.

Models write it as some eight operations, each of which reads and writes the hidden states; autograd doubles that and
keeps a float32 copy. Here the inverse norm is kept alone. The numbers are the same up to rounding.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor


def fuse_norms(model: torch.nn.Module) -> int:
    """Speed up the RMSNorm layers of a model on the CPU whose weights are frozen.

    What a layer computes is seen from what it answers, not from its name: some multiply by one plus the weight.

    Returns:
        how many there are.
    """
    count = 0
    for layer in model.modules():
        if (epsilon := _epsilon(layer)) is not None and _is_plain(layer, epsilon):
            layer.rms_epsilon = epsilon
            layer.forward = MethodType(_forward, layer)
            count += 1
    return count


def _epsilon(layer: torch.nn.Module) -> float | None:
    found = getattr(layer, "variance_epsilon", getattr(layer, "eps", None))
    return found if "RMSNorm" in type(layer).__name__ and isinstance(found, float) else None


@torch.no_grad()
def _is_plain(layer: Any, epsilon: float) -> bool:
    parameters = dict(layer.named_parameters())
    if list(parameters) != ["weight"] or layer.weight.requires_grad or layer.weight.device.type != "cpu":
        return False
    # Small numbers as well, where epsilon matters.
    probe = torch.linspace(-1e-3, 2, 2 * layer.weight.numel(), dtype=layer.weight.dtype).view(2, -1)
    own, ours = layer(probe), _RmsNorm.apply(probe, layer.weight, epsilon)
    return own.dtype == ours.dtype and torch.allclose(own.float(), ours.float(), rtol=1e-2, atol=1e-5)


def _forward(self: Any, hidden: Tensor) -> Tensor:
    return _RmsNorm.apply(hidden, self.weight, self.rms_epsilon)


class _RmsNorm(torch.autograd.Function):
    """`weight * hidden / sqrt(mean(hidden^2) + epsilon)`, computed in float32 but for the weight."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """
        Args:
            hidden: (..., width).
            weight: (width,).
        """
        wide = hidden.to(torch.float32, copy=True)
        width = hidden.shape[-1]
        inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(width).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight, inverse)
        return wide.mul_(inverse).to(hidden.dtype) * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        hidden, weight, inverse = ctx.saved_tensors
        outer = (gradients[0] * weight).to(torch.float32, copy=True)
        normal = hidden.to(torch.float32, copy=True).mul_(inverse)
        along = torch.linalg.vecdot(outer, normal).unsqueeze(-1).div_(hidden.shape[-1])
        return outer.sub_(normal.mul_(along)).mul_(inverse).to(hidden.dtype), None, None
