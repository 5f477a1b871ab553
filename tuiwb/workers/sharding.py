"""How a model is split over the processes of a run: what transformers, accelerate and DeepSpeed are told.

With FSDP2 every layer's weights, gradients and optimizer states lie in pieces on the processes and are put together
while that layer computes. A checkpoint is written whole all the same, by the first process, so that chat, export and
the next stage need not know of it.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from tuiwb.base.errors import EnvironmentFault
from tuiwb.recipe import Recipe

ZERO = {"zero1": 1, "zero2": 2, "zero3": 3}
_ONCE = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}


def kind_of(recipe: Recipe) -> str:
    """The recipe's sharding: none, ddp, fsdp, zero1, zero2 or zero3."""
    return (recipe.launch.sharding if recipe.launch else None) or "none"


def sharding_arguments(recipe: Recipe) -> dict[str, Any]:
    """Arguments of transformers' trainer that the recipe's sharding makes; none for plain copies (ddp).

    They must be made before the model is loaded: ZeRO-3 splits weights while they are read.

    Raises:
        EnvironmentFault: DeepSpeed is not installed.
    """
    kind = kind_of(recipe)
    if kind == "fsdp":
        return _fsdp(recipe)
    return {"deepspeed": _deepspeed(recipe, ZERO[kind])} if kind in ZERO else {}


def splits_weights(recipe: Recipe) -> bool:
    """Whether a process has only a piece of each weight, so that all must compute whenever one does."""
    return kind_of(recipe) in ("fsdp", "zero3")


@contextlib.contextmanager
def joining(recipe: Recipe) -> Iterator[None]:
    """Within it, processes join their group: those that will split a model by FSDP need a way to pass on what lies in
    host memory too, since checkpoints are put together there. DeepSpeed takes the group over, which accelerate sees to
    where there are GPUs alone.

    Raises:
        EnvironmentFault: DeepSpeed is not installed.
    """
    kind = kind_of(recipe)
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"} if kind == "fsdp" else {}
    with _told(fsdp):
        yield
    if kind in ZERO and recipe.use_cpu and torch.distributed.is_initialized():
        _need_deepspeed(kind)
        from deepspeed import comm

        if not comm.is_initialized():
            comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)


def reading_once(recipe: Recipe) -> contextlib.AbstractContextManager[None]:
    """Within it, the first process of a machine alone reads the weights of a model that FSDP will split; the others
    get theirs from it. Eight processes that each read 140 GB would need as much host memory as no machine has."""
    return _told(_ONCE if _reads_once(recipe) else {})


@contextlib.contextmanager
def _told(variables: dict[str, str]) -> Iterator[None]:
    """With these variables in the environment, which is where the libraries look."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def split_on_cpu(accelerator: Any, plugin: Any) -> None:
    """Let accelerate use FSDP on processors: version 1.15 leaves it out there without a word, though torch has it."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    state = accelerator.state
    if plugin is None or state.distributed_type != DistributedType.MULTI_CPU:
        return
    if state.mixed_precision != "no":
        plugin.set_mixed_precision(state.mixed_precision)
    for shared in (AcceleratorState._shared_state, PartialState._shared_state):
        shared["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = plugin


def deepspeed_on_cpu(accelerator: Any, plugin: Any) -> None:
    """As `split_on_cpu`, for DeepSpeed, which talks over gloo there."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    if plugin is None or accelerator.state.distributed_type != DistributedType.MULTI_CPU:
        return
    plugin.set_mixed_precision(accelerator.state.mixed_precision)
    for shared in (AcceleratorState._shared_state, PartialState._shared_state):
        shared["distributed_type"] = DistributedType.DEEPSPEED
    # Its engine computes in what its own configuration says.
    AcceleratorState._shared_state |= {"deepspeed_plugins": plugin, "_mixed_precision": "no"}
    accelerator.native_amp = False
    plugin.select(_from_accelerator_state=True)


def forget() -> None:
    """After a part of a run: the next one may be split in another way, or not at all."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    for name in (*_ONCE, "ACCELERATE_USE_DEEPSPEED"):
        os.environ.pop(name, None)
    if PartialState._shared_state.get("distributed_type") in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        PartialState._reset_state()  # the processes and their group stay


def pieces(model: torch.nn.Module) -> int:
    """How many of a model's parameters lie in pieces on the processes."""
    from torch.distributed.tensor import DTensor

    return sum(isinstance(parameter.data, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())


def _fsdp(recipe: Recipe) -> dict[str, Any]:
    offload = recipe.launch.offload if recipe.launch else None
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "state_dict_type": "FULL_STATE_DICT",
            "cpu_ram_efficient_loading": _reads_once(recipe),
            "cpu_offload": offload == "all",
            # FSDP's own: that of the model would gather each layer's weights once more.
            "activation_checkpointing": bool(recipe.gradient_checkpointing),
        },
        "gradient_checkpointing": False,
    }


def _reads_once(recipe: Recipe) -> bool:
    """Not where something is done to the weights between reading and splitting that needs them in every process."""
    quantized = recipe.load_in_4bit or recipe.load_in_8bit
    return kind_of(recipe) == "fsdp" and not (quantized or recipe.adapter_name_or_path or recipe.added_tokens)


def _need_deepspeed(kind: str) -> None:
    import importlib.util

    if importlib.util.find_spec("deepspeed") is None:
        raise EnvironmentFault(f"sharding {kind} needs the package deepspeed; pip install 'tuiwb[deepspeed]'")


def _deepspeed(recipe: Recipe, stage: int) -> dict[str, Any]:
    _need_deepspeed(kind_of(recipe))
    offload = (recipe.launch.offload if recipe.launch else None) or "none"
    zero: dict[str, Any] = {"stage": stage, "contiguous_gradients": True, "overlap_comm": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    waiting = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if offload in ("optimizer", "all"):
        zero["offload_optimizer"] = waiting
    if offload == "all":
        zero["offload_param"] = waiting
    # What says auto is taken from the trainer's arguments.
    return {
        "zero_optimization": zero,
        # The optimizer is the recipe's, made by torch.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }
