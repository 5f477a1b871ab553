"""The moments of one decoder layer, cached: with and without recomputation."""

from functools import cached_property, lru_cache

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.memory.architecture import Layer
from tuiwb.memory.blocks import Blocks
from tuiwb.memory.path import Path
from tuiwb.memory.trace import Extent, Ledger, Moment, Tape, features


class LayerTrace(Struct, frozen=True, dict=True):
    """What one layer needs beside its input, which is counted by whoever keeps it.

    Attributes:
        of: layer, hidden size, path and width of the stream, of which this is the trace.
        forward: moments of a forward pass that records.
        saved: what stays for the backward pass when the layer's output is not counted.
        backward: moments of the backward pass, from `saved`, the output's gradient included; where the layer is
            computed again, those of that as well.
        outliving: what a checkpoint without reentry leaves there beside the layer's input.
        out_width: bytes an element of the output.
    """

    of: tuple[Layer, int, Path, int]
    forward: tuple[Moment, ...]
    saved: Moment
    backward: tuple[Moment, ...]
    out_width: int
    outliving: Extent

    @cached_property
    def inference(self) -> tuple[Moment, ...]:
        """Moments of a forward pass without a graph."""
        return _inference(*self.of)


@lru_cache(maxsize=256)
def trace_layer(
    layer: Layer,
    hidden: int,
    path: Path,
    width: int,
    *,
    recomputed: bool,
    needs_input_grad: bool = True,
    reentrant: bool = False,
) -> LayerTrace:
    """Run one layer.

    Args:
        width: bytes an element of the residual stream that comes in.
        recomputed: the layer is computed again in the backward pass from an input that somebody keeps; otherwise the
            layer keeps its input itself where it needs it.
        reentrant: the checkpoint's backward pass still names the layer's output while it runs.
        needs_input_grad: False for the first layer where nothing before it is trained.
    """
    ledger = Ledger()
    tape = Tape(ledger)
    tag = "checkpoint" if recomputed else "activations"
    stream = hidden / path.parallel
    x = tape.graph_input(features(stream), width, requires_grad=needs_input_grad, tag=tag)
    kept = x.storage if recomputed else None
    own = stream * width if recomputed else 0
    ledger.restart()
    box = [x]
    del x
    out = Blocks(tape, path).layer(box.pop(), layer)
    forward, computed = _without(ledger.moments(), own), tape.until_saved
    out_width = out.width
    saved = _less(ledger.now(), features(stream * out_width), "activations")
    saved = _less(saved, features(own), "checkpoint") if own else saved
    root, outliving = out.node, tape.outliving
    if not (recomputed and reentrant):
        del out
    ledger.restart()
    if root is not None:
        tape.backward(root, features(stream * out_width), "gradient of the output")
    backward = _without(ledger.moments(), own)
    if recomputed:
        again = forward if reentrant else _without(computed, own)
        more = tape.before_saved.times(-1)
        backward += tuple(_less(moment, more, "gradient of the output") for moment in again)
    del kept
    return LayerTrace((layer, hidden, path, width), forward, saved, backward, out_width, outliving)


def _inference(layer: Layer, hidden: int, path: Path, width: int) -> tuple[Moment, ...]:
    ledger = Ledger()
    tape = Tape(ledger)
    with tape.no_grad():
        blocks = Blocks(tape, replace(path, dropout=False))
        x = tape.graph_input(features(hidden / path.parallel), width, requires_grad=False, tag="checkpoint")
        ledger.restart()
        blocks.layer(x, layer)
    return _without(ledger.moments(), hidden / path.parallel * width)


def _without(moments: tuple[Moment, ...], input_bytes: float) -> tuple[Moment, ...]:
    """The moments less the layer's input."""
    if not input_bytes:
        return moments
    return tuple(_less(moment, features(input_bytes), "checkpoint") for moment in moments)


def _less(moment: Moment, size: Extent, tag: str) -> Moment:
    minus = size.times(-1)
    live = dict(moment.parts)
    live[tag] = live.get(tag, Extent()).plus(minus)
    parts = tuple(live.items())
    parts = tuple((name, extent) for name, extent in parts if any(abs(value) > 1e-6 for value in extent))
    return Moment(parts, moment.total.plus(minus))
