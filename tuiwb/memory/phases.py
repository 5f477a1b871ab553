"""From components to phases: what is alive at once in each part of a training step, and which part is the highest.

A phase is a list of components that add up to it. What stays for the whole run comes from `states`, what a layer or the
loss makes from the traces. With checkpointing the inputs of all layers wait for the backward pass, which computes one
layer at a time again; without it all that the layers saved waits.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.memory.adapters import prefix_width
from tuiwb.memory.answering import answering, cache_bytes
from tuiwb.memory.architecture import Layer
from tuiwb.memory.inputs import SAMPLING, Inputs
from tuiwb.memory.layers import LayerTrace, trace_layer
from tuiwb.memory.losses import LossCode, LossTrace, ending, trace_loss
from tuiwb.memory.path import Path
from tuiwb.memory.sharding import Shards
from tuiwb.memory.trace import Moment

Parts = dict[str, float]


class Phase(Struct, frozen=True):
    """One part of a step: its name, and the bytes of each component that is alive in it."""

    name: str
    parts: Parts

    @property
    def bytes(self) -> float:
        return sum(self.parts.values())


class Step(Struct, frozen=True, dict=True):
    """All phases of one training step on one GPU.

    Attributes:
        values: the part of a PPO step that trains the value, which comes when the policy's gradients are there.
    """

    inputs: Inputs
    values: bool = False

    # ------------------------------------------------------------------------------------------------- the traces

    @cached_property
    def shards(self) -> Shards:
        return Shards(self.inputs)

    @cached_property
    def _traces(self) -> tuple[tuple[int, Layer, LayerTrace], ...]:
        """Each layer's index, shape and trace, in order; equal ones share a trace."""
        inputs = self.inputs
        width = inputs.embedding_width
        known: dict[tuple[int, int, bool, bool], LayerTrace] = {}
        found = []
        for index, layer in enumerate(inputs.architecture.layers):
            frozen = bool(inputs.trained_from) and index < (inputs.trained_from or 0)
            needs_grad = index > (inputs.trained_from or 0) or inputs.checkpointing or self._reaches_first
            key = (id(layer), width, frozen, needs_grad)
            if key not in known:
                known[key] = trace_layer(
                    layer,
                    inputs.architecture.hidden,
                    self._path(frozen),
                    width,
                    recomputed=inputs.checkpointing,
                    reentrant=inputs.reentrant,
                    needs_input_grad=needs_grad,
                )
            found.append((index, layer, known[key]))
            width = known[key].out_width
        return tuple(found)

    @property
    def _trains_embedding(self) -> bool:
        adapter = self.inputs.adapter
        return self.inputs.method == "full" or (adapter is not None and "embedding" in adapter.saved)

    @property
    def _reaches_first(self) -> bool:
        """Gradients go through the first layer to what is before it: an embedding, a prompt, another stage."""
        return self._trains_embedding or self.inputs.prompt > 0 or not self.inputs.grid.first

    def _path(self, frozen: bool) -> Path:
        path = replace(self.inputs.path, accumulates=self.keeps_gradients)
        return replace(path, trained=False) if frozen else path

    def at(self, batch: int, length: int) -> "Step":
        """The same step with another batch; traces and weights are shared, so this costs next to nothing."""
        inputs = replace(self.inputs, batch=batch, length=length)
        step = Step(inputs)
        step.__dict__.update(_traces=self._traces, shards=self.shards.of_batch(inputs))
        if step._tiles == self._tiles:
            step.__dict__["loss"] = self.loss
        return step

    def shared_by(self, ranks: int) -> "Step":
        """The same step on one of so many GPUs, where several share the model already."""
        inputs = replace(self.inputs, grid=replace(self.inputs.grid, ranks=ranks))
        step = Step(inputs)
        step.__dict__.update(_traces=self._traces, shards=self.shards.of_ranks(inputs))
        if step._tiles == self._tiles:
            step.__dict__["loss"] = self.loss
        return step

    @property
    def _tiles(self) -> int:
        """Whole tiles of the loss that the tokens fill that are taken to the vocabulary, counted up to two."""
        loss = self.inputs.loss
        return min(2, int(self.inputs.tokens * loss.share // loss.tile)) if loss.tile else 2

    @cached_property
    def loss(self) -> LossTrace:
        inputs = self.inputs
        path = replace(inputs.path, accumulates=self.keeps_gradients)
        if inputs.adapter is not None and "head" in inputs.adapter.saved:
            path = replace(path, trained=True)
        if inputs.quantization and inputs.upcast == "true":
            path = replace(path, weights=4)
        code = replace(inputs.loss, tiles=self._tiles)
        if self.values:
            code = LossCode("full_logits", outputs=1)
        return trace_loss(ending(inputs.architecture), path, code, self._traces[-1][2].out_width)

    @property
    def _head_gradients(self) -> float:
        return self.loss.gradients if self.inputs.grid.last else 0.0

    @property
    def keeps_gradients(self) -> bool:
        """Gradients of earlier batches are there while the next is computed."""
        return self.inputs.accumulation > 1

    # --------------------------------------------------------------------------------------------- what is there

    def steady(self) -> Parts:
        """What stays between two steps, or between two tokens of an answer."""
        parts = self.shards.steady()
        if self.inputs.stage == "inference":
            parts["cache of keys and values"] = cache_bytes(self.inputs, self.inputs.batch, self.inputs.length)
        return parts

    @cached_property
    def _standing(self) -> Parts:
        """What is there in every phase."""
        parts = self.shards.standing()
        if self.keeps_gradients:
            parts["gradients"] = self.shards.gradients if self.values else self.shards.policy_gradients
        elif self.values:
            parts["gradients"] = self.shards.policy_gradients
        if self.inputs.grid.pipeline > 1:
            parts["batches in flight"] = self._in_flight
        if prefix := self._prefix:
            parts["learned prefix"] = prefix
        return parts

    @property
    def _in_flight(self) -> float:
        """What the other batches keep that this stage of a pipeline has begun, and all outputs that it sent on."""
        inputs = self.inputs
        waiting = inputs.grid.in_flight(inputs.accumulation)
        out = 0.0 if inputs.grid.last else inputs.stream * inputs.tokens * self._traces[-1][2].out_width
        return (waiting - 1) * self._saved_before[-1] + waiting * out

    @property
    def _prefix(self) -> float:
        """Keys and values of a learned prefix for each sequence, their gradients, and their copies in each cache."""
        inputs = self.inputs
        adapter = inputs.adapter
        if adapter is None or adapter.kind != "prefix":
            return 0.0
        sequences = inputs.batch * inputs.per_row
        return 3.0 * sequences * adapter.tokens * prefix_width(inputs.architecture) * inputs.weights

    @property
    def _held(self) -> Parts:
        """What the caller of the model still names after the loss: its output, with the logits."""
        inputs = self.inputs
        if not inputs.loss.held or inputs.loss.outputs or not inputs.grid.last:
            return {}
        return {"logits": float(inputs.architecture.vocab * inputs.compute * inputs.tokens)}

    @cached_property
    def _saved_before(self) -> tuple[float, ...]:
        """Prefix sums: bytes that the layers before each one keep, and after the last those of all."""
        inputs = self.inputs
        tokens, length, stream = inputs.tokens, inputs.length, inputs.stream
        width = inputs.embedding_width
        # Of what waits in host memory two inputs are back at a time: the one that is used, and the next.
        sums = [2 * stream * width * tokens if inputs.offloads_inputs else 0.0]
        kept: dict[int, float] = {}  # by trace: equal layers share one
        for _, _, trace in self._traces:
            if id(trace) not in kept:
                kept[id(trace)] = (
                    0.0
                    if inputs.offloads_inputs
                    else stream * width * tokens + (0.0 if inputs.reentrant else trace.outliving.at(tokens, length))
                    if inputs.checkpointing
                    else trace.saved.total.at(tokens, length)
                )
            sums.append(sums[-1] + kept[id(trace)])
            width = trace.out_width
        return tuple(sums)

    @cached_property
    def _embedding(self) -> float:
        """What the embedding keeps besides the first layer's input."""
        inputs = self.inputs
        shapes = inputs.architecture
        per_token = 0.0
        leaf = inputs.adapter is not None and inputs.checkpointing
        if leaf and (shapes.scaled_embedding or shapes.positions or shapes.embedding_dropout):
            # enable_input_require_grads makes the embedding's output a leaf, which the graph keeps.
            per_token += shapes.hidden * inputs.embedding_width
        if shapes.embedding_dropout:
            per_token += shapes.hidden
        return per_token * inputs.tokens

    # -------------------------------------------------------------------------------------------------- the phases

    def phases(self) -> tuple[Phase, ...]:
        """Every phase at its highest moment, in the order in which they happen."""
        if self.inputs.stage == "inference":
            return tuple(answering(self))
        found = [self._loss_phase(), *self._backward_phases(), self._step_phase()]
        if self.inputs.stage == "ppo":
            found.insert(-1, self._value_phase())
        if self.inputs.judges:
            found.insert(1, self._reference_phase())
        if self.inputs.stage in SAMPLING:
            found.insert(0, self._sampling_phase())
        if self.inputs.evaluates:
            found.append(self._evaluation_phase())
        return tuple(phase for phase in found if phase is not None)

    def _waiting_name(self) -> str:
        return "layer inputs" if self.inputs.checkpointing else "saved activations"

    def _highest(self, base: Parts, moments: Iterable[Moment], tokens: float, length: float) -> Parts:
        best: Moment | None = None
        highest = -1.0
        for moment in moments:
            value = moment.total.at(tokens, length)
            if value > highest:
                best, highest = moment, value
        parts = dict(base)
        for tag, value in (best.at(tokens, length) if best else {}).items():
            name = _NAMES.get(tag, tag)
            parts[name] = parts.get(name, 0.0) + value
        return {name: value for name, value in parts.items() if abs(value) >= 0.5}

    def inference(self, base: Parts, tokens: float, length: float) -> Parts:
        """`base` and the highest moment of a forward pass without a graph, layer by layer. The caller of a layer names
        its input until the output is there."""
        entering = self.inputs.stream * self.inputs.embedding_width * tokens
        base = base | {_NAMES["activations"]: base.get(_NAMES["activations"], 0.0) + entering}
        found = [
            self._highest(base, trace.inference, tokens, length)
            for trace in {id(t): t for _, _, t in self._traces}.values()
        ]
        return max(found, key=lambda parts: sum(parts.values()))

    def _loss_phase(self) -> Phase:
        inputs = self.inputs
        base = dict(self._standing)
        base[self._waiting_name()] = self._saved_before[-1] + self._embedding
        base.update(self.shards.unsharded(None))
        if not inputs.grid.last:
            forward = [moment for _, _, trace in self._traces[:1] for moment in trace.forward]
            return Phase("forward", self._highest(base, forward, inputs.tokens, inputs.length))
        moments = (*self.loss.forward, *self.loss.backward)
        parts = self._highest(base, moments, inputs.tokens, inputs.length)
        if not inputs.checkpointing:  # what the last layer frees while it is computed may be more than the loss takes
            base[self._waiting_name()] = self._saved_before[-2] + self._embedding
            computed = self._highest(base, self._traces[-1][2].forward, inputs.tokens, inputs.length)
            parts = max(parts, computed, key=lambda one: sum(one.values()))
        return Phase("forward and loss", parts)

    def _value_phase(self) -> Phase:
        step = Step(self.inputs, values=True)
        step.__dict__.update(_traces=self._traces, shards=self.shards)
        highest = max((step._loss_phase(), *step._backward_phases()), key=lambda phase: phase.bytes)
        return Phase("training the value", highest.parts)

    def _reference_phase(self) -> Phase:
        """The reference's forward pass without a graph, while the trained model's waits for its backward pass."""
        inputs = self.inputs
        base = self._standing | self._held
        base[self._waiting_name()] = self._saved_before[-1] + self._embedding
        base.update(self.shards.unsharded(self._traces[0][1]))
        # What its loss keeps waits too, unlike while the reference's own is computed, which keeps nothing.
        waiting = self._highest(base, [self.loss.saved], inputs.tokens, inputs.length)
        parts = self.inference(waiting, inputs.tokens, inputs.length)
        scored = self._highest(base, self.loss.forward, inputs.tokens, inputs.length)
        return Phase("reference", max(parts, scored, key=lambda one: sum(one.values())))

    def _sampling_phase(self) -> Phase:
        """Answers are sampled with a cache of keys and values; TRL samples all batches of one step together."""
        inputs = self.inputs
        sequences = inputs.sampled
        base = dict(self._standing)
        base.update(self.shards.unsharded(None))
        if not inputs.vllm_share:
            base["cache of keys and values"] = cache_bytes(inputs, sequences, inputs.length)
        prompt = sequences * (inputs.length - inputs.completion)
        if inputs.vllm_share:
            return Phase("sampling", {name: value for name, value in base.items() if value >= 0.5})
        parts = self.inference(base, prompt, inputs.length)
        parts["logits"] = parts.get("logits", 0.0) + float(inputs.architecture.vocab * 4 * sequences)
        return Phase("sampling", parts)

    def _backward_phases(self) -> Iterator[Phase]:
        """The backward pass at the last and at the first layer: between them inputs go and gradients come."""
        inputs = self.inputs
        candidates: dict[str, Phase] = {}
        last = len(self._traces) - 1
        seen: set[tuple[int, str]] = set()
        for direction, order in (("last", reversed(self._traces)), ("first", iter(self._traces))):
            for index, layer, trace in order:
                key = (id(trace), direction)
                if key in seen or (inputs.trained_from or 0) > index:
                    continue
                seen.add(key)
                base = self._standing | self._held
                waiting = self._saved_before[index + 1 if inputs.checkpointing else index] + self._embedding
                base[self._waiting_name()] = waiting
                for name, value in self.shards.retained(index, last, trace.out_width).items():
                    base[name] = base.get(name, 0.0) + value
                base.update(self.shards.unsharded(layer))
                base.update(self.shards.reducing(layer, index, last))
                if inputs.trains_base and not self.keeps_gradients:
                    for name, value in self.shards.gradients_after(index, self._head_gradients).items():
                        base[name] = base.get(name, 0.0) + value
                elif inputs.adapter and not self.keeps_gradients:
                    made = self.shards.policy_gradients * (last - index) / (last + 1)
                    base["gradients"] = base.get("gradients", 0.0) + made
                name = "recomputing a layer" if inputs.checkpointing else "backward pass"
                phase = Phase(name, self._highest(base, trace.backward, inputs.tokens, inputs.length))
                if name not in candidates or phase.bytes > candidates[name].bytes:
                    candidates[name] = phase
        yield from candidates.values()
        if root := self.shards.reducing_root():
            yield Phase("reducing the root's gradients", self._standing | self._held | root)
        tied = self._tied_embedding_phase()
        if tied is not None:
            yield tied

    def _tied_embedding_phase(self) -> Phase | None:
        """A tied embedding gets a second gradient of its size before the two are added."""
        inputs = self.inputs
        if not (inputs.method == "full" and inputs.architecture.tied) or inputs.stage == "reward" or self.values:
            return None
        base = self._standing | self._held
        if not self.keeps_gradients:
            base["gradients"] = base.get("gradients", 0.0) + self.shards.policy_gradients
        base["second gradient of the embedding"] = inputs.architecture.embedding * self.shards.gradient_width
        base.update(self.shards.unsharded(None))
        return Phase("gradient of the embedding", base)

    def _step_phase(self) -> Phase:
        base = self._standing | self._held
        base["gradients"] = self.shards.gradients
        base["optimizer's copy"] = self.shards.step_copy
        return Phase("optimizer step", {name: value for name, value in base.items() if value >= 0.5})

    def _evaluation_phase(self) -> Phase:
        """Forward without a graph; the logits of the batch are made whole, in float32 too where all are wanted."""
        inputs = self.inputs
        tokens = inputs.eval_batch * inputs.length
        base = dict(self._standing)
        base.update(self.shards.unsharded(None))
        base.pop("batch", None)
        base["batch"] = 24.0 * tokens
        parts = self.inference(base, tokens, inputs.length)
        if inputs.loss.path in ("full_logits", "triton") and not inputs.loss.outputs and inputs.grid.last:
            width = inputs.compute + 4 + 4
            logits = dict(base)
            logits["logits"] = float(inputs.architecture.vocab * width * tokens)
            if sum(logits.values()) > sum(parts.values()):
                parts = logits
        return Phase("evaluation", {name: value for name, value in parts.items() if value >= 0.5})


_NAMES = {
    "activations": "activations of one layer",
    "gradient of the output": "activation gradients",
    "checkpoint": "layer inputs",
    "hidden states": "final norm and loss",
}
