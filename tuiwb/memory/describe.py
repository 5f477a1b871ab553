"""Where every byte comes from: a formula and a source for each component."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from tuiwb.base.units import count, gib
from tuiwb.memory import states
from tuiwb.memory.inputs import Inputs
from tuiwb.memory.phases import Phase


class Component(Struct, frozen=True):
    """One component: the most that it takes in any phase, and why."""

    name: str
    bytes: int
    formula: str
    source: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.bytes, "formula": self.formula, "source": self.source}


def components(inputs: Inputs, phases: Sequence[Phase], steady: Mapping[str, float]) -> tuple[Component, ...]:
    """Every component of any phase, in order of first appearance, at its highest."""
    highest: dict[str, float] = dict(steady)
    for phase in phases:
        for name, value in phase.parts.items():
            highest[name] = max(highest.get(name, 0.0), value)
    texts = _texts(inputs)
    return tuple(
        Component(name, round(value), *texts.get(name, ("traced operation by operation", "tuiwb/memory/blocks.py")))
        for name, value in highest.items()
        if value >= 0.5
    )


def _texts(inputs: Inputs) -> dict[str, tuple[str, str]]:
    shapes = inputs.architecture
    hidden, layers, vocab = shapes.hidden, len(shapes.layers), shapes.vocab
    tokens = f"{inputs.batch} × {inputs.length}"
    trained = count(states.trainable(inputs))
    width = states.trained_width(inputs)
    over = f" / {inputs.grid.shards}" if inputs.grid.shards > 1 and inputs.sharding not in ("ddp", "none") else ""
    cost = states.optimizer_cost(inputs)
    trace = "tuiwb/memory/blocks.py, after transformers modeling code and PEFT lora/layer.py"
    loss = "tuiwb/memory/losses.py, after transformers loss_utils.py and trl kernels/chunked_logprob.py"
    rank = inputs.adapter.rank if inputs.adapter else 0
    return {
        "weights": (_weights_formula(inputs) + over, "config.json, shapes of every matrix"),
        "adapters": (f"{trained} × {width} B{over}: r·(in + out) of each target, r = {rank}", "PEFT tuners/lora"),
        "gradients": (f"{trained} × {width} B{over}", "one for each trained parameter"),
        "optimizer": (f"{trained} × ({cost.formula}){over}", cost.source),
        "optimizer's copy": (states.step_formula(inputs, trained, over), cost.source),
        "workspace": (f"{inputs.workspace:,} B: one for each thread that multiplies", "torch CublasHandlePool.cpp"),
        "batches in flight": (
            f"{inputs.grid.in_flight(inputs.accumulation)} batches on stage {inputs.grid.stage + 1} of "
            f"{inputs.grid.pipeline}, one forward and one backward in turn",
            "torch distributed/pipelining/schedules.py Schedule1F1B",
        ),
        "learned prefix": ("keys and values of the prefix, gradients, copies in the cache", "PEFT prefix_tuning"),
        "modules trained whole": ("lora_modules_to_save", "PEFT utils/other.py ModulesToSaveWrapper"),
        "copy of one layer's cache": ("keys are appended by copying", "transformers cache_utils.py DynamicLayer"),
        "base, unpacked": (
            "the matrices under an adapter, as they are computed with",
            "tuiwb/workers/lora.py",
        ),
        "batch": (f"{tokens} × 24 B: ids, labels, mask", "transformers data collators"),
        "reference model": (_weights_formula(inputs) + over, "tuiwb/workers/reference.py: a second copy"),
        "value model": (_weights_formula(inputs) + " less the output matrix" + over, "tuiwb/workers/ppo_team.py"),
        "reward model": (_weights_formula(inputs) + " less the output matrix" + over, "tuiwb/workers/scorer.py"),
        "value model's optimizer": (f"{count(shapes.parameters)} × as the policy's", cost.source),
        "cache of keys and values": (
            f"{sum(layer.kv_width for layer in shapes.layers)} × {inputs.compute} B × {inputs.batch} × "
            f"{inputs.accumulation} × {inputs.length}",
            "transformers cache_utils.py",
        ),
        "layer inputs": (
            f"{layers} layers × {tokens} × {hidden} × {inputs.embedding_width} B",
            "torch.utils.checkpoint saves each layer's input",
        ),
        "saved activations": (f"what {layers} layers save for {tokens} tokens", trace),
        "activations of one layer": (f"what one layer saves while it is computed, {tokens} tokens", trace),
        "activation gradients": (f"gradients inside one layer, {tokens} tokens", trace),
        "logits": (f"{tokens} × {vocab} × {inputs.compute} B", loss),
        "loss": (f"float32 copies of {tokens} × {vocab} logits: path {inputs.loss.path}", loss),
        "tiles of logits": (
            f"tiles of {inputs.loss.tile} tokens × {vocab} words, the one before as long as it has a name",
            loss,
        ),
        "final norm and loss": (f"{tokens} × {hidden}, by the loss path {inputs.loss.path}", loss),
        "unpacked weights": ("the largest quantized matrix, unpacked to compute with", "bitsandbytes autograd"),
        "autocast copies": ("weights in the compute type for one layer", "torch autocast weight cache"),
        "gathered weights": (
            "root unit and the layer that computes, whole"
            + (", and the buffer of the all-gather of one more layer" if inputs.fsdp == "2" else ""),
            "torch/distributed/fsdp, unshard and _backward_prefetch",
        ),
        "buffer of a reduction": (
            "gradients of one layer, laid out to be reduced and split, until those of the next are",
            "torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py post_backward",
        ),
        "kept by FSDP's hooks": (
            f"2 × ({layers} - 1) × {tokens} × {hidden}: layer inputs and their gradients, in a reference cycle",
            "torch/distributed/fsdp/_runtime_utils.py _register_post_backward_reshard_only_hook",
        ),
        "second gradient of the embedding": (f"{vocab} × {hidden} × {width} B", "tied weights, torch autograd"),
    }


def _weights_formula(inputs: Inputs) -> str:
    shapes = inputs.architecture
    plain = count(shapes.parameters)
    match inputs.quantization:
        case "nf4":
            bits = "½ + 1/64 + 4/16384" if inputs.nested else "½ + 4/64"
            return f"{count(shapes.linear_weights)} × ({bits}) B, the rest of {plain} unquantized"
        case "int8":
            return f"{count(shapes.linear_weights)} × 1 B and a scale a row, the rest of {plain} unquantized"
        case "gptq" | "awq":
            each = f"{inputs.bits}/8 + {2 + inputs.bits / 8:g}/{inputs.group}"
            return f"{count(shapes.linear_weights)} × ({each}) B, the rest of {plain} unquantized"
        case "fp8":
            return f"{count(shapes.linear_weights)} × 1 B and a scale a block, the rest of {plain} unquantized"
    return f"{plain} × {4 if inputs.sharded_master else inputs.weights} B"


_GROWS = {
    "weights": "the model's size",
    "optimizer": "the parameters that are trained",
    "gradients": "the parameters that are trained",
    "optimizer's copy": "the parameters that are trained",
    "gathered weights": "the size of a layer",
}


def why_it_binds(phases: Sequence[Phase]) -> str:
    """What makes the highest phase the highest, by how much, and what would change it."""
    ordered = sorted(phases, key=lambda phase: -phase.bytes)
    first = ordered[0]
    if len(ordered) == 1:
        return f"{first.name} is the only phase"
    second = ordered[1]
    excess = {name: value - second.parts.get(name, 0.0) for name, value in first.parts.items()}
    name = max(excess, key=lambda one: excess[one])
    grows = _GROWS.get(name, "batch and length")
    if first.bytes - second.bytes < 0.01 * first.bytes:
        return f"{first.name} and {second.name} are as high as each other: both grow with {grows}"
    return (
        f"{first.name} decides, {gib(first.bytes - second.bytes)} above {second.name}: it has {gib(excess[name])} more "
        f"of {name}, which grows with {grows}"
    )
