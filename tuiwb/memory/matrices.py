"""Matrix products with the adapters on them, and elementary operations: what they make and what they save.

Sources: PEFT `tuners/lora/layer.py`, `lora/bnb.py`, `lora/dora.py`, `ia3/layer.py`; bitsandbytes
`autograd/_functions.py` (the 4-bit weight is unpacked for each product).
"""

from tuiwb.memory.architecture import Linear
from tuiwb.memory.path import Path
from tuiwb.memory.trace import Extent, Tape, Tensor, features, fixed

# The gradient of a weight that has one already, to which the new one is added.
THERE = Extent()


class Matrices:
    """Writes matrix products and elementary operations onto a tape."""

    def __init__(self, tape: Tape, path: Path) -> None:
        self.tape = tape
        self.path = path

    # -------------------------------------------------------------------------------------------- elementary steps

    def cast(self, x: Tensor, width: int) -> Tensor:
        return x if x.width == width else self.tape.op([x], x.elements, width)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """A sum hands its gradient on to both sides without a copy, unless a side has another type."""
        width = max(a.width, b.width)
        grads = [None if side.width == width else (side.elements, side.width) for side in (a, b)]
        return self.tape.op([a, b], a.elements, width, grads=grads)

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        saved = ([b] if a.requires_grad else []) + ([a] if b.requires_grad else [])
        return self.tape.op([a, b], a.elements, max(a.width, b.width), saved=saved)

    def dropped(self, x: Tensor) -> Tensor:
        """Dropout keeps its mask: one byte an element on a GPU, the noise itself on a CPU."""
        if not self.tape.recording or not x.requires_grad:
            return self.tape.op([x], x.elements, x.width)
        mask = self.tape.allocate(x.elements.times(x.width if self.path.on_cpu else 1))
        return self.tape.op([x], x.elements, x.width, saved=[mask])

    def activation(self, x: Tensor) -> Tensor:
        return self.tape.op([x], x.elements, x.width, saved=[x])

    # ---------------------------------------------------------------------------------------------------- matrices

    def linear(self, x: Tensor, linear: Linear, share: float = 1.0) -> Tensor:
        """x · Wᵀ, with the adapter on top where the matrix has one.

        Args:
            share: rows for each token of the batch (experts see `active` copies of each token).
        """
        if linear.name in self.path.scaled:
            return self._scaled(x, linear, share)
        if linear.name in self.path.adapted and self._is_own(linear):
            return self._own_adapter(x, linear, share)
        base = self.base_linear(x, linear, share)
        if linear.name not in self.path.adapted:
            return base
        if self.path.magnitudes:
            return self._decomposed(x, base, linear, share)
        if self.path.fused_adapter:
            return self._fused_adapter(x, base, linear, share)
        if self.path.quantized == "nf4":
            return self._adapter_on_4bit(x, base, linear, share)
        return self._adapter(x, base, linear, share)

    def base_linear(self, x: Tensor, linear: Linear, share: float = 1.0) -> Tensor:
        path, tape = self.path, self.tape
        out = features(linear.outputs * share)
        if path.quantized in ("nf4", "int8"):
            # bitsandbytes computes in `compute` and gives back the type that came in.
            compute = self.cast(x, path.compute)
            # LLM.int8 keeps its input, which only the gradient of a matrix in 16 bits would want, and not where
            # autograd keeps tensors: bitsandbytes/autograd/_functions.py, MatMul8bitLt, `ctx.tensors`.
            kept = [compute] if path.quantized == "int8" and compute.requires_grad else []
            for one in kept:
                tape.outlive(one.storage)
            unpacked = tape.allocate(fixed(linear.weight * path.compute), "unpacked weights")
            made = tape.op(
                [compute],
                out,
                path.compute,
                saved=kept,
                temporaries=[fixed(linear.weight * path.compute)],
                weights=True,
            )
            del unpacked
            return self.cast(made, x.width)
        width = path.compute if path.autocast else max(x.width, path.weights)
        compute = self.cast(x, width) if path.autocast else x
        saved: list[Tensor | object] = [compute] if path.trained else []
        grads, temporaries = self._weight_grads(linear.parameters) if path.trained else ([], [])
        if path.autocast and path.weights != width and path.quantized != "gptq":
            copy = tape.allocate(fixed(linear.weight * width), "autocast copies")
            saved.append(copy)
            if path.trained:
                temporaries.append(fixed(linear.weight * width))
        return tape.op(
            [compute],
            out,
            width,
            saved=saved,  # type: ignore[arg-type]
            parameter_grads=grads,
            temporaries=temporaries,
            weights=True,
        )

    def _weight_grads(self, parameters: int) -> tuple[list[Extent], list[Extent]]:
        """The gradient of a weight: kept, or a temporary that is added to the one that is there."""
        size = fixed(parameters * self.path.weights)
        return ([THERE], [size]) if self.path.accumulates else ([size], [])

    def _adapter_grads(self, side: int) -> list[Extent]:
        return [THERE if self.path.accumulates else fixed(self.path.rank * side * self.path.adapter)]

    def _low_rank(self, x: Tensor, linear: Linear, share: float) -> Tensor:
        """B · A · dropout(x), scaled."""
        up = self._product(self.dropped(x) if self.path.dropout else x, linear, share)
        return self.tape.op([up], up.elements, up.width)

    def _product(self, x: Tensor, linear: Linear, share: float) -> Tensor:
        """B · A · x."""
        path, tape = self.path, self.tape
        width = path.compute if path.autocast else x.width
        compute = self.cast(x, width)
        del x
        down = tape.op(
            [compute],
            features(path.rank * share),
            width,
            saved=[compute],
            parameter_grads=self._adapter_grads(linear.inputs * linear.copies),
        )
        del compute
        return tape.op(
            [down],
            features(linear.outputs * share),
            width,
            saved=[down],
            parameter_grads=self._adapter_grads(linear.outputs * linear.copies),
        )

    def _is_own(self, linear: Linear) -> bool:
        path = self.path
        if not path.own or path.dropout or path.magnitudes or linear.copies != 1:
            return False
        if path.quantized == "nf4":  # bitsandbytes computes in float32 where there is no autocast
            return path.autocast or path.weights == 4
        return not path.quantized and path.weights == path.compute

    def _own_adapter(self, x: Tensor, linear: Linear, share: float) -> Tensor:
        """tuiwb/workers/lora.py: the small product is added by the matrix product itself, in the type of the base. A
        base in 4 bits is unpacked in each pass, unless it stands unpacked."""
        path = self.path
        compute = self.cast(x, path.compute)
        small = self.tape.allocate(features(path.rank * share * path.compute))
        whole = fixed(linear.weight * path.compute if path.quantized and not path.kept else 0)
        unpacked = self.tape.allocate(whole, "unpacked weights")
        made = self.tape.op(
            [compute],
            features(linear.outputs * share),
            path.compute,
            saved=[compute, small],
            temporaries=[small.size, whole],
            parameter_grads=self._adapter_grads(linear.inputs + linear.outputs),
        )
        del unpacked
        return made

    def _fused_adapter(self, x: Tensor, result: Tensor, linear: Linear, share: float) -> Tensor:
        """Base and adapter in one function: it saves its input and, with dropout, the dropped copy; no mask."""
        path, tape = self.path, self.tape
        kept = [tape.allocate(x.elements.times(path.compute))] if path.dropout else []
        return tape.op(
            [x, result],
            result.elements,
            result.width,
            saved=[x, *kept],
            grads=[None, None],
            parameter_grads=self._adapter_grads(linear.inputs + linear.outputs),
            storage=result.storage,
        )

    def _adapter(self, x: Tensor, result: Tensor, linear: Linear, share: float) -> Tensor:
        """PEFT `lora.Linear.forward`: the input is cast to the adapter's type, the result back."""
        wanted = result.width
        x = self.cast(x, self.path.adapter)
        result = self.add(result, self._low_rank(x, linear, share))
        return self.cast(result, wanted)

    def _adapter_on_4bit(self, x: Tensor, result: Tensor, linear: Linear, share: float) -> Tensor:
        """PEFT `lora.Linear4bit.forward`: clones the result, casts only where autocast is off, which it always is for
        the `torch.is_autocast_enabled()` of a CPU."""
        result = self.tape.op([result], result.elements, result.width, grads=[None])
        wanted = result.width
        casts = self.path.on_cpu or not self.path.autocast
        if casts:
            x = self.cast(x, self.path.adapter)
        output = self._low_rank(x, linear, share)
        if casts:
            output = self.cast(output, wanted)
        return self.add(result, output)

    def _decomposed(self, x: Tensor, result: Tensor, linear: Linear, share: float) -> Tensor:
        """PEFT `lora/dora.py`: the norm of W + BA for each output, both products scaled by magnitude / norm."""
        path, tape = self.path, self.tape
        wanted = result.width
        entered = self.cast(x, path.adapter)  # `lora.Linear.forward` names it until all is done
        drops = path.dropout and tape.recording
        x = self.dropped(entered) if drops else entered
        whole = fixed(linear.weight * path.adapter)
        # B(A(identity)) is made with a graph, that lives as long as its result is named: until the function returns.
        identity = tape.allocate(fixed(linear.inputs * linear.inputs * path.adapter), "unpacked weights")
        product = tape.allocate(whole, "unpacked weights")
        copied = bool(path.quantized) or path.weights != path.adapter
        unpacked = tape.allocate(whole, "unpacked weights") if copied else None
        norm = [tape.allocate(whole, "unpacked weights") for _ in range(2)]  # scaled product, sum
        del norm
        low = self._product(x, linear, share)
        if drops:
            # The product with the base is computed again, from the dropped input, with the float32 copy of the weight,
            # of which autocast makes a narrow one.
            width = path.compute if path.autocast else path.adapter
            copy = unpacked
            if width != path.adapter:
                copy = tape.allocate(fixed(linear.weight * width), "autocast copies")
            result = tape.op([x], result.elements, width, saved=[] if copy is None else [copy], weights=True)
            del copy
        grads = [(result.elements, result.width)]
        product_of_base = tape.op(
            [result], result.elements, path.adapter, saved=[result], grads=grads,
            temporaries=[result.elements.times(4)],
            parameter_grads=[fixed(linear.outputs * path.adapter)],
        )  # fmt: skip
        scaled = tape.op([low], low.elements, path.adapter, saved=[low], temporaries=[low.elements.times(4)])
        del low
        scaled = tape.op([scaled], scaled.elements, scaled.width)
        total = self.add(product_of_base, scaled)
        del product_of_base, scaled, identity, product, unpacked
        return self.cast(self.add(result, total), wanted)

    def _scaled(self, x: Tensor, linear: Linear, share: float) -> Tensor:
        """PEFT `ia3/layer.py`: the input of the feed-forward block's last matrix is scaled, else the output."""
        path = self.path
        if linear.name in path.scaled_inputs:
            scaled = self._times_scales(self.cast(x, path.adapter), linear.inputs * linear.copies)
            return self.base_linear(self.cast(scaled, x.width), linear, share)
        base = self.base_linear(x, linear, share)
        return self.cast(self._times_scales(base, linear.outputs * linear.copies), base.width)

    def _times_scales(self, x: Tensor, scales: int) -> Tensor:
        path = self.path
        width = max(x.width, path.adapter)
        return self.tape.op(
            [x],
            x.elements,
            width,
            saved=[x],
            temporaries=[x.elements.times(width)],
            parameter_grads=[THERE if path.accumulates else fixed(scales * path.adapter)],
        )
