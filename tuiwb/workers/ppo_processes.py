"""What several processes of PPO tell each other. Each holds the whole team and answers prompts of its own; they learn
as one would that had sampled all the answers. Alone, a process tells itself."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, distributed, nn


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def added(value: Tensor) -> Tensor:
    """The sum over all processes."""
    if count() == 1:
        return value
    value = value.detach().clone()
    distributed.all_reduce(value)
    return value


def gathered(values: Tensor) -> Tensor:
    """Values of all processes, which have as many each."""
    if count() == 1:
        return values
    found = [torch.empty_like(values) for _ in range(count())]
    distributed.all_gather(found, values.contiguous())
    return torch.cat(found)


def averaged(figures: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """The means over all processes of figures that each has."""
    if count() == 1:
        return dict(figures)
    means = added(torch.tensor([figures[name] for name in sorted(figures)], device=device)) / count()
    return dict(zip(sorted(figures), means.tolist(), strict=True))


def join_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, each already a share of the whole."""
    if count() == 1:
        return
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for kind in {one.dtype for one in found}:
        same = [one for one in found if one.dtype == kind]
        whole = added(torch.cat([one.flatten() for one in same]))
        for one, part in zip(same, whole.split([one.numel() for one in same]), strict=True):
            one.copy_(part.view_as(one))
