"""The code path of a layer: what decides which tensors exist."""

from typing import Literal

from msgspec import Struct

from tuiwb.memory.architecture import AttentionKernel


class Path(Struct, frozen=True):
    """The code path of a layer: everything that decides which tensors exist.

    Attributes:
        compute: bytes of the type in which matrices are multiplied.
        weights: bytes of an unquantized weight of the base model.
        norm_weights: bytes of a norm's weight; 4 makes the norm's output float32, and with it the residual stream.
        autocast: torch.autocast is on.
        trained: the base weights are trained.
        quantized: how the matrices are stored; `nf4` and `int8` unpack, `gptq` does in its kernel.
        adapted: names of the matrices with a LoRA adapter; `rank` of it, `adapter` bytes of its type.
        scaled: the adapter is one scale for each output of these matrices, or input of `scaled_inputs` ((IA)³).
        magnitudes: the adapter is DoRA's.
        learned: a learned prefix or prompt is trained: gradients go through every layer, but none goes to a weight.
        dropout: the adapter drops inputs.
        parallel: GPUs that share each matrix; norms and residual stream are split over them by tokens.
        fused_norm, fused_rope, fused_mlp: kernels that keep no intermediate tensors (Liger, Unsloth).
        own: this program's kernels for a CPU: a norm that is not trained and a LoRA layer are one operation each.
    """

    compute: int = 2
    weights: int = 2
    norm_weights: int = 2
    autocast: bool = False
    trained: bool = True
    accumulates: bool = False  # gradients are there already, so a new one is added to them and goes
    quantized: Literal["", "nf4", "int8", "gptq"] = ""
    adapted: frozenset[str] = frozenset()
    rank: int = 0
    kept: bool = False  # the matrices with an adapter stand unpacked besides (own kernels)
    adapter: int = 4
    scaled: frozenset[str] = frozenset()
    scaled_inputs: frozenset[str] = frozenset()
    magnitudes: bool = False
    learned: Literal["", "prefix", "prompt"] = ""
    dropout: bool = True
    on_cpu: bool = False  # dropout multiplies by noise of the input's type; PEFT does not see that autocast is on
    attention: AttentionKernel = "flash"
    repeats_heads: bool = False  # keys and values are repeated for every query head before the kernel
    masked: bool = False  # the kernel gets a mask, which it keeps: one number for each pair of positions
    fused_adapter: bool = False  # one autograd function for base and adapter (Unsloth): saves inputs, no masks
    grouped_experts: bool = True  # all experts in one product (transformers 5), not one after the other
    fused_norm: bool = False
    fused_rope: bool = False
    fused_mlp: bool = False
    own: bool = False
    parallel: int = 1
