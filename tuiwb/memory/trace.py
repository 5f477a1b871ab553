"""A model of automatic differentiation that counts bytes: the same tensors live and die as in PyTorch, without data.

`blocks` and `losses` write a layer and a loss down once, operation by operation, as the modelling code does. Python's
own reference counts then decide when a tensor is freed, exactly as they do there: a local variable that still names a
tensor keeps it, a saved tensor lives until its node has run. The ledger notes every total on the way up; the highest is
the peak of the phase, and its parts are known by tag.

Every size is a function of two numbers that the trace does not know: tokens in the batch, and the length of a sequence
(for attention that writes out its scores). So one trace serves every batch size and length.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from msgspec import Struct


class Extent(NamedTuple):
    """Elements or bytes as a function of the batch: `per_token`·T + `per_pair`·T·length + `fixed`."""

    per_token: float = 0.0
    per_pair: float = 0.0
    fixed: float = 0.0

    def times(self, factor: float) -> "Extent":
        return Extent(self.per_token * factor, self.per_pair * factor, self.fixed * factor)

    def plus(self, other: "Extent") -> "Extent":
        return Extent(self.per_token + other[0], self.per_pair + other[1], self.fixed + other[2])

    def at(self, tokens: float, length: float) -> float:
        return self.per_token * tokens + self.per_pair * tokens * length + self.fixed


def features(count: float) -> Extent:
    """So many elements for each token."""
    return Extent(per_token=count)


def fixed(count: float) -> Extent:
    """So many elements whatever the batch."""
    return Extent(fixed=count)


def scores(heads: float) -> Extent:
    """Attention scores: for each token and head one element for every position of the sequence."""
    return Extent(per_pair=heads)


class Moment(Struct, frozen=True):
    """What is alive at one instant, by tag."""

    parts: tuple[tuple[str, Extent], ...]
    total: Extent

    def at(self, tokens: float, length: float) -> dict[str, float]:
        return {tag: extent.at(tokens, length) for tag, extent in self.parts}


# An extent in the making: a plain tuple, because a ledger makes thousands of them.
_Size = tuple[float, float, float]
_NOTHING: _Size = (0.0, 0.0, 0.0)
_State = tuple[_Size, dict[str, _Size]]  # what is alive: in all, and by tag
_Mark = tuple[list[_State], _State]


class Ledger:
    """Counts what is alive, and remembers the moments that may be the highest for some batch.

    A total only rises until something is freed, so the one before that is the only one of them to remember.
    """

    def __init__(self) -> None:
        self._live: dict[str, _Size] = {}
        self._total: _Size = (0.0, 0.0, 0.0)
        self._rising = False
        self._highest: list[_State] = []

    def add(self, tag: str, size: _Size) -> None:
        token, pair, rest = size
        a, b, c = self._live.get(tag, _NOTHING)
        self._live[tag] = (a + token, b + pair, c + rest)
        a, b, c = self._total
        self._total = (a + token, b + pair, c + rest)
        self._rising = True

    def remove(self, tag: str, size: _Size) -> None:
        if self._rising:
            self._note()
        token, pair, rest = size
        a, b, c = self._live[tag]
        self._live[tag] = (a - token, b - pair, c - rest)
        a, b, c = self._total
        self._total = (a - token, b - pair, c - rest)

    def now(self) -> Moment:
        return _moment(self._total, self._live)

    @property
    def total(self) -> Extent:
        return Extent(*self._total)

    def mark(self) -> _Mark:
        """The moments until now, cheaply: `moments_at` tells them."""
        return self._highest, (self._total, self._live.copy())

    def moments_at(self, mark: _Mark) -> tuple[Moment, ...]:
        highest, last = mark
        return tuple(_moment(total, live) for total, live in (*highest, last))

    def restart(self) -> None:
        """Forget the moments so far; what is alive stays alive."""
        self._highest = []
        self._note()

    def moments(self) -> tuple[Moment, ...]:
        """The moments of which each may be the highest for some batch and length."""
        if self._rising:
            self._note()
        return tuple(_moment(total, live) for total, live in self._highest)

    def _note(self) -> None:
        self._rising = False
        a, b, c = self._total
        for (x, y, z), _ in self._highest:
            if x >= a and y >= b and z >= c:
                return
        self._highest = [one for one in self._highest if one[0][0] > a or one[0][1] > b or one[0][2] > c]
        self._highest.append((self._total, self._live.copy()))


def _moment(total: _Size, live: dict[str, _Size]) -> Moment:
    parts = tuple((tag, Extent(*size)) for tag, size in live.items() if any(abs(value) > 1e-6 for value in size))
    return Moment(parts, Extent(*total))


# How a gradient comes to be: elements and width of a new one; None hands the incoming one on; "saved" is written over
# the first saved tensor.
Gradient = tuple[Extent, int] | Literal["saved"] | None


class Storage:
    """Memory that is counted as long as Python names it."""

    __slots__ = ("ledger", "size", "tag")

    def __init__(self, ledger: Ledger, size: Extent, tag: str) -> None:
        self.ledger = ledger
        self.size = size
        self.tag = tag
        ledger.add(tag, size)

    def __del__(self) -> None:
        self.ledger.remove(self.tag, self.size)


class Node(Struct, eq=False):
    """One recorded operation: what it needs for its backward pass, and what that makes."""

    order: int
    parents: tuple["Node | None", ...]
    grads: tuple["Gradient", ...]
    saved: list[Storage]
    temporaries: tuple[Extent, ...]
    parameter_grads: tuple[Extent, ...]
    asks: bool = False
    grad: Storage | None = None


class Tensor(Struct, eq=False):
    """A view on memory with a place in the graph. `elements` as an extent, `width` in bytes each."""

    storage: Storage
    elements: Extent
    width: int
    node: Node | None

    @property
    def requires_grad(self) -> bool:
        return self.node is not None


class Tape:
    """Records operations and plays them back.

    Args:
        tag: what new memory is counted as, until `tagged` says otherwise.
    """

    def __init__(self, ledger: Ledger, tag: str = "activations") -> None:
        self.ledger = ledger
        self.tag = tag
        self.recording = True
        self._count = 0
        self.kept_grads: list[Storage] = []
        self._asked: _Mark | None = None
        self.before_saved = Extent()
        self._outliving: dict[int, Extent] = {}

    def outlive(self, storage: Storage) -> None:
        """The operation that is recorded next keeps this where a checkpoint does not see it."""
        if self.recording:
            self._outliving[id(storage)] = storage.size  # several operations may keep the same one

    @property
    def outliving(self) -> Extent:
        """Bytes that stay after a checkpointed forward pass."""
        return functools.reduce(Extent.plus, self._outliving.values(), Extent())

    @property
    def until_saved(self) -> tuple[Moment, ...]:
        """Moments of the forward pass up to the last operation that keeps something: a checkpoint that computes it
        again stops there."""
        return () if self._asked is None else self.ledger.moments_at(self._asked)

    @contextmanager
    def tagged(self, tag: str) -> Iterator[None]:
        before, self.tag = self.tag, tag
        try:
            yield
        finally:
            self.tag = before

    @contextmanager
    def no_grad(self) -> Iterator[None]:
        before, self.recording = self.recording, False
        try:
            yield
        finally:
            self.recording = before

    def allocate(self, size: Extent, tag: str | None = None) -> Storage:
        return Storage(self.ledger, size, tag or self.tag)

    def graph_input(self, elements: Extent, width: int, *, requires_grad: bool, tag: str) -> Tensor:
        """What another layer made: it has a gradient, and nothing but its users keeps it."""
        node = None
        if requires_grad and self.recording:
            self._count += 1
            node = Node(self._count, (), (), [], (), ())
        return Tensor(self.allocate(elements.times(width), tag), elements, width, node)

    def op(
        self,
        inputs: Sequence[Tensor],
        elements: Extent | None,
        width: int,
        *,
        saved: Sequence[Tensor | Storage] = (),
        grads: "Sequence[Gradient] | None" = None,
        temporaries: Sequence[Extent] = (),
        parameter_grads: Sequence[Extent] = (),
        storage: Storage | None = None,
        weights: bool = False,
    ) -> Tensor:
        """Record an operation.

        Args:
            elements: of the output; None makes the output a view of the first input.
            saved: what the backward pass needs.
            grads: for each input how its gradient comes to be. Left out: a new one of the input's size.
            temporaries: bytes that the backward pass needs besides, while it runs.
            parameter_grads: bytes of the gradients of weights that it makes.
            storage: the output's memory, where the operation wrote into memory that exists.
            weights: the backward pass needs weights, which are there anyway.
        """
        asks = bool(saved) or weights
        if asks:
            self._asked = self.ledger.mark()
        if storage is None:
            storage = inputs[0].storage if elements is None else self.allocate(elements.times(width))
        shape = inputs[0].elements if elements is None else elements
        node = None
        if self.recording and (parameter_grads or any(tensor.requires_grad for tensor in inputs)):
            self._count += 1
            if grads is None:
                grads = [None if elements is None else (tensor.elements, tensor.width) for tensor in inputs]
            node = Node(
                self._count,
                tuple(tensor.node for tensor in inputs),
                tuple(grads),
                [one.storage if isinstance(one, Tensor) else one for one in saved],
                tuple(temporaries),
                tuple(parameter_grads),
                asks,
            )
        return Tensor(storage, shape, width, node)

    def backward(self, root: Node, grad: Extent | None = None, tag: str | None = None) -> None:
        """Play the graph below `root` backward, newest node first.

        `before_saved` is then what was made until the first node asked for what it had saved: a checkpoint computes its
        layer again at that moment.

        Args:
            grad: bytes of the gradient that comes in; left out, a scalar's.
            tag: what it is counted as.
        """
        order = _reachable(root)
        begun = self.ledger.total
        root.grad = self.allocate(grad or Extent(), tag)
        del root
        asked = False
        while order:
            node = order.pop()
            if node.asks and not asked:
                asked = True
                self.before_saved = self.ledger.total.plus(begun.times(-1))
            incoming, node.grad = node.grad, None
            made = self._run(node, incoming) if incoming is not None and node.parents else []
            # What a node saved goes when it has run, and its gradient with it.
            node.saved = []
            node.parents = ()
            del incoming
            while made:
                parent, storage = made.pop()
                # A second gradient for the same tensor is added into the first in place.
                if parent.grad is None:
                    parent.grad = storage
                del parent, storage
            del node

    def _run(self, node: Node, grad: Storage) -> list[tuple[Node, Storage]]:
        tag = grad.tag
        held = [self.allocate(size, tag) for size in node.temporaries]
        for size in node.parameter_grads:
            self.kept_grads.append(self.allocate(size, "gradients"))
        made = []
        for parent, shape in zip(node.parents, node.grads, strict=True):
            if parent is None:
                continue
            if shape is None:
                made.append((parent, grad))
            elif shape == "saved":
                made.append((parent, node.saved[0]))
            else:
                made.append((parent, self.allocate(shape[0].times(shape[1]), tag)))
        del held
        return made


def _reachable(root: Node) -> list[Node]:
    """All nodes below `root`, oldest first."""
    found = {id(root): root}
    todo = [root]
    while todo:
        for parent in todo.pop().parents:
            if parent is not None and id(parent) not in found:
                found[id(parent)] = parent
                todo.append(parent)
    ordered = sorted(found.values(), key=lambda node: node.order)
    found.clear()
    return ordered
