"""What each GPU holds when several share the work: none, DDP, FSDP (and ZeRO-3, which splits the same), ZeRO-1 and 2.

FSDP splits weights, gradients and optimizer states; while a layer computes, its weights are there whole, those of the
root unit (embedding, output matrix, final norm) all the time. FSDP 1 keeps, for a unit whose weights are all frozen, a
reference cycle: the hook that frees the unit again, on the layer's input, names the node that gathers the gradient of
that input (torch.autograd.graph.register_multi_grad_hook), and with a reentrant checkpoint the input is a leaf, which
its node names in turn. So the input and its gradient of every layer stay until the backward pass has ended and the hook
is removed. That, not a layer's interior, is why LoRA under FSDP needs 2·(L - 2) more h·T than on one GPU; with a hook
that names no node, or a checkpoint that is not reentrant, a layer adds one h·T instead of two
(tests/benchmarks/fsdp_cycle.py). FSDP 2 has no such cycle. It has a second copy of a
layer's weights instead, the buffer of an all-gather: in the forward pass that of the layer itself, kept for the next,
in the backward pass that of the layer that comes next; and the buffer from which the gradients of the layer before are
reduced (torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py: wait_for_unshard, _backward_prefetch, post_backward).
"""

from functools import cached_property

from msgspec import Struct

from tuiwb.memory import adapters, states
from tuiwb.memory.architecture import Layer
from tuiwb.memory.inputs import Inputs
from tuiwb.memory.kernels import unpacked_bytes

ZERO_BUCKET = 500_000_000  # elements: reduce_bucket_size and allgather_bucket_size (deepspeed runtime/zero/config.py)
BATCH_BYTES = 24  # input ids, labels and attention mask of a token, 8 bytes each


def scoring_parameters(inputs: Inputs) -> int:
    """Parameters of a model of the same layers with a head that makes one number: a value or a reward model."""
    shapes = inputs.architecture
    return shapes.parameters - (shapes.head.parameters if shapes.head else 0) + shapes.hidden


def inputs_value(inputs: Inputs) -> int:
    """Parameters of a value model that is trained beside the policy."""
    return scoring_parameters(inputs) if "value model" in inputs.others else 0


_OF_THE_MODEL = ("weights", "compute_weights", "trained", "_above")


class Shards(Struct, frozen=True, dict=True):
    """Bytes on one of several GPUs."""

    inputs: Inputs

    def of_batch(self, inputs: Inputs) -> "Shards":
        """The same for another batch, on which little depends."""
        return self._with(inputs, *_OF_THE_MODEL, "base_weights", "gradients", "step_copy", "_lasting")

    def of_ranks(self, inputs: Inputs) -> "Shards":
        """The same for another number of GPUs that share the model as these do."""
        return self._with(inputs, *_OF_THE_MODEL)

    def _with(self, inputs: Inputs, *names: str) -> "Shards":
        shards = Shards(inputs)
        shards.__dict__.update({name: getattr(self, name) for name in names})
        return shards

    @cached_property
    def weights(self) -> states.Weights:
        return states.weights(self.inputs)

    @cached_property
    def compute_weights(self) -> states.Weights:
        """The weights as they are gathered: in the type of the computation."""
        return states.weights(self.inputs, self.inputs.compute if self.inputs.sharded_master else None)

    @cached_property
    def trained(self) -> int:
        return states.trainable(self.inputs)

    @property
    def fully(self) -> bool:
        return self.inputs.sharding in ("fsdp", "zero3")

    @property
    def _adapters_alone(self) -> bool:
        """Unsloth's fused adapters are left out of FSDP's units: whole on each GPU, in half precision."""
        return self.fully and self.inputs.path.fused_adapter

    @property
    def _weights_over(self) -> int:
        return self.inputs.grid.shards if self.fully else 1

    @property
    def _gradients_over(self) -> int:
        if self._adapters_alone:
            return 1
        return self.inputs.grid.shards if self.fully or self.inputs.sharding == "zero2" else 1

    @property
    def _optimizer_over(self) -> int:
        if self._adapters_alone:
            return 1
        return self.inputs.grid.shards if self.inputs.sharding in ("fsdp", "zero1", "zero2", "zero3") else 1

    @property
    def gradient_width(self) -> int:
        return self.inputs.compute if self._adapters_alone else states.trained_width(self.inputs)

    @cached_property
    def gradients(self) -> float:
        """All gradients at once."""
        value = inputs_value(self.inputs) * self.inputs.weights
        own = self.trained * self.inputs.compute if self._adapters_alone else states.gradient_bytes(self.inputs)
        return (own + value) / self._gradients_over

    @property
    def policy_gradients(self) -> float:
        """Those of the policy alone; PPO trains a value beside it, and with adapters two of them."""
        if self.inputs.stage != "ppo":
            return self.gradients
        return states.gradient_bytes(self.inputs) / self._gradients_over / (2 if self.inputs.adapter else 1)

    @cached_property
    def step_copy(self) -> float:
        return states.step_bytes(self.inputs) / self._optimizer_over

    def optimizer(self) -> float:
        if self.inputs.offload in ("optimizer", "all"):
            return 0.0
        share = 0.5 if self._adapters_alone else 1.0
        return share * states.optimizer_bytes(self.inputs) / self._optimizer_over

    @cached_property
    def base_weights(self) -> float:
        inputs = self.inputs
        if inputs.offload == "all" and self.fully:
            return 0.0
        if inputs.sharded_master and self.fully:
            # float32 weights are what is split; computing gathers them in half precision
            return inputs.architecture.parameters * 4 / inputs.grid.shards
        if inputs.sharded_master:
            # ZeRO-1 and 2: half-precision weights whole, float32 ones split with the optimizer
            return inputs.architecture.parameters * (inputs.compute + 4 / inputs.grid.shards)
        return self.weights.sharded / self._weights_over + self.weights.replicated

    def standing(self) -> dict[str, float]:
        """What is there in every phase."""
        return self._lasting | {"batch": float(BATCH_BYTES * self.inputs.tokens)}

    @cached_property
    def _lasting(self) -> dict[str, float]:
        """That without the batch, which has its place in the order all the same."""
        inputs = self.inputs
        parts = {"weights": self.base_weights}
        if inputs.adapter is not None:
            alone = self._adapters_alone
            copies = inputs.copies + (2 if inputs.stage == "ppo" else 1)
            count = copies * adapters.parameters(inputs.architecture, inputs.adapter)
            parts["adapters"] = count * (inputs.compute if alone else inputs.adapter.width / self._weights_over)
            if saved := adapters.saved_parameters(inputs.architecture, inputs.adapter):
                parts["modules trained whole"] = saved * inputs.weights / self._weights_over
            if inputs.kept_base:
                width = 2 if inputs.autocast else 4
                parts["base, unpacked"] = unpacked_bytes(inputs.architecture, inputs.adapter, width)
        for name in inputs.others:
            parts[name] = self.weights.sharded / self._weights_over + self.weights.replicated
            if name != "reference model":
                without = inputs.architecture.parameters - scoring_parameters(inputs)
                parts[name] -= without * inputs.weights / self._weights_over
        if "value model" in inputs.others:
            cost = states.optimizer_cost(inputs)
            width = inputs.weights
            each = cost.state * width / states.trained_width(inputs)
            parts["value model's optimizer"] = inputs_value(inputs) * each / self._optimizer_over
        if value := self.optimizer():
            parts["optimizer"] = value
        if inputs.architecture.model_type == "gpt_bigcode" and inputs.transformers != "5":
            parts["mask buffer"] = float((inputs.architecture.context or 0) ** 2)
        if inputs.workspace:
            parts["workspace"] = float(inputs.workspace)
        parts["batch"] = 0.0
        if inputs.sharding == "ddp":
            parts["gradient buckets"] = float(self.trained * self.gradient_width)
        elif inputs.sharding in ("zero1", "zero2", "zero3"):
            bucket = min(ZERO_BUCKET, self.trained) * inputs.compute
            parts["communication buckets"] = float(2 * bucket)
        return parts

    def steady(self) -> dict[str, float]:
        """What stays between two steps; FSDP keeps its split gradients until the next one begins."""
        parts = self.standing()
        if self.inputs.sharding == "fsdp":
            parts["gradients"] = self.gradients
        return parts

    # ------------------------------------------------------------------------------------- while a layer computes

    def unsharded(self, layer: Layer | None) -> dict[str, float]:
        """The root unit, and the layer that computes, gathered from all GPUs.

        Args:
            layer: None where the loss is computed.
        """
        if not self.fully:
            return {}
        gathered = float(self.compute_weights.root)
        if layer is not None:
            gathered += self._unit(layer)
        if self.fetches_ahead:
            gathered += self._unit(layer or self.inputs.architecture.layers[-1])
        return {"gathered weights": gathered}

    @property
    def fetches_ahead(self) -> bool:
        """A layer's weights are gathered while the one before computes."""
        return self.fully and (self.inputs.fsdp == "2" or self.inputs.sharding == "zero3")

    def _unit(self, layer: Layer) -> float:
        """Bytes of a layer and of the adapters on it, whole."""
        adapter = self.inputs.adapter
        own = 0 if adapter is None else adapters.layer_parameters(layer, adapter) * adapter.width
        return float(self.compute_weights.layer + own)

    def reducing(self, layer: Layer, index: int, last: int) -> dict[str, float]:
        """FSDP 2: the gradients of the layer above, laid out for the reduction, until this layer's are."""
        inputs = self.inputs
        if inputs.sharding != "fsdp" or inputs.fsdp != "2" or index == last:
            return {}
        if inputs.adapter is not None:
            return {"buffer of a reduction": float(adapters.layer_parameters(layer, inputs.adapter) * self._reduced)}
        return {"buffer of a reduction": float(layer.parameters * self._reduced)} if inputs.trains_base else {}

    @property
    def _reduced(self) -> int:
        """Bytes of a gradient that is reduced: of the type in which it was computed."""
        return self.inputs.compute if self.inputs.sharded_master else self.gradient_width

    def reducing_root(self) -> dict[str, float]:
        """FSDP 2 reduces the gradients of embedding, output matrix and final norm at the very end."""
        inputs = self.inputs
        if inputs.sharding != "fsdp" or inputs.fsdp != "2" or not inputs.trains_base:
            return {}
        root = inputs.architecture.root_parameters * self._reduced
        return {"gradients": self.gradients + root, "buffer of a reduction": float(root)}

    def retained(self, index: int, last: int, width: int) -> dict[str, float]:
        """FSDP 1 with frozen units and reentrant checkpoints: inputs and gradients of the layers that are done."""
        inputs = self.inputs
        cycles = inputs.sharding == "fsdp" and inputs.fsdp == "1" and inputs.checkpointing and inputs.reentrant
        if not cycles or inputs.trains_base:
            return {}
        hidden = inputs.stream * inputs.tokens * width
        done = last - index
        # The input of every layer that is done, and its gradient; the newest gradient is the one that is being used.
        kept = float(max(0, 2 * done - 1) * hidden)
        if self._adapters_alone:
            # Their gradients wait for an all-reduce of their own, in and out.
            kept += 2 * self.trained * self.gradient_width
        return {"kept by FSDP's hooks": kept} if kept else {}

    @cached_property
    def _above(self) -> tuple[int, ...]:
        """Parameters of the layers above each."""
        sizes = {id(layer): layer.parameters for layer, _ in self.inputs.architecture.kinds}
        total, found = 0, []
        for layer in reversed(self.inputs.architecture.layers):
            found.append(total)
            total += sizes.get(id(layer)) or layer.parameters
        return tuple(reversed(found))

    def gradients_after(self, index: int, head_bytes: float) -> dict[str, float]:
        """Gradients that exist when the backward pass reaches this layer: the head's whole until the root unit is done,
        those of the layers above reduced and split."""
        inputs = self.inputs
        width = self.gradient_width
        above = self._above[index]
        parts = {"gradients": head_bytes + above * width / self._gradients_over}
        if inputs.sharding == "zero1":
            parts["gradients"] = head_bytes + above * width
        return parts
