"""What is there for the whole run: weights, adapters, gradients, optimizer states. Exact from the shapes."""

from msgspec import Struct

from tuiwb.base.errors import InputFault
from tuiwb.memory import adapters
from tuiwb.memory.architecture import Experts, Layer, Linear
from tuiwb.memory.inputs import Inputs

# Optimizers of torch that update all weights in one go, or one after the other (torch optim, `foreach`).
ONE_BY_ONE = ("adamw_torch", "sgd", "adagrad", "rmsprop")
ALLOCATION = 512  # PyTorch's caching allocator rounds every tensor up to this many bytes


class Weights(Struct, frozen=True):
    """Bytes of the base model's weights.

    Attributes:
        sharded: what sharding splits.
        replicated: what every rank keeps whole: the constants of a quantization, which are no parameters.
        root: of the unit that belongs to no layer (embedding, output matrix, final norm).
        layer: of the largest layer.
    """

    sharded: int
    replicated: int
    root: int
    layer: int

    @property
    def total(self) -> int:
        return self.sharded + self.replicated


def weights(inputs: Inputs, width: int | None = None) -> Weights:
    """Bytes of the base model.

    Args:
        width: bytes of an unquantized weight; left out, as loaded.
    """
    shapes = inputs.architecture
    plain = width or inputs.weights
    outside = 4 if inputs.quantization and inputs.upcast == "true" else plain
    norms = 4 if inputs.quantization and inputs.upcast in ("true", "norms") else plain
    root_norms = sum(norm.parameters for norm in (shapes.final_norm, shapes.embedding_norm) if norm)
    root = (shapes.root_parameters - root_norms) * outside + root_norms * norms
    sharded, replicated, largest = root, 0, 0
    for layer, count in shapes.kinds:
        packed, constants = _quantized(inputs, layer)
        norm_count = sum(norm.parameters for norm in layer.all_norms)
        in_matrices = sum(linear.weight for linear in quantized_linears(inputs, layer))
        rest = layer.parameters - in_matrices - norm_count
        own = packed + rest * outside + norm_count * norms
        sharded += count * own
        replicated += count * constants
        largest = max(largest, own)
    return Weights(sharded, replicated, root, largest)


def quantized_linears(inputs: Inputs, layer: Layer) -> tuple[Linear, ...]:
    """The matrices of a layer that the quantization takes. Stacked experts are no nn.Linear, so bitsandbytes leaves
    them as they are (transformers 5)."""
    if not inputs.quantization:
        return ()
    found = list(layer.linears)
    block = layer.feed_forward
    if isinstance(block, Experts) and (not block.stacked or inputs.transformers != "5"):
        found += block.linears
        if inputs.transformers != "5" and block.stacked:
            found.append(block.router)
    return tuple(found)


def _quantized(inputs: Inputs, layer: Layer) -> tuple[int, int]:
    """Bytes of a layer's quantized matrices, and of the constants that belong to them."""
    packed = constants = 0
    for linear in quantized_linears(inputs, layer):
        elements = linear.inputs * linear.outputs
        one, extra = _packed(inputs, linear, elements)
        packed += linear.copies * one
        constants += linear.copies * extra
    return packed, constants


def _packed(inputs: Inputs, linear: Linear, elements: int) -> tuple[int, int]:
    if inputs.quantization == "nf4":
        # bitsandbytes functional.py quantize_4bit: blocks of 64; the second level quantizes 256 constants together.
        blocks = -(-elements // 64)
        code = ALLOCATION
        if not inputs.nested:
            return _rounded(elements // 2), _rounded(4 * blocks) + code
        return _rounded(elements // 2), _rounded(blocks) + _rounded(4 * -(-blocks // 256)) + code + 1024 + ALLOCATION
    if inputs.quantization == "int8":
        return _rounded(elements), _rounded(4 * linear.outputs)
    if inputs.quantization == "fp8":
        # A float32 scale for each block of weights, or for the matrix (transformers integrations/finegrained_fp8.py).
        block = inputs.group
        scales = -(-linear.inputs // block) * -(-linear.outputs // block) if block else 1
        return _rounded(elements), _rounded(4 * scales)
    groups = -(-linear.inputs // inputs.group) if inputs.group > 0 else 1
    zeros = groups * linear.outputs * inputs.bits // 8
    scales = _rounded(2 * groups * linear.outputs)
    order = _rounded(4 * linear.inputs) if inputs.quantization == "gptq" else 0
    return _rounded(elements * inputs.bits // 8) + _rounded(zeros), scales + order


def _rounded(size: int) -> int:
    return -(-size // ALLOCATION) * ALLOCATION


# ------------------------------------------------------------------------------------------------- what is trained


def base_trained(inputs: Inputs) -> int:
    """Parameters of the base model that are trained."""
    if inputs.trained_from is None:
        return 0
    shapes = inputs.architecture
    if inputs.trained_from == 0 and inputs.method == "full":
        return shapes.parameters
    kept = sum(layer.parameters for layer in shapes.layers[inputs.trained_from :])
    head = shapes.head.parameters if shapes.head else 0
    return kept + head + (shapes.final_norm.parameters if shapes.final_norm else 0)


def trained(inputs: Inputs) -> tuple[tuple[int, int], ...]:
    """Trained parameters of this GPU's part of the model, and bytes of each and of its gradient: by type."""
    adapter = inputs.adapter
    if adapter is None:
        return ((base_trained(inputs), trained_width(inputs)),)
    # PPO trains a second adapter, which says what a state is worth.
    own = adapters.parameters(inputs.architecture, adapter) * (2 if inputs.stage == "ppo" else 1)
    groups = ((own, adapter.width),)
    saved = adapters.saved_parameters(inputs.architecture, adapter)
    return (*groups, (saved, inputs.weights)) if saved else groups


def trainable(inputs: Inputs) -> int:
    return sum(count for count, _ in trained(inputs))


def trained_width(inputs: Inputs) -> int:
    """Bytes of a trained weight, and of its gradient; of the adapter's where there is one."""
    if inputs.adapter is not None:
        return inputs.adapter.width
    return 4 if inputs.sharded_master else inputs.weights


def gradient_bytes(inputs: Inputs) -> float:
    return sum(count * width for count, width in trained(inputs))


def optimizer_bytes(inputs: Inputs) -> float:
    """States that stay between two steps."""
    return sum(count * optimizer_cost(inputs, width).state for count, width in trained(inputs))


def step_bytes(inputs: Inputs) -> float:
    """The copies that the optimizer makes while it updates: of all weights, or two of one weight after the other."""
    width = trained_width(inputs)
    if inputs.optimizer == "adamw_torch" and not inputs.foreach:
        return 2.0 * largest(inputs) * width
    if inputs.optimizer == "adafactor":
        # The square and the update, and of narrower weights copies of weight and gradient besides, all in float32.
        return (8.0 if width == 4 else 16.0) * largest(inputs)
    return sum(count * optimizer_cost(inputs, width).step for count, width in trained(inputs))


def step_formula(inputs: Inputs, trained: str, over: str) -> str:
    """`step_bytes` in words.

    Args:
        trained: how many parameters are trained.
        over: what they are divided by.
    """
    width, most = trained_width(inputs), f"{largest(inputs):,} of the largest weight"
    if inputs.optimizer == "adamw_torch" and not inputs.foreach:
        return f"2 × {width} B × {most}: one after the other is updated"
    if inputs.optimizer == "adafactor":
        return f"{8 if width == 4 else 16} B × {most}: squares and update in float32, one after the other"
    return f"{trained} × {width} B{over}: foreach computes √v of all at once"


def largest(inputs: Inputs) -> int:
    """Elements of the largest weight that is trained."""
    shapes, adapter = inputs.architecture, inputs.adapter
    if adapter is not None:
        whole = max((shapes.embedding for _ in adapter.saved), default=0)
        if adapter.kind in ("prefix", "prompt"):
            return max(whole, adapters.parameters(shapes, adapter))
        sides = [max(one.inputs, one.outputs) for one, _ in adapters.targeted(shapes, adapter)]
        return max(whole, max(sides, default=0) * max(adapter.rank, 1))
    matrices = [one.weight for layer, _ in shapes.kinds for one in adapters.adaptable(layer)]
    outside = [] if inputs.trained_from else [shapes.embedding]
    head = [] if shapes.head is None else [shapes.head.weight]
    return max((*matrices, *outside, *head), default=0)


# ------------------------------------------------------------------------------------------------------- optimizer


class OptimizerCost(Struct, frozen=True):
    """Bytes for each trained parameter, and why.

    Attributes:
        state: kept between steps; `states` of them have the type of the weight.
        step: a copy that lives during the step.
        paged: the state is in unified memory and leaves the GPU under pressure.
    """

    state: float
    step: float
    formula: str
    source: str
    paged: bool = False


def optimizer_cost(inputs: Inputs, width: int | None = None) -> OptimizerCost:
    """What the optimizer adds.

    Args:
        width: bytes of a trained weight; left out, that of the adapter or the base.

    Raises:
        InputFault: an optimizer whose memory is not known.
    """
    width = width or trained_width(inputs)
    name = inputs.optimizer
    paged = name.startswith("paged_")
    short = name.removeprefix("paged_")
    eight_bit = 1 + 4 / 256  # one byte, and a float32 constant for each block of 256
    bnb = "bitsandbytes optim/optimizer.py"
    torch = "torch optim"
    copy = width if inputs.foreach else 0
    table: dict[str, tuple[float, float, str, str]] = {
        "adamw_torch": (2 * width, copy, f"2 × {width} B", f"{torch}/adamw.py"),
        "adamw_torch_fused": (2 * width, copy, f"2 × {width} B", f"{torch}/adamw.py, fused"),
        "adamw_anyprecision": (3 * width, 0, f"3 × {width} B with Kahan summation", "torchdistx"),
        "adamw_torch_8bit": (2 * eight_bit, 0, "2 × (1 + 4/256) B", "torchao"),
        "adamw_torch_4bit": (2 * (0.5 + 4 / 128), 0, "2 × (½ + 4/128) B", "torchao"),
        "adamw_bnb_8bit": (2 * eight_bit, 0, "2 × (1 + 4/256) B", bnb),
        "adamw_8bit": (2 * eight_bit, 0, "2 × (1 + 4/256) B", bnb),
        "adamw_32bit": (8, 0, "2 × 4 B", bnb),
        "ademamix": (12, 0, "3 × 4 B", bnb),
        "ademamix_32bit": (12, 0, "3 × 4 B", bnb),
        "ademamix_8bit": (3 * eight_bit, 0, "3 × (1 + 4/256) B", bnb),
        "lion_8bit": (eight_bit, 0, "1 + 4/256 B", bnb),
        "lion_32bit": (4, 0, "4 B", bnb),
        "rmsprop_bnb": (4, 0, "4 B", bnb),
        "rmsprop_bnb_32bit": (4, 0, "4 B", bnb),
        "rmsprop_bnb_8bit": (eight_bit, 0, "1 + 4/256 B", bnb),
        "rmsprop": (width, copy, f"{width} B", f"{torch}/rmsprop.py"),
        "adagrad": (width, copy, f"{width} B", f"{torch}/adagrad.py"),
        "sgd": (0, 0, "no state without momentum", f"{torch}/sgd.py"),
        "stable_adamw": (2 * width, copy, f"2 × {width} B", "torch-optimi"),
        "schedule_free_adamw": (2 * width, copy, f"2 × {width} B", "schedulefree"),
        "schedule_free_radam": (2 * width, copy, f"2 × {width} B", "schedulefree"),
        "schedule_free_sgd": (width, copy, f"{width} B", "schedulefree"),
        "grokadamw": (3 * width, 0, f"3 × {width} B", "grokadamw"),
        "lomo": (0, 0, "no state", "lomo-optim"),
    }
    if short == "adafactor":
        factors = _factored(inputs)
        return OptimizerCost(factors, 0, "4 B × (rows + columns) of each matrix", "transformers optimization.py")
    if short not in table:
        raise InputFault(f"the memory of the optimizer {name} is not known", key="optim")
    state, step, formula, source = table[short]
    return OptimizerCost(state, step, formula, source, paged)


def _factored(inputs: Inputs) -> float:
    """Adafactor's states in bytes for each parameter: a row and a column factor of every matrix."""
    shapes = inputs.architecture
    adapter = inputs.adapter
    if adapter is not None and adapter.kind == "lora" and not adapter.saved:
        sides = sum(
            count * (2 * adapter.rank + one.inputs + one.outputs * (2 if adapter.dora else 1))
            for one, count in adapters.targeted(shapes, adapter)
        )
        return 4 * sides / max(adapters.parameters(shapes, adapter), 1)
    if adapter is not None:
        return 4.0
    sides = sum(
        count * (one.inputs + one.outputs) * one.copies for layer, count in shapes.kinds for one in layer.linears
    )
    return 4 * (sides + shapes.vocab + shapes.hidden) / shapes.parameters
