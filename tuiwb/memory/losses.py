"""What stands after the last layer: final norm, output matrix and loss, by code path.

`full_logits` keeps a float32 copy of all logits and the log-softmax of it (transformers `loss_utils.py`; up to 4.48 a
shifted copy as well). `chunked` is TRL's fused output layer (`kernels/chunked_logprob.py`): tiles of 4096 tokens, the
gradient of the hidden states in float32. `liger` is Liger's fused linear cross entropy: it makes the gradients in the
forward pass, chunk by chunk; `rows` is this program's own, on a CPU and for PPO, which does the same. `triton` keeps
the float32 logits and writes the gradient over them (Unsloth).
"""

from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.memory.architecture import Architecture, Linear, Norm
from tuiwb.memory.blocks import Blocks
from tuiwb.memory.path import Path
from tuiwb.memory.trace import Extent, Ledger, Moment, Storage, Tape, Tensor, features, fixed

LossPath = Literal["full_logits", "chunked", "liger", "triton", "rows"]
Stack = Literal["5", "4.48", "4.44"]

CHUNK_TOKENS = 4096  # trl/kernels/chunked_logprob.py TOKEN_CHUNK_SIZE
ROWS = 128  # tuiwb/workers/loss.py and ppo_sequences.py _CHUNK
CHUNK_VOCABULARY = 32768  # trl trainer/utils.py _CHUNKED_LOGPROB_CHUNK_SIZE


class LossTrace(Struct, frozen=True):
    """Moments of the loss phase, what waits between its two passes, and what its backward pass leaves behind in
    gradients, in bytes."""

    forward: tuple[Moment, ...]
    saved: Moment
    backward: tuple[Moment, ...]
    gradients: float


class LossCode(Struct, frozen=True):
    """Which loss, as which release writes it.

    Attributes:
        held: the caller keeps the model's output, and with it the logits, through the backward pass.
        share: part of the tokens that reach the output matrix (completion tokens in DPO and GRPO).
        outside: the loss is computed outside the model, on outputs that stay: under autocast accelerate makes a float32
            copy of them (GPT-BigCode up to transformers 4.48).
        tiles: of how many whole tiles of the loss there are tokens, at most 2.
        again: the gradient of the output matrix is made in the backward pass, from logits that are computed once more
            (PPO, where it is not known before).
        cache: elements a token of the keys and values that the model returns with them.
    """

    path: LossPath
    stack: Stack = "5"
    held: bool = False
    share: float = 1.0
    outside: bool = False
    cache: int = 0
    tiles: int = 2
    again: bool = False
    outputs: int = 0  # a value or reward head has so many outputs instead of the vocabulary

    @property
    def tile(self) -> int:
        """Tokens whose logits are there at once; 0 where those of all are."""
        return {"chunked": CHUNK_TOKENS, "rows": ROWS}.get(self.path, 0)


class Ending(NamedTuple):
    """What a model has after its last layer."""

    hidden: int
    embedding_width: int
    vocab: int
    norm: Norm | None
    bias: bool
    scaled_logits: int


def ending(architecture: Architecture) -> Ending:
    width = architecture.embedding_width or architecture.hidden
    return Ending(
        architecture.hidden,
        width,
        architecture.vocab,
        architecture.final_norm,
        architecture.head_bias,
        architecture.scaled_logits,
    )


@lru_cache(maxsize=256)
def trace_loss(architecture: Ending, path: Path, code: LossCode, width: int) -> LossTrace:
    """Run the end of the model once.

    Args:
        width: bytes an element of the last layer's output.
    """
    ledger = Ledger()
    tape = Tape(ledger, "final norm and loss")
    blocks = Blocks(tape, path)
    stream = features(architecture.hidden / path.parallel)
    hidden = tape.graph_input(stream, width, requires_grad=True, tag="hidden states")
    ledger.restart()
    if architecture.norm is not None:
        # The last layer's output lives on only as far as the norm saves it.
        hidden = blocks.norm(hidden, architecture.norm)
    hidden = blocks.gather(hidden)
    loss, held = _loss(blocks, architecture, hidden, code, width)
    forward = ledger.moments()
    del hidden
    if not (code.held or code.outside):
        held = []
    root = loss.node
    del loss
    assert root is not None
    saved = ledger.now()
    ledger.restart()
    tape.backward(root)
    backward = ledger.moments()
    del held
    return LossTrace(forward, saved, backward, sum(storage.size.fixed for storage in tape.kept_grads))


def _loss(
    blocks: Blocks, architecture: Ending, hidden: Tensor, code: LossCode, stream: int
) -> tuple[Tensor, list[Tensor | Storage]]:
    """The scalar, and what the caller of the model still holds."""
    tape = blocks.tape
    if code.outputs:
        scores = _matrix(blocks, architecture, hidden, code.outputs)
        return _scalar(tape, scores), []
    vocabulary = architecture.vocab
    if code.path in ("chunked", "liger", "rows"):
        return _fused(blocks, architecture, hidden, code), []
    with tape.tagged("logits"):
        logits = _matrix(blocks, architecture, hidden, vocabulary)
        for _ in range(architecture.scaled_logits):
            # Divided (Granite, Cohere), or divided, capped by tanh and multiplied (Gemma 2): tanh saves its result.
            capped = architecture.scaled_logits == 3
            logits = tape.op([logits], logits.elements, logits.width, saved=[logits] if capped else [])
    if code.outside:
        return _outside(blocks, logits, code, stream)
    box = [logits]
    del logits
    with tape.tagged("loss"):
        return _cross_entropy(blocks, box, code)


def _cross_entropy(blocks: Blocks, box: list[Tensor], code: LossCode) -> tuple[Tensor, list[Tensor | Storage]]:
    """Takes the logits out of `box`, so that no caller's name keeps them where the modelling code does not."""
    tape = blocks.tape
    logits = box.pop()
    converted = blocks.cast(logits, 4)
    # Up to transformers 4.44 `logits = logits.float()` in the model itself let go of the half-precision logits.
    held: list[Tensor | Storage] = [] if code.stack == "4.44" else [logits]
    del logits
    # shift_logits = logits[..., :-1, :].contiguous(), while `logits` still names the unshifted ones
    scored = converted if code.stack == "5" else tape.op([converted], converted.elements, 4)
    if code.path == "triton":
        # The kernel writes the gradient over the logits that it saved.
        loss = tape.op([scored], fixed(1), 4, saved=[scored], grads=["saved"])
    else:
        softmax = tape.op([scored], scored.elements, 4)
        if softmax.node is not None:
            softmax.node.saved = [softmax.storage]
        # The gradient of nll_loss is a tensor of zeros with one entry in each row.
        loss = tape.op([softmax], fixed(1), 4, saved=[softmax])
        del softmax
    return loss, held


def _outside(blocks: Blocks, logits: Tensor, code: LossCode, stream: int) -> tuple[Tensor, list[Tensor | Storage]]:
    tape = blocks.tape
    held: list[Tensor | Storage] = [tape.allocate(features(code.cache * stream))]
    with tape.tagged("loss"):
        converted = blocks.cast(logits, 4) if blocks.path.autocast else logits
        held.append(converted)
        shifted = tape.op([converted], converted.elements, converted.width)
        if code.path == "triton":
            return tape.op([shifted], fixed(1), 4, saved=[shifted], grads=["saved"]), held
        softmax = tape.op([shifted], shifted.elements, shifted.width)
        if softmax.node is not None:
            softmax.node.saved = [softmax.storage]
        return tape.op([softmax], fixed(1), 4, saved=[softmax]), held


def _matrix(blocks: Blocks, architecture: Ending, hidden: Tensor, outputs: int) -> Tensor:
    """The output matrix is never quantized, and has no adapter unless one is asked for by name."""
    linear = Linear("lm_head", architecture.embedding_width, outputs, architecture.bias)
    path = blocks.path
    plain = Blocks(blocks.tape, replace(path, quantized="", weights=path.weights))
    return plain.linear(hidden, linear)


def _fused(blocks: Blocks, architecture: Ending, hidden: Tensor, code: LossCode) -> Tensor:
    tape, path = blocks.tape, blocks.path
    weight = architecture.vocab * architecture.embedding_width
    grads = [fixed(weight * path.weights)] if path.trained and not path.accumulates else []
    if code.path == "chunked":
        return _chunked(blocks, architecture, hidden, code, grads)
    if code.path == "rows":
        by_rows = _by_rows_again if code.again else _by_rows
        return by_rows(blocks, architecture, hidden, code, grads)
    # Liger: chunks of about T·h/V rows, so that a chunk's logits are no larger than the hidden states.
    rows = architecture.hidden
    chunk = tape.allocate(features(rows * (path.compute + 4)))
    gradient = tape.allocate(hidden.elements.times(hidden.width))
    made = [gradient]
    if path.trained:
        made.append(tape.allocate(fixed(weight * path.weights), "gradients"))
    del chunk
    return tape.op(
        [hidden],
        fixed(1),
        4,
        saved=made,
        grads=[(hidden.elements, hidden.width)],
        parameter_grads=grads,
    )


def _chunked(blocks: Blocks, architecture: Ending, hidden: Tensor, code: LossCode, grads: list[Extent]) -> Tensor:
    """TRL's fused output layer: tiles of so many tokens × so many words, used again and again."""
    tape, path = blocks.tape, blocks.path
    width = path.compute if path.autocast else max(hidden.width, path.weights)

    def tile(words: int) -> Extent:
        return _tile(words, code)

    # The buffer has its full width also where the vocabulary is smaller. Without Triton a tile is folded in torch, out
    # of place: 12 and 29 bytes an element of temporaries, counted in _forward_tile and _backward_tile.
    buffer = tile(CHUNK_VOCABULARY).times(width)
    words = tile(min(CHUNK_VOCABULARY, architecture.vocab))
    forward, backward = (12, 29) if path.on_cpu else (0, 0)
    scored = tape.op([hidden], hidden.elements.times(code.share), hidden.width)  # hidden_states[mask]
    temporary = tape.allocate(buffer.plus(words.times(forward)), "tiles of logits")
    del temporary
    temporaries = [buffer, words.times(backward), scored.elements.times(4)]
    if path.trained:
        weight = architecture.vocab * architecture.embedding_width
        temporaries.append(fixed(4 * weight) if path.weights != 4 else Extent())
    return tape.op([scored], fixed(1), 4, saved=[scored], temporaries=temporaries, parameter_grads=grads)


def _tile(words: int, code: LossCode, count: int = 1) -> Extent:
    """Elements of so many tiles, each so many tokens × so many words; no more than there are tokens."""
    return features(words * code.share) if code.tiles < count else fixed(words * code.tile * count)


def _by_rows(blocks: Blocks, architecture: Ending, hidden: Tensor, code: LossCode, grads: list[Extent]) -> Tensor:
    """tuiwb/workers/loss.py: so many rows of logits at a time, with their gradient at once, which is handed on."""
    tape, path = blocks.tape, blocks.path
    weight = architecture.vocab * architecture.embedding_width
    selected = tape.op([hidden], hidden.elements.times(code.share), hidden.width)  # the rows that have a label
    width = path.compute if path.autocast else path.weights
    made = tape.allocate(selected.elements.times(selected.width))
    copy = tape.allocate(fixed(weight * width if path.autocast and width != path.weights else 0))
    gradient = tape.allocate(fixed(weight * 4), "gradients") if path.trained else None
    tile, two = _tile(architecture.vocab, code), _tile(architecture.vocab, code, 2)
    # Logits, and where they are narrower their float32 copy, while those of the tile before still have names.
    rows = tape.allocate(two.times(4 if width == 4 else 4 + width), "tiles of logits")
    del rows
    if path.trained:
        # A tile's share of the matrix's gradient is a matrix of its own before it is added.
        product = tape.allocate(tile.times(4 if width == 4 else 4 + width).plus(fixed(weight * width)), "loss")
        del product, copy
        if path.weights != 4:
            gradient = tape.allocate(fixed(weight * path.weights), "gradients")
    saved = [made] if gradient is None or grads else [made, gradient]
    if gradient is not None and grads:
        tape.kept_grads.append(gradient)
    return tape.op([selected], fixed(1), 4, saved=saved, grads=["saved"])


def _by_rows_again(blocks: Blocks, architecture: Ending, hidden: Tensor, code: LossCode, grads: list[Extent]) -> Tensor:
    """tuiwb/workers/ppo_sequences.py: logarithms and entropies of some rows at a time. What a logarithm changes by with
    its hidden state is made at once; what it changes by with the matrix, from the logits once more."""
    tape, path = blocks.tape, blocks.path
    weight = architecture.vocab * architecture.embedding_width
    selected = tape.op([hidden], hidden.elements.times(code.share), hidden.width)
    width = path.compute if path.autocast else path.weights
    copy = tape.allocate(fixed(weight * width if path.autocast and width != path.weights else 0))
    slopes = tape.allocate(selected.elements.times(selected.width))
    tile, two = _tile(architecture.vocab, code), _tile(architecture.vocab, code, 2)
    # Logits and their log-softmax, while that of the tile before and its exponentials still have names.
    rows = tape.allocate(two.times(8), "tiles of logits")
    del rows, copy
    saved, temporaries = [slopes], []
    if path.trained:
        saved.append(selected.storage)
        temporaries = [fixed(weight * width), tile.times(8)]
        if path.weights != 4 or not grads:
            temporaries.append(fixed(weight * 4))
    return tape.op([selected], fixed(1), 4, saved=saved, temporaries=temporaries, parameter_grads=grads)


def _scalar(tape: Tape, x: Tensor) -> Tensor:
    return tape.op([x], fixed(1), 4)
