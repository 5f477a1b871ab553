"""Why a frozen layer takes more under FSDP 1 than on one GPU: what it adds to the peak, with and without one cycle.

Layers of a frozen matrix and a small trained one in units of their own, as PEFT's wrapping policy makes them, with a
checkpoint around each, on CPUs over gloo under PyTorch's memory tracker. What a layer adds to the peak is printed in
tensors of one input's size: 1 where inputs go as fast as they come; 2 where input and gradient of each layer stay until
the backward pass has ended. The hook that frees a frozen unit (torch/distributed/fsdp/_runtime_utils.py
_register_post_backward_reshard_only_hook) is put on the layer's input, and names the node that gathers that input's
gradient (torch/autograd/graph.py register_multi_grad_hook). With a reentrant checkpoint the input is a leaf, which its
node names in turn. `mended` has a hook that names no node. Nothing is timed.
"""

import argparse
import gc
import sys
import tempfile
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.autograd.graph import register_multi_grad_hook
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as checkpoints
from torch.distributed.fsdp import FullyShardedDataParallel, _runtime_utils
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy

WIDTH, TOKENS = 64, 4096
FEW, MANY = 4, 8


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.adapter = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.base(x)) + self.adapter(x)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_work, (args.ranks, folder), nprocs=args.ranks)  # type: ignore[no-untyped-call]
    return 0


def _work(rank: int, ranks: int, folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    for kind in checkpoints.CheckpointImpl:
        for mended in (False, True):
            few, many = (_peak(layers, kind, mended) for layers in (FEW, MANY))
            if not rank:
                each = (many - few) / (MANY - FEW)
                print(f"{kind.name.lower():13} {'mended' if mended else 'as it is':9} {each:.2f} inputs a layer")
    distributed.destroy_process_group()


def _peak(layers: int, kind: Any, mended: bool) -> float:
    """In sizes of a layer's input."""
    torch.manual_seed(0)
    _runtime_utils.register_multi_grad_hook = _hook_without_node if mended else register_multi_grad_hook
    net = FullyShardedDataParallel(
        nn.Sequential(*(Layer() for _ in range(layers))),
        auto_wrap_policy=partial(lambda_auto_wrap_policy, lambda_fn=_is_unit),
        device_id=torch.device("cpu"),
        use_orig_params=False,
    )
    checkpoints.apply_activation_checkpointing(
        net,
        checkpoint_wrapper_fn=partial(checkpoints.checkpoint_wrapper, checkpoint_impl=kind),
        check_fn=lambda module: isinstance(module, FullyShardedDataParallel) and isinstance(module.module, Layer),
    )
    x = torch.randn(TOKENS, WIDTH, requires_grad=True)
    _step(net, x)
    gc.collect()
    tracker = MemTracker()
    # Its hooks on modules are not needed for the total, and are of the very kind that is looked at.
    for name in ("_fw_pre_hook", "_fw_post_hook"):
        setattr(tracker._mod_tracker, name, lambda *args: None)
    tracker.track_external(x)
    with tracker:
        _step(net, x)
    (sizes,) = tracker.get_tracker_snapshot("peak").values()
    return float(sizes["Total"]) / (TOKENS * WIDTH * x.itemsize)


def _step(net: nn.Module, x: Tensor) -> None:
    net(x).sum().backward()
    x.grad = None


def _is_unit(module: nn.Module) -> bool:
    return isinstance(module, Layer) or (isinstance(module, nn.Linear) and module.weight.requires_grad)


def _hook_without_node(tensors: Any, function: Any) -> Any:
    """What a layer needs of torch's: its input is one tensor."""
    if len(tensors) != 1:
        return register_multi_grad_hook(tensors, function)
    return tensors[0].register_hook(lambda gradient: function([gradient]))


if __name__ == "__main__":
    sys.exit(main())
