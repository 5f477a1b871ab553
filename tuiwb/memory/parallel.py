"""The part of a model that one GPU of a tensor, pipeline, context and expert parallel group holds.

Tensor parallel as Megatron and torch's `parallelize_module` split a decoder: query, key, value, gate and up by columns,
output and down by rows, embedding and output matrix by words; norms and residual stream by tokens (sequence parallel).
A pipeline runs one forward and one backward in turn (1F1B), so stage i of n keeps n - i batches.
"""

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.base.errors import InputFault
from tuiwb.memory.architecture import Architecture, Attention, Experts, FeedForward, Layer, Linear, Recurrence
from tuiwb.recipe import Launch


class Grid(Struct, frozen=True):
    """How the GPUs are grouped.

    Attributes:
        ranks: all GPUs.
        stage: which stage of the pipeline this GPU computes.
    """

    ranks: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    expert: int = 1
    stage: int = 0

    @property
    def group(self) -> int:
        """GPUs that hold one copy of the model between them before anything is sharded."""
        return self.tensor * self.pipeline

    @property
    def shards(self) -> int:
        """GPUs over which FSDP and ZeRO split one part of the model: data and context parallel ones."""
        return max(self.ranks // self.group, 1)

    @property
    def first(self) -> bool:
        return self.stage == 0

    @property
    def last(self) -> bool:
        return self.stage == self.pipeline - 1

    def in_flight(self, batches: int) -> int:
        """Batches whose activations wait on this stage."""
        return min(self.pipeline - self.stage, max(batches, 1))


def grid_of(launch: Launch, shapes: Architecture) -> Grid:
    """The groups that a recipe asks for.

    Raises:
        InputFault: the number of GPUs, heads or layers cannot be divided so.
    """
    grid = Grid(
        (launch.nodes or 1) * (launch.processes or 1),
        launch.tensor_parallel or 1,
        launch.pipeline_parallel or 1,
        launch.context_parallel or 1,
        launch.expert_parallel or 1,
    )
    together = grid.group * grid.context
    if grid.ranks % together:
        raise InputFault(
            f"{grid.ranks} GPUs cannot be divided into groups of {together} "
            "(tensor_parallel × pipeline_parallel × context_parallel)",
            key="launch.processes",
        )
    if grid.pipeline > len(shapes.layers):
        raise InputFault(f"the model has only {len(shapes.layers)} layers", key="launch.pipeline_parallel")
    for layer, _ in shapes.kinds:
        if isinstance(layer.mixer, Attention) and layer.mixer.heads % grid.tensor:
            raise InputFault(
                f"{layer.mixer.heads} heads cannot be divided over {grid.tensor} GPUs", key="launch.tensor_parallel"
            )
    experts = [layer.feed_forward for layer, _ in shapes.kinds if isinstance(layer.feed_forward, Experts)]
    if grid.expert > 1 and not experts:
        raise InputFault("the model has no experts", key="launch.expert_parallel")
    for block in experts:
        if block.count % grid.expert:
            raise InputFault(
                f"{block.count} experts cannot be divided over {grid.expert} GPUs", key="launch.expert_parallel"
            )
    if grid.ranks % grid.expert:
        raise InputFault(f"{grid.ranks} GPUs cannot share experts in groups of {grid.expert}", key="launch.processes")
    return grid


def part(shapes: Architecture, grid: Grid) -> Architecture:
    """What one GPU of the grid's stage holds."""
    if grid.group * grid.expert == 1:
        return shapes
    whole = {layer: _split(layer, grid) for layer, _ in shapes.kinds}
    layers = tuple(whole[layer] for layer in _stage(shapes.layers, grid))
    return replace(
        shapes,
        layers=layers,
        vocab=-(-shapes.vocab // grid.tensor),
        # The last stage has an output matrix of its own, also where it is tied to the embedding.
        tied=shapes.tied and grid.pipeline == 1,
        final_norm=shapes.final_norm if grid.last else None,
        embeds=grid.first,
        scores=grid.last,
    )


def _stage(layers: tuple[Layer, ...], grid: Grid) -> tuple[Layer, ...]:
    """Equal shares; the first stages take one more where they do not divide."""
    each, more = divmod(len(layers), grid.pipeline)
    start = grid.stage * each + min(grid.stage, more)
    return layers[start : start + each + (1 if grid.stage < more else 0)]


def _split(layer: Layer, grid: Grid) -> Layer:
    tensor = grid.tensor
    mixer: Attention | Recurrence
    if isinstance(layer.mixer, Attention):
        mixer = _split_attention(layer.mixer, tensor)
    else:
        into = tuple(_columns(one, tensor) for one in layer.mixer.projections[:-1])
        mixer = replace(
            layer.mixer,
            projections=(*into, _rows(layer.mixer.projections[-1], tensor)),
            saved_width=layer.mixer.saved_width // tensor,
            state=layer.mixer.state // tensor,
        )
    block = layer.feed_forward
    if isinstance(block, FeedForward):
        block = _split_dense(block, tensor)
    elif isinstance(block, Experts):
        shared = _split_dense(block.shared, tensor) if block.shared else None
        block = replace(block, count=block.count // grid.expert, width=block.width // tensor, shared=shared)
        # A GPU computes as many rows as before: it gets from the others what goes to its experts.
    return replace(layer, mixer=mixer, feed_forward=block)


def _split_attention(mixer: Attention, tensor: int) -> Attention:
    if mixer.latent is not None:
        # The narrow latents are whole on every GPU; what is expanded from them is split.
        *into, out = mixer.projections
        down = {"q_a_proj", "kv_a_proj_with_mqa"}
        split = tuple(one if one.name in down else _columns(one, tensor) for one in into)
        heads = mixer.heads // tensor
        return replace(mixer, projections=(*split, _rows(out, tensor)), heads=heads, kv_heads=heads)
    *into, out = mixer.projections
    return replace(
        mixer,
        projections=(*(_columns(one, tensor) for one in into), _rows(out, tensor)),
        heads=mixer.heads // tensor,
        kv_heads=max(mixer.kv_heads // tensor, 1),
    )


def _split_dense(block: FeedForward, tensor: int) -> FeedForward:
    return replace(
        block,
        gate=_columns(block.gate, tensor) if block.gate else None,
        up=_columns(block.up, tensor),
        down=_rows(block.down, tensor),
    )


def _columns(linear: Linear, over: int) -> Linear:
    return replace(linear, outputs=-(-linear.outputs // over))


def _rows(linear: Linear, over: int) -> Linear:
    return replace(linear, inputs=-(-linear.inputs // over))
