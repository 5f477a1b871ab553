"""A training step of a small Llama that two processes share by fully sharded data parallel, under the memory tracker.

Both versions run on CPUs over gloo; their streams and events are there what they are on a GPU, so what lives when is
the same. Version 1 is set up as trainers of its time did: PEFT's wrapping policy, which makes a unit of each adapter
matrix and leaves one whose weights are all frozen to the layer, and checkpoints around the units.
"""

import gc
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tracked_steps import SHAPE, VOCABULARY, Tracked, alive, quiet, total

from tuiwb.memory import Plan, plan
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Launch, Recipe


class Shared(NamedTuple):
    """One step, of which each of two processes has a batch.

    Attributes:
        version: of fully sharded data parallel.
        reentrant: kind of checkpointing.
    """

    method: str
    checkpointing: bool
    length: int = 256
    version: int = 2
    layers: int = 3
    reentrant: bool = False
    batch: int = 2

    @property
    def name(self) -> str:
        kind = ("reentrant" if self.reentrant else "ckpt") if self.checkpointing else "-"
        return f"FSDP {self.version} {self.method} {kind} {self.layers} layers {self.length}"


def track_all(cases: list[Shared], tracker: Callable[[], Any] | None = None) -> list[Tracked]:
    """What the first of both processes saw of each case.

    Args:
        tracker: another one than PyTorch's own.
    """
    import torch.multiprocessing as processes

    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(_work, (folder, cases, tracker), nprocs=2)
        return [Tracked(*seen) for seen in json.loads(Path(folder, "seen.json").read_text())]


def planned(case: Shared) -> Plan:
    adapter = {"lora_r": 8, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
    recipe = Recipe(
        stage="sft", method=case.method, dtype="float32", optim="adamw_torch", gradient_accumulation_steps=1,
        per_device_train_batch_size=case.batch, max_length=case.length, gradient_checkpointing=case.checkpointing,
        attn_implementation="sdpa", use_cpu=True, launch=Launch(processes=2, sharding="fsdp"),
        **(adapter if case.method == "lora" else {}),
    )  # fmt: skip
    model = ModelInfo(ref="small", name="small", kind="hub", path=None, config=_shape(case),
                      architecture="LlamaForCausalLM")  # fmt: skip
    assume = {"fsdp": str(case.version), "loss": "full_logits", "kernels": "transformers", "foreach": "true"}
    if case.checkpointing:
        assume["reentrant"] = "true" if case.reentrant else "false"
    return plan(recipe, model, assume=assume)


def _shape(case: Shared) -> dict[str, Any]:
    return {**SHAPE, "num_hidden_layers": case.layers}


def _work(rank: int, folder: str, cases: list[Shared], tracker: Callable[[], Any] | None) -> None:
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        seen = [_step(case, tracker) for case in cases]
        if not rank:
            Path(folder, "seen.json").write_text(json.dumps(seen))
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _step(case: Shared, tracker: Callable[[], Any] | None) -> Tracked:
    gc.collect()
    gc.freeze()
    try:
        return _tracked(case, tracker)
    finally:
        gc.collect()
        gc.unfreeze()


def _tracked(case: Shared, tracker: Callable[[], Any] | None) -> Tracked:
    import torch
    from torch.distributed._tools.mem_tracker import MemTracker

    net = _sharded(case)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, foreach=True)
    ids = torch.randint(0, VOCABULARY, (case.batch, case.length))

    def step() -> None:
        output = net(input_ids=ids, labels=ids)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    seen = quiet((tracker or MemTracker)())
    seen.track_external(*(getattr(tensor, "_local_tensor", tensor) for tensor in alive()))
    steady = total(seen.get_tracker_snapshot("current"))
    with seen:
        step()
    if tracker is not None and not torch.distributed.get_rank():
        print(case.name)
        seen.show()
    return Tracked(steady, total(seen.get_tracker_snapshot("peak")), case.length)


def _sharded(case: Shared) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {key: value for key, value in _shape(case).items() if key not in ("architectures", "dtype")}
    config = LlamaConfig(**shape, attn_implementation="sdpa", use_cache=False)
    model: Any = LlamaForCausalLM(config)
    layers = model.model.layers
    if case.method == "lora":
        from peft import LoraConfig, get_peft_model

        adapter = LoraConfig(r=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, adapter)
        if case.checkpointing:
            model.enable_input_require_grads()
    model.train()
    if case.version == 1:
        return _version_1(model, type(layers[0]), case)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": case.reentrant})
    mesh = init_device_mesh("cpu", (2,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _version_1(model: Any, layer: type, case: Shared) -> Any:
    from functools import partial

    import torch
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as checkpoints
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    policy: Any = ModuleWrapPolicy({layer})
    if case.method == "lora":
        from peft.utils.other import fsdp_auto_wrap_policy

        policy = fsdp_auto_wrap_policy(model)
    net = FullyShardedDataParallel(
        model, auto_wrap_policy=policy, device_id=torch.device("cpu"), use_orig_params=False
    )  # fmt: skip
    if case.checkpointing:
        kinds = checkpoints.CheckpointImpl
        kind = kinds.REENTRANT if case.reentrant else kinds.NO_REENTRANT
        checkpoints.apply_activation_checkpointing(
            net,
            checkpoint_wrapper_fn=partial(checkpoints.checkpoint_wrapper, checkpoint_impl=kind),
            check_fn=lambda module: isinstance(module, FullyShardedDataParallel) and isinstance(module.module, layer),
        )
    return net
