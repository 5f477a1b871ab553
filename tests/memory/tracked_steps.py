"""Real training steps of this program's trainers under PyTorch's memory tracker, or with its allocator's own notes, and
the plan of the same recipe.

A step is run as the worker runs it, on a small Llama in float32 and rows of one length. The first step comes before the
tracker does: it makes the optimizer's states. `path` says which code:

- `cpu`: what the worker runs on this machine, its own kernels for a CPU included;
- `gpu`: what it runs on a GPU, without those kernels. It is run here all the same; where torch or TRL have another
  kernel on a CPU (the noise of a dropout, a tile of logits) the plan is that of this kernel.
"""

import dataclasses
import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from tiny import make_tiny_model

from tuiwb.memory import Plan, plan
from tuiwb.models import open_model
from tuiwb.recipe import DatasetEntry, Recipe

VOCABULARY = 4096
ANSWER = 32  # tokens that are sampled: each takes a pass of its own
SHAPE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 192, "intermediate_size": 512,
    "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 32,
    "vocab_size": VOCABULARY, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2, "dtype": "float32",
}  # fmt: skip
_PAIRS, _ASKED = ("reward", "dpo", "orpo"), ("ppo", "grpo", "rloo")
_SPED_UP = ("sft", "preference", "reward", "sampling", "ppo_team")


@dataclass(frozen=True, slots=True)
class Case:
    """One step.

    Attributes:
        length: tokens of a row, or of prompt and answer together, about so many.
        keys: of the recipe, besides.
        assume: answers to the plan's questions, besides.
    """

    stage: str
    method: str = "lora"
    checkpointing: bool = False
    length: int = 256
    path: Literal["cpu", "gpu"] = "cpu"
    keys: tuple[tuple[str, Any], ...] = ()
    assume: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        more = "".join(f" {key}={value}" for key, value in self.keys)
        return f"{self.stage} {self.method}{more} {'ckpt' if self.checkpointing else '-'} {self.length} {self.path}"


class Tracked(NamedTuple):
    """What the tracker saw.

    Attributes:
        steady: bytes when the step began.
        peak: bytes at its highest.
        length: tokens of a row, or of a prompt.
    """

    steady: int
    peak: int
    length: int


def make_model(folder: Path, *, scores: bool = False, **changes: Any) -> Path:
    """A small Llama with random weights and the tiny model's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    make_tiny_model(folder)
    shape = {**SHAPE, **changes}
    config = LlamaConfig(**{key: value for key, value in shape.items() if key != "architectures"})
    config.num_labels = 1
    kind = LlamaForSequenceClassification if scores else LlamaForCausalLM
    tokenizer = {file.name: file.read_bytes() for file in folder.glob("token*")}
    kind(config).save_pretrained(folder)
    for name, content in tokenizer.items():
        (folder / name).write_bytes(content)
    return folder


def planned(case: Case, length: int, model: Path) -> Plan:
    """The plan of a case.

    Args:
        length: as it was tracked.
    """
    recipe = msgspec.structs.replace(_recipe(case, model, Path("rows.jsonl")), max_length=length)
    assume = {"kernels": "transformers"} if case.path == "gpu" else {}
    if case.path == "gpu" and case.stage in ("sft", "pretrain"):
        assume["loss"] = "chunked"
    return plan(recipe, open_model(str(model)), assume=assume | dict(case.assume))


def _recipe(case: Case, model: Path, rows: Path) -> Recipe:
    adapter = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
    values: dict[str, Any] = {
        "stage": case.stage, "method": case.method, "model_name_or_path": str(model), "dtype": "float32",
        "datasets": (DatasetEntry(path=str(rows), format="prompt_only" if case.stage in _ASKED else None),),
        "max_length": 4096, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1,
        "gradient_checkpointing": case.checkpointing, "optim": "adamw_torch", "use_cpu": True, "seed": 7,
        "learning_rate": 1e-4, "lr_scheduler_type": "constant", "max_steps": 2, "save_strategy": "no",
        "logging_steps": 1.0, "report_to": (), **(adapter if case.method in ("lora", "qlora", "dora") else {}),
    }  # fmt: skip
    if case.stage in ("sft", "pretrain"):
        values |= {"train_roles": ("assistant",), "train_on_eos": "turn"}
    if case.stage in _ASKED:
        values |= {
            "max_completion_length": ANSWER, "reward_funcs": ("length:4",), "temperature": 1.0, "beta": 0.05,
            "per_device_train_batch_size": 8,
        }  # fmt: skip
    if case.stage in ("grpo", "rloo"):
        values |= {"num_generations": 2}
    return Recipe(**(values | dict(case.keys)))


def _rows(case: Case) -> list[dict[str, Any]]:
    """Rows of one length; nearly all of it answer, except where the answer is sampled."""
    text = "".join(f"{number} " for number in range(100, 999))
    asked = [{"role": "user", "content": text[: case.length - ANSWER] if case.stage in _ASKED else "?"}]
    answer = [{"role": "assistant", "content": text[: case.length]}]
    row: dict[str, Any] = {"messages": asked + answer}
    if case.stage == "pretrain":
        row = {"text": text[: case.length]}
    elif case.stage in _PAIRS:
        other = [{"role": "assistant", "content": text[4 : case.length + 4]}]
        row = {"prompt": asked, "chosen": answer, "rejected": other}
    elif case.stage in _ASKED:
        row = {"prompt": asked, "answer": "1"}
    if case.stage == "kto":
        return [{"prompt": asked, "completion": answer, "label": bool(number % 2)} for number in range(16)]
    return [row] * 16


class ByTracker:
    """Watches by PyTorch's memory tracker: the tensors that operations return, by the storages behind them.

    Attributes:
        steady: bytes when it began.
        peak: bytes at their highest.
    """

    steady = peak = 0

    def __enter__(self) -> "ByTracker":
        from torch.distributed._tools.mem_tracker import MemTracker

        self._tracker = quiet(MemTracker())
        self._tracker.track_external(*alive())
        self.steady = total(self._tracker.get_tracker_snapshot("current"))
        self._tracker.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._tracker.__exit__(None, None, None)
        self.peak = total(self._tracker.get_tracker_snapshot("peak"))


class ByAllocator:
    """Watches by PyTorch's profiler: every byte that its allocator gives and takes back, inside of kernels too, with no
    hook that could make a tensor live longer. Attributes as `ByTracker`."""

    steady = peak = 0

    def __enter__(self) -> "ByAllocator":
        from torch.profiler import ProfilerActivity, profile

        storages = {one.data_ptr(): one.nbytes() for one in map(_storage, alive()) if one is not None}
        self.steady = sum(storages.values())
        self._profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profiler.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._profiler.__exit__(None, None, None)
        self.peak = self.steady + allocated_at_most(self._profiler)


def allocated_at_most(profiler: Any) -> int:
    """The highest sum of what was allocated and freed while `profiler` looked, in bytes."""
    now = highest = 0
    noted = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(noted, key=lambda event: event.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return highest


def _storage(tensor: Any) -> Any:
    import torch

    return tensor.untyped_storage() if tensor.layout == torch.strided else None


def track(case: Case, model: Path, folder: Path, watch: type[ByTracker] | type[ByAllocator] = ByTracker) -> Tracked:
    """Do the steps of a case.

    Args:
        model: as `make_model` makes it.
        folder: an empty one, for rows and what the trainer writes.
        watch: what watches the second of them.
    """
    import torch
    import transformers

    from tuiwb.rundir import BeatWriter, RunDir
    from tuiwb.workers.callback import RunCallback
    from tuiwb.workers.data import load_data
    from tuiwb.workers.stages import builder

    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _rows(case)))
    recipe = _recipe(case, model, rows)
    run_dir = RunDir(folder / "run")
    run_dir.path.mkdir()
    part = run_dir.part(1, case.stage)
    part.path.mkdir(parents=True)
    data = load_data(recipe, lambda done, total: None)
    build = builder(case.stage)
    watched: list[ByTracker | ByAllocator] = []
    # What is there already is not the step's, and the collector need not look through it again and again.
    gc.freeze()

    class Watching(RunCallback):
        """Watches the second step."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_step_begin(args, state, control, **kwargs)
            if state.global_step == 1:
                gc.collect()
                watched.append(watch().__enter__())

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                watched[0].__exit__()
            super().on_step_end(args, state, control, **kwargs)
            control.should_save = False

    transformers.set_seed(7)
    callback = Watching(run_dir, part, BeatWriter(run_dir), examples=len(data.rows), mean_tokens=data.mean_tokens)
    with _without_kernels(case.path == "gpu"):
        trainer = build(recipe, data, callback, part.path, torch.device("cpu"))
    if case.path == "gpu" and getattr(trainer, "_labelled", None) is not None:
        trainer._labelled.close()  # type: ignore[attr-defined]
        trainer._labelled = None  # type: ignore[attr-defined]
        trainer.data_collator = dataclasses.replace(trainer.data_collator, masked=True)  # which TRL's loss wants
    trainer.train()
    length = int(data.lengths().max())
    del trainer, callback
    gc.collect()
    gc.unfreeze()
    return Tracked(watched[0].steady, watched[0].peak, length)


def alive() -> list[Any]:
    import torch

    return [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]


def quiet(tracker: Any) -> Any:
    """Without its hooks on modules, which are not needed for the total.

    They cannot be put on frozen weights, and they keep what nobody else does: a hook on several tensors
    (torch.autograd.graph.register_multi_grad_hook) and the nodes of the graph that it is put on name each other, so
    that a graph which no backward pass goes through waits for Python's collector.
    """
    for hook in ("_pre_fw_hook", "_post_fw_hook", "_pre_bw_hook", "_post_bw_hook"):
        setattr(tracker, hook, lambda *args, **more: None)
    for hook in ("_fw_pre_hook", "_fw_post_hook"):
        setattr(tracker._mod_tracker, hook, lambda *args: None)
    return tracker


def total(snapshot: Any) -> int:
    return sum(int(sizes["Total"]) for sizes in snapshot.values())


@contextmanager
def _without_kernels(wanted: bool) -> Iterator[None]:
    """Without this program's kernels for a CPU, where `wanted`."""
    import importlib

    modules = [importlib.import_module(f"tuiwb.workers.{name}") for name in _SPED_UP] if wanted else []
    before = [module.speed_up for module in modules]
    for module in modules:
        module.speed_up = lambda model, **how: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.speed_up = function  # type: ignore[attr-defined]
