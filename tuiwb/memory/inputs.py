"""What a plan needs to know, in plain numbers, and what follows from them. `derivation` makes them of a recipe."""

from functools import cached_property
from typing import Literal

from msgspec import Struct

from tuiwb.memory.adapters import Adapter, adaptable, scales_input
from tuiwb.memory.architecture import Architecture, AttentionKernel
from tuiwb.memory.losses import LossCode
from tuiwb.memory.parallel import Grid
from tuiwb.memory.path import Path

Quantization = Literal["", "nf4", "int8", "gptq", "awq", "fp8"]
PAIRED = ("dpo", "orpo", "reward")
SAMPLING = ("ppo", "grpo", "rloo")
# How the code of a layer meets them: GPTQ, AWQ and fp8 are computed with as they are stored.
_STORED: dict[str, Literal["", "nf4", "int8", "gptq"]] = {
    "nf4": "nf4", "int8": "int8", "gptq": "gptq", "awq": "gptq", "fp8": "gptq",
}  # fmt: skip


class Inputs(Struct, frozen=True, dict=True):
    """Everything that the memory of one GPU depends on.

    Attributes:
        model: the whole model; `architecture` is the part of it that this GPU holds.
        batch: rows of the data that a device computes at once.
        length: tokens of the longest sequence, with the sampled answer where there is one.
        engine: what answers: transformers, vllm or llama.cpp; `cache_width` bytes an element of its cache.
        vllm_share: part of the GPU's memory that vLLM takes for sampling.
        workspace: bytes of cuBLAS.
        repeats: keys and values are repeated for every query head before the attention kernel.
        rounds: batches whose answers are sampled together; `at_once` of them at most where that is not None.
        copies: adapters on the base that are not trained.
        others: models besides the trained one, by name; `value model` is trained as well.
        judges: a forward pass of a reference comes between the trained model's forward and backward pass.
        weights: bytes of an unquantized weight of the base model as loaded.
        kept_base: the matrices of a base in 4 bits that carry adapters stand unpacked besides.
        compute: bytes of the type that matrices are multiplied in.
        trained_from: layers before this one are frozen (method freeze); None where the base is frozen altogether.
        grid: how the GPUs are grouped; sharding says what the data parallel ones split.
    """

    model: Architecture
    architecture: Architecture
    grid: Grid
    stage: str
    method: str
    batch: int
    length: int
    accumulation: int
    checkpointing: bool
    weights: int
    compute: int
    autocast: bool
    quantization: Quantization
    nested: bool
    group: int
    bits: int
    upcast: str
    adapter: Adapter | None
    kept_base: bool
    optimizer: str
    foreach: bool
    attention: AttentionKernel
    kernels: str
    transformers: str
    reentrant: bool
    offloads_inputs: bool
    loss: LossCode
    sharding: str
    fsdp: str
    offload: str
    trained_from: int | None
    eval_batch: int
    evaluates: bool
    device: str
    others: tuple[str, ...]
    judges: bool
    completion: int
    rounds: int
    at_once: int | None
    copies: float
    generations: int
    engine: str
    cache_width: int
    vllm_share: float
    repeats: bool
    workspace: int
    checkpoints_kept: int
    save_only_model: bool

    @cached_property
    def tokens(self) -> int:
        """Tokens that one forward pass computes at once on this GPU."""
        return -(-self.batch * self.per_row * (self.length + self.prompt) // self.grid.context)

    @property
    def sampled(self) -> int:
        """Answers that are sampled at once."""
        return min(self.batch * self.rounds, self.at_once or self.batch * self.rounds)

    @property
    def ranks(self) -> int:
        return self.grid.ranks

    @property
    def stream(self) -> float:
        """Elements of the residual stream for each token: a tensor parallel group splits the tokens."""
        return self.architecture.hidden / self.grid.tensor

    @property
    def prompt(self) -> int:
        """Learned positions that are put before each sequence."""
        return self.adapter.tokens if self.adapter is not None and self.adapter.kind == "prompt" else 0

    @property
    def per_row(self) -> int:
        """Sequences of one row of the data: preference stages compute the chosen and the rejected answer together."""
        return 2 if self.stage in PAIRED else 1

    @property
    def trains_base(self) -> bool:
        return self.trained_from is not None

    @cached_property
    def sharded_master(self) -> bool:
        """FSDP keeps float32 weights where it trains them under mixed precision, whatever type they were loaded in."""
        return self.sharding in ("fsdp", "zero1", "zero2", "zero3") and self.trains_base and self.autocast

    @cached_property
    def path(self) -> Path:
        """The code path of a layer whose base weights are frozen, or trained, as this training does."""
        adapter = self.adapter
        weights = self.compute if self.sharded_master else self.weights
        norm_weights = 4 if self.quantization and self.upcast in ("norms", "true") else weights
        unsloth, liger = self.kernels == "unsloth", self.kernels == "liger"
        return Path(
            compute=self.compute,
            weights=weights,
            norm_weights=norm_weights,
            autocast=self.autocast,
            trained=self.trains_base,
            quantized=_STORED.get(self.quantization, ""),
            adapted=adapter.targets if adapter and adapter.kind == "lora" else frozenset(),
            rank=adapter.rank if adapter else 0,
            adapter=adapter.width if adapter else 4,
            scaled=adapter.targets if adapter and adapter.kind == "ia3" else frozenset(),
            scaled_inputs=self._scaled_inputs,
            kept=self.kept_base,
            magnitudes=adapter.dora if adapter else False,
            learned=adapter.kind if adapter and adapter.kind in ("prefix", "prompt") else "",
            dropout=adapter.dropout if adapter else False,
            on_cpu=self.device == "cpu",
            attention=self.attention,
            repeats_heads=self.repeats or self.prefixed,
            masked=self.attention == "sdpa" and self.transformers == "5" and (self.repeats or self.prefixed),
            grouped_experts=self.transformers == "5",
            fused_adapter=unsloth and bool(self.quantization),
            fused_norm=unsloth or liger,
            fused_rope=unsloth or liger,
            fused_mlp=liger,
            own=self.kernels == "own",
            parallel=self.grid.tensor,
        )

    @property
    def prefixed(self) -> bool:
        """A learned prefix stands in the cache, so that attention needs a mask."""
        return self.adapter is not None and self.adapter.kind == "prefix"

    @property
    def _scaled_inputs(self) -> frozenset[str]:
        if self.adapter is None or self.adapter.kind != "ia3":
            return frozenset()
        closing = {
            one.name for layer, _ in self.architecture.kinds for one in adaptable(layer) if scales_input(one, layer)
        }
        return self.adapter.targets & closing

    @cached_property
    def embedding_width(self) -> int:
        """Bytes an element of what the embedding gives."""
        if self.quantization and self.upcast == "true":
            return 4
        return self.compute if self.sharded_master else self.weights
