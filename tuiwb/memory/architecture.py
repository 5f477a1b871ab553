"""What a decoder-only language model is made of, as far as its memory goes: shapes, not weights.

Everything here is exact. `families` reads a config.json into these descriptions and refuses what it does not know.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from msgspec import Struct

AttentionKernel = Literal["eager", "sdpa", "flash"]


class Linear(Struct, frozen=True):
    """A matrix `outputs` × `inputs`, named as the modelling code names the module.

    `copies` is how many of them one layer holds (experts that are modules of their own).
    """

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    copies: int = 1

    @property
    def weight(self) -> int:
        return self.inputs * self.outputs * self.copies

    @property
    def parameters(self) -> int:
        return self.weight + (self.outputs * self.copies if self.bias else 0)


class Norm(Struct, frozen=True):
    """A normalisation with a weight (and, for layer norms, maybe a bias) over `size` features."""

    name: str
    size: int
    kind: Literal["rms", "layer"] = "rms"
    weight: bool = True
    bias: bool = False

    @property
    def parameters(self) -> int:
        return self.size * (int(self.weight) + int(self.bias))


class Attention(Struct, frozen=True):
    """Self-attention. `projections` are its matrices in the order of use, the output's last.

    `fused` says that queries, keys and values come from one matrix. `latent` is the width of what an MLA cache keeps
    for each token. `window` is the length of a sliding window.
    """

    projections: tuple[Linear, ...]
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    fused: bool = False
    rotary: bool = True
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    latent_norms: tuple[Norm, ...] = ()
    latent: int | None = None
    window: int | None = None
    sinks: int = 0
    residual_dropout: bool = False

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def value_width(self) -> int:
        return self.kv_heads * self.value_dim

    @property
    def output_width(self) -> int:
        return self.heads * self.value_dim

    @property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(norm for norm in (self.query_norm, self.key_norm, *self.latent_norms) if norm is not None)

    @property
    def other_parameters(self) -> int:
        return self.sinks


class Recurrence(Struct, frozen=True):
    """A layer without attention: state-space (Mamba), gated delta rule, or a short convolution.

    `saved_width` is what one token keeps for the backward pass, in elements, as read from the modelling code; `state`
    is the size of the state that generation keeps for each sequence.
    """

    kind: Literal["mamba", "mamba2", "delta", "conv"]
    projections: tuple[Linear, ...]
    norms: tuple[Norm, ...]
    other_parameters: int
    saved_width: int
    state: int


class FeedForward(Struct, frozen=True):
    """A feed-forward block: gate and up (one matrix where `fused`), activation, down."""

    gate: Linear | None
    up: Linear
    down: Linear
    activation: str
    fused: bool = False
    residual_dropout: bool = False

    @property
    def projections(self) -> tuple[Linear, ...]:
        return (self.up, self.down) if self.gate is None else (self.gate, self.up, self.down)

    @property
    def width(self) -> int:
        return self.down.inputs


class Experts(Struct, frozen=True):
    """A mixture of experts. `stacked` says that the weights are one parameter of three dimensions (no nn.Linear)."""

    router: Linear
    count: int
    active: int
    width: int
    hidden: int
    gated: bool
    activation: str
    bias: bool = False
    stacked: bool = True
    router_bias: int = 0
    shared: FeedForward | None = None
    shared_gate: Linear | None = None
    names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")

    @property
    def weight(self) -> int:
        return self.count * self.width * self.hidden * (3 if self.gated else 2)

    @property
    def expert_parameters(self) -> int:
        biases = self.count * (self.width * (2 if self.gated else 1) + self.hidden) if self.bias else 0
        return self.weight + biases

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The experts' matrices as modules, for the stacks that keep them so."""
        *into, out = self.names
        return (
            *(Linear(name, self.hidden, self.width, self.bias, self.count) for name in into),
            Linear(out, self.width, self.hidden, self.bias, self.count),
        )


class Layer(Struct, frozen=True):
    """One decoder layer: a mixer, a feed-forward block, and the norms around them."""

    mixer: Attention | Recurrence
    feed_forward: FeedForward | Experts | None
    norms: tuple[Norm, ...]
    parallel: bool = False  # attention and feed-forward read the same input (GPT-J, Falcon, Phi)
    other_parameters: int = 0

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Every matrix that is an nn.Linear, experts left to `Experts`."""
        found = list(self.mixer.projections)
        block = self.feed_forward
        if isinstance(block, FeedForward):
            found += block.projections
        elif isinstance(block, Experts):
            found += [block.router] if not block.stacked else []
            if block.shared is not None:
                found += block.shared.projections
            if block.shared_gate is not None:
                found.append(block.shared_gate)
        return tuple(found)

    @property
    def all_norms(self) -> tuple[Norm, ...]:
        return (*self.norms, *self.mixer.norms)

    @property
    def parameters(self) -> int:
        block = self.feed_forward
        total = sum(linear.parameters for linear in self.linears) + sum(norm.parameters for norm in self.all_norms)
        total += self.mixer.other_parameters + self.other_parameters
        if isinstance(block, Experts):
            total += block.expert_parameters + block.router_bias
            total += block.router.parameters if block.stacked else 0
        return total

    @property
    def kv_width(self) -> int:
        """Elements that a cache keeps for each token; 0 for a recurrence, whose state does not grow."""
        if not isinstance(self.mixer, Attention):
            return 0
        return self.mixer.latent or self.mixer.kv_width + self.mixer.value_width


class Architecture(Struct, frozen=True, dict=True):
    """A whole model.

    Attributes:
        layers: each decoder layer in order; equal layers are equal objects.
        embedding: vocabulary × width of the token embedding; `embedding_width` differs from `hidden` where a model
            projects (OPT-350m).
        positions: rows of a learned position table.
        tied: the output matrix is the embedding.
        scaled_embedding: the embedding's output is multiplied, which makes a second tensor.
        scaled_logits: the logits are divided or capped, which makes further copies.
        other: further parameters by name (projections in and out, per-layer embeddings …).
        embeds, scores: False for a stage of a pipeline that lacks the embedding, or the output matrix.
    """

    model_type: str
    name: str
    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    tied: bool
    context: int | None = None
    positions: int = 0
    embedding_width: int = 0
    head_bias: bool = False
    embedding_norm: Norm | None = None
    scaled_embedding: bool = False
    scaled_logits: int = 0
    embedding_dropout: bool = False
    other: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    embeds: bool = True
    scores: bool = True

    @cached_property
    def embedding(self) -> int:
        return 0 if not self.embeds else self.vocab * (self.embedding_width or self.hidden)

    @cached_property
    def head(self) -> Linear | None:
        """The output matrix, where it is one of its own."""
        if self.tied or not self.scores:
            return None
        return Linear("lm_head", self.embedding_width or self.hidden, self.vocab, self.head_bias)

    @cached_property
    def root_parameters(self) -> int:
        """What belongs to no layer."""
        total = self.embedding + sum(count for _, count in self.other)
        total += self.positions * self.hidden if self.embeds else 0
        total += self.head.parameters if self.head else 0
        total += self.vocab if self.tied and self.head_bias else 0
        for norm in (self.final_norm, self.embedding_norm if self.embeds else None):
            total += norm.parameters if norm else 0
        return total

    @cached_property
    def parameters(self) -> int:
        """Exact number of parameters, tied weights once."""
        return self.root_parameters + sum(count * layer.parameters for layer, count in self.kinds)

    @cached_property
    def kinds(self) -> tuple[tuple[Layer, int], ...]:
        """The different layers and how often each occurs, in order of first use."""
        found: dict[Layer, int] = {}
        for layer in self.layers:
            found[layer] = found.get(layer, 0) + 1
        return tuple(found.items())

    @cached_property
    def linear_weights(self) -> int:
        """Elements of all matrices that are nn.Linear inside the layers."""
        return sum(count * linear.weight for layer, count in self.kinds for linear in layer.linears)

    def walk(self) -> Iterator[tuple[int, Layer]]:
        yield from enumerate(self.layers)
