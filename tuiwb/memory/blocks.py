"""One decoder layer, operation by operation, as transformers runs it: what it makes and what it saves.

Sources: transformers `modeling_llama.py` and its relatives (RMS norm in float32, rotary embedding, gated feed-forward),
flash-attention's `flash_api.cpp` (float32 accumulator of dQ, dK and dV for all heads).
"""

from msgspec.structs import replace

from tuiwb.memory.architecture import Attention, Experts, FeedForward, Layer, Norm, Recurrence
from tuiwb.memory.matrices import THERE, Matrices
from tuiwb.memory.trace import Extent, Tensor, features, fixed, scores

MOST_ROUNDS = 16  # rounds of a loop over experts that are traced; with more experts each round stands for several


class Blocks(Matrices):
    """Writes a layer's operations onto a tape."""

    # ------------------------------------------------------------------------------------------------------- norms

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        if norm.kind == "layer":
            return self._layer_norm(x, norm)
        if self.path.fused_norm:
            # One kernel; it saves its input and a number for each row.
            return self.tape.op([x], x.elements, x.width, saved=[x], parameter_grads=self._norm_grads(norm))
        return self._own_norm(x) if self.path.own and not self.path.trained else self._rms_norm(x, norm)

    def _norm_grads(self, norm: Norm) -> list[Extent]:
        if not self.path.trained:
            return []
        return [THERE if self.path.accumulates else fixed(norm.parameters * self.path.norm_weights)]

    def _own_norm(self, x: Tensor) -> Tensor:
        """tuiwb/workers/norms.py: a float32 copy while it is computed, of which a number for each row stays."""
        tape = self.tape
        wide = tape.allocate(x.elements.times(4))
        narrow = tape.allocate(x.elements.times(x.width if x.width < 4 else 0))
        copies = [x.elements.times(4)] * (1 if x.width == 4 else 2)
        made = tape.op([x], x.elements, max(x.width, self.path.norm_weights), saved=[x], temporaries=copies)
        del wide, narrow
        return made

    def _rms_norm(self, x: Tensor, norm: Norm) -> Tensor:
        """`weight * (x32 * rsqrt(mean(x32²))).to(dtype)`; the square is a tensor of its own while it lives."""
        tape = self.tape
        x32 = self.cast(x, 4)
        squares = tape.allocate(x32.elements.times(4))
        del squares
        whole = x32.elements.times(4)
        normed = tape.op([x32], x32.elements, 4, saved=[x32], temporaries=[whole])
        del x32
        normed = self.cast(normed, x.width)
        width = max(normed.width, self.path.norm_weights)
        trained = self.path.trained
        return tape.op(
            [normed],
            normed.elements,
            width,
            saved=[normed] if trained else [],
            temporaries=[normed.elements.times(width)] if trained else [],
            parameter_grads=self._norm_grads(norm),
        )

    def _layer_norm(self, x: Tensor, norm: Norm) -> Tensor:
        """One kernel that saves its input; under autocast it computes in float32, on a cast of it."""
        x = self.cast(x, 4) if self.path.autocast else x
        return self.tape.op([x], x.elements, x.width, saved=[x], parameter_grads=self._norm_grads(norm))

    # --------------------------------------------------------------------------------------------------- attention

    def rope(self, x: Tensor) -> Tensor:
        """`x * cos + rotate_half(x) * sin`."""
        tape = self.tape
        if self.path.fused_rope:
            return tape.op([x], x.elements, x.width, storage=x.storage, grads=[None])
        straight = tape.op([x], x.elements, x.width)
        negated = tape.op([x], x.elements.times(0.5), x.width, grads=[None])
        rotated = tape.op([x], x.elements, x.width)
        del negated
        turned = tape.op([rotated], x.elements, x.width)
        del rotated
        return self.add(straight, turned)

    def attention(self, x: Tensor, mixer: Attention) -> Tensor:
        if mixer.latent is not None:
            query, key, value = self._latent_heads(x, mixer)
        elif mixer.fused:
            fused = self.linear(x, mixer.projections[0])
            query, key, value = (
                self.tape.op([fused], features(width), fused.width, storage=fused.storage)
                for width in (mixer.query_width, mixer.kv_width, mixer.value_width)
            )
            del fused
        else:
            q, k, v = mixer.projections[:3]
            query, key, value = self.linear(x, q), self.linear(x, k), self.linear(x, v)
        if mixer.query_norm and mixer.key_norm:
            query, key = self.norm(query, mixer.query_norm), self.norm(key, mixer.key_norm)
        if mixer.rotary and mixer.latent is None:
            query, key = self.rope(query), self.rope(key)
        if self.path.learned == "prefix":
            key, value = self._after_prefix(key), self._after_prefix(value)
        output = self.kernel(query, key, value, mixer)
        output = self.linear(output, mixer.projections[-1])
        if mixer.residual_dropout:
            output = self.dropped(output)
        return output

    def _after_prefix(self, x: Tensor) -> Tensor:
        """The cache appends keys and values to the learned ones: a copy, through which the prefix gets its gradient."""
        learned = self.tape.graph_input(Extent(), x.width, requires_grad=True, tag="activations")
        return self.tape.op([x, learned], x.elements, x.width, grads=[None, (Extent(), 0)])

    def _latent_heads(self, x: Tensor, mixer: Attention) -> tuple[Tensor, Tensor, Tensor]:
        """DeepSeek's attention: queries and a narrow latent, from which keys and values are expanded."""
        projections = list(mixer.projections)
        norms = list(mixer.latent_norms)
        if len(projections) == 5:
            down, up = projections[:2]
            query = self.linear(self.norm(self.linear(x, down), norms[0]), up)
        else:
            query = self.linear(x, projections[0])
        latent = self.linear(x, projections[-3])
        expanded = self.linear(self.norm(latent, norms[-1]), projections[-2])
        query = self.tape.op([query], query.elements, query.width)  # rotary part and the rest, concatenated again
        key = self.tape.op([expanded], features(mixer.query_width), expanded.width)
        value = self.tape.op([expanded], features(mixer.output_width), expanded.width, storage=expanded.storage)
        return query, key, value

    def kernel(self, query: Tensor, key: Tensor, value: Tensor, mixer: Attention) -> Tensor:
        width = self.path.compute if self.path.autocast else query.width
        query, key, value = (self.cast(tensor, width) for tensor in (query, key, value))
        out = features(mixer.output_width)
        if self.path.attention == "eager":
            return self._eager(query, key, value, mixer)
        kept = [key.storage, value.storage] if self.path.learned == "prefix" else []  # by the cache of the output
        if self.path.masked:
            kept.append(self.tape.allocate(scores(1).times(width)))
        grouped = mixer.kv_heads != mixer.heads
        if grouped and self.path.repeats_heads:
            key = self.tape.op([key], features(mixer.query_width), width)
            value = self.tape.op([value], features(mixer.output_width), width)
            grouped = False
        logsumexp = self.tape.allocate(features(4 * mixer.heads))
        temporaries = []
        if self.path.attention == "flash":
            temporaries.append(features(4 * mixer.query_width + 4 * mixer.heads))
            if grouped:
                temporaries.append(features(width * (mixer.query_width + mixer.output_width)))
        output = self.tape.allocate(out.times(width))
        return self.tape.op(
            [query, key, value],
            out,
            width,
            saved=[query, key, value, output, logsumexp, *kept],
            temporaries=temporaries,
            storage=output,
        )

    def _eager(self, query: Tensor, key: Tensor, value: Tensor, mixer: Attention) -> Tensor:
        """The scores are written out: product, scale, mask, softmax in float32, back to the type, times the values."""
        tape = self.tape
        width = query.width
        all_heads = scores(mixer.heads)
        if mixer.kv_heads != mixer.heads:
            key = tape.op([key], features(mixer.query_width), width)
            value = tape.op([value], features(mixer.output_width), width)
        weights = tape.op([query, key], all_heads, width, saved=[query, key])
        weights = tape.op([weights], all_heads, width)
        weights = tape.op([weights], all_heads, width, grads=[None])
        soft = tape.allocate(all_heads.times(4))
        converted = self.cast(weights, 4)
        del weights
        probabilities = tape.op([converted], all_heads, 4, saved=[soft], storage=soft)
        del converted, soft
        probabilities = self.cast(probabilities, width)
        return tape.op([probabilities, value], features(mixer.output_width), width, saved=[probabilities, value])

    # ------------------------------------------------------------------------------------------------ feed-forward

    def feed_forward(self, x: Tensor, block: FeedForward, share: float = 1.0) -> Tensor:
        if block.fused:
            both = self.linear(x, block.up, share)
            half = both.elements.times(0.5)
            gate = self.tape.op([both], half, both.width, storage=both.storage)
            up = self.tape.op([both], half, both.width, storage=both.storage)
            product = self.multiply(self.activation(gate), up)
            del gate, up, both
        elif block.gate is not None and self.path.fused_mlp:
            gate, up = self.linear(x, block.gate, share), self.linear(x, block.up, share)
            product = self.tape.op(
                [gate, up],
                gate.elements,
                gate.width,
                saved=[gate, up],
                grads=[None, None],  # the kernel writes both gradients over its inputs
                temporaries=[],
            )
            del gate, up
        elif block.gate is not None:
            product = self._gated(x, block, share)
        else:
            product = self.activation(self.linear(x, block.up, share))
        product = self.linear(product, block.down, share)
        return self.dropped(product) if block.residual_dropout else product

    def _gated(self, x: Tensor, block: FeedForward, share: float) -> Tensor:
        assert block.gate is not None
        activated = self.activation(self.linear(x, block.gate, share))
        return self.multiply(activated, self.linear(x, block.up, share))

    def experts(self, x: Tensor, block: Experts) -> Tensor:
        """Each token goes through `active` experts: rows are gathered, computed, weighted, and added back.

        Transformers 5 computes all experts in one grouped product; before, a loop took one expert after the other.
        """
        tape, path = self.tape, self.path
        logits = self.linear(x, block.router)
        routing = tape.op([logits], features(block.count), 4, saved=[logits])
        linears = block.linears
        if path.grouped_experts and path.quantized in ("nf4", "int8"):
            # Stacked experts are no nn.Linear: bitsandbytes leaves them as they are.
            inner = Blocks(tape, replace(path, quantized=""))
        else:
            inner = Blocks(tape, path)
        rounds = 1 if path.grouped_experts else min(block.count, MOST_ROUNDS)
        share = block.active / rounds
        one = tuple(replace(linear, copies=max(1, block.count // rounds)) for linear in linears)
        gate = one[0] if block.gated else None
        forward = FeedForward(gate, one[-2], one[-1], block.activation)
        total = tape.op([], features(block.hidden), x.width)
        for _ in range(rounds):
            gathered = tape.op([x], features(block.hidden * share), x.width)
            output = inner.feed_forward(gathered, forward, share)
            del gathered
            weighted = tape.op(
                [output, routing],
                output.elements,
                output.width,
                saved=[output, routing],
                grads=[(output.elements, output.width), (features(share), 4)],
            )
            del output
            total = tape.op(
                [total, weighted],
                total.elements,
                total.width,
                storage=total.storage,
                grads=[None, (weighted.elements, x.width)],
            )
            del weighted
        if block.shared is not None:
            total = self.add(total, self.feed_forward(x, block.shared))
        return total

    # ------------------------------------------------------------------------------------------------------- layer

    def gather(self, x: Tensor) -> Tensor:
        """All tokens on every GPU of a tensor parallel group, which split them outside its matrices."""
        if self.path.parallel == 1:
            return x
        return self.tape.op([x], x.elements.times(self.path.parallel), x.width)

    def scatter(self, x: Tensor) -> Tensor:
        """The sum over the GPUs, each with its share of the tokens."""
        if self.path.parallel == 1:
            return x
        return self.tape.op([x], x.elements.times(1 / self.path.parallel), x.width)

    def mixer(self, x: Tensor, mixer: Attention | Recurrence) -> Tensor:
        if isinstance(mixer, Attention):
            return self.attention(x, mixer)
        inner = self.linear(x, mixer.projections[0])
        kept = self.tape.allocate(features(mixer.saved_width * self.path.compute))
        inner = self.tape.op([inner], features(mixer.projections[-1].inputs), inner.width, saved=[kept])
        del kept
        return self.linear(inner, mixer.projections[-1])

    def block(self, x: Tensor, block: FeedForward | Experts) -> Tensor:
        return self.feed_forward(x, block) if isinstance(block, FeedForward) else self.experts(x, block)

    def layer(self, x: Tensor, layer: Layer) -> Tensor:
        """The decoder layer's forward; local names live as long as in the modelling code."""
        norms = {norm.name: norm for norm in layer.norms}
        before, after = _norm_places(layer)
        if layer.parallel:
            normed = self.gather(self.norm(x, norms[before[0]]))
            second = self.gather(self.norm(x, norms[before[1]])) if len(before) > 1 else normed
            attended = self.mixer(normed, layer.mixer)
            assert layer.feed_forward is not None
            return self.add(self.scatter(self.add(attended, self.block(second, layer.feed_forward))), x)
        hidden = self.norm(x, norms[before[0]]) if before[0] else x
        hidden = self.scatter(self.mixer(self.gather(hidden), layer.mixer))
        hidden = self.norm(hidden, norms[after[0]]) if after[0] else hidden
        hidden = self.add(x, hidden)
        del x
        if layer.feed_forward is None:
            return hidden
        residual = hidden
        hidden = self.norm(hidden, norms[before[1]]) if before[1] else hidden
        hidden = self.scatter(self.block(self.gather(hidden), layer.feed_forward))
        hidden = self.norm(hidden, norms[after[1]]) if after[1] else hidden
        return self.add(residual, hidden)


def _norm_places(layer: Layer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which norms stand before and after mixer and feed-forward block; an empty name is none."""
    names = [norm.name for norm in layer.norms]
    if layer.parallel:
        return tuple(names), ()
    if len(names) == 4 and "pre_feedforward_layernorm" in names:
        return (names[0], names[2]), (names[1], names[3])
    if len(names) == 4:  # GLM-4
        return (names[0], names[1]), (names[2], names[3])
    if names == ["post_attention_layernorm", "post_feedforward_layernorm"]:  # OLMo-2, EXAONE-4
        return ("", ""), (names[0], names[1])
    if len(names) == 1:
        return (names[0], ""), ("", "")
    return (names[0], names[1]), ("", "")
