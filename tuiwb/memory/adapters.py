"""What is trained beside a frozen base: LoRA and its relatives, (IA)³, learned prefixes and prompts."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from tuiwb.base.errors import InputFault
from tuiwb.memory.architecture import Architecture, Attention, Experts, FeedForward, Layer, Linear
from tuiwb.memory.assumptions import Assumptions
from tuiwb.recipe import Recipe

LOW_RANK = ("lora", "qlora", "dora")
METHODS = (*LOW_RANK, "ia3", "prefix", "prompt")
# peft/utils/constants.py TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING: the last of each scales its input.
_SCALED: Mapping[str, tuple[str, ...]] = {
    "gpt2": ("c_attn", "c_proj"),
    "gpt_bigcode": ("c_attn", "c_proj"),
    "bloom": ("query_key_value", "dense_4h_to_h"),
    "opt": ("q_proj", "k_proj", "fc2"),
    "gptj": ("q_proj", "v_proj", "fc_out"),
    "gpt_neox": ("query_key_value", "dense_4h_to_h"),
    "falcon": ("query_key_value", "dense_4h_to_h"),
    "llama": ("k_proj", "v_proj", "down_proj"),
    "mistral": ("k_proj", "v_proj", "down_proj"),
    "mixtral": ("k_proj", "v_proj", "w2"),
    "phi": ("q_proj", "v_proj", "fc2"),
    "gemma": ("q_proj", "v_proj", "down_proj"),
    "gemma2": ("q_proj", "v_proj", "down_proj"),
    "gemma3_text": ("q_proj", "v_proj", "down_proj"),
    "qwen2": ("q_proj", "v_proj", "down_proj"),
    "qwen3": ("q_proj", "v_proj", "down_proj"),
}


class Adapter(Struct, frozen=True):
    """Weights that are trained while the base is not.

    Attributes:
        targets: names of the matrices that carry it; none for a prefix or a prompt.
        width: bytes of its type.
        tokens: learned positions before each example; `projected` computes a prefix by a small network.
        saved: modules of the base that are copied and trained whole (lora_modules_to_save).
    """

    kind: Literal["lora", "ia3", "prefix", "prompt"]
    targets: frozenset[str]
    width: int
    rank: int = 0
    dropout: bool = False
    dora: bool = False
    tokens: int = 0
    projected: bool = False
    saved: frozenset[str] = frozenset()


def adapter_of(
    recipe: Recipe, shapes: Architecture, method: str, assumed: Assumptions, *, rounded: bool
) -> Adapter | None:
    """What the recipe's method adds to the model.

    Args:
        rounded: the trainer puts the adapter into half precision.

    Raises:
        InputFault: it does not go with this model.
    """
    if method not in METHODS:
        return None
    default, reason = ("bf16", "TRL 1.16 rounds adapters on a quantized base") if rounded else ("fp32", "PEFT's own")
    width = 4 if assumed.choose("adapter_dtype", default, reason) == "fp32" else 2
    if method in ("prefix", "prompt"):
        return _learned_tokens(recipe, method, width)
    saved = _saved(recipe, shapes)
    if method == "ia3":
        asked = recipe.lora_target_modules or _SCALED.get(shapes.model_type)
        if asked is None:
            raise InputFault(
                f"PEFT has no targets for the architecture {shapes.model_type} with this method; name them",
                key="lora_target_modules",
            )
        return Adapter("ia3", _targets(asked, shapes), width, saved=saved)
    wanted: str | tuple[str, ...] | None = recipe.lora_target_modules
    if wanted is None:
        wanted = "all-linear"
        assumed.note("lora_target_modules", "all-linear", "the recipe leaves it out")
    rank = recipe.lora_r
    if rank is None:
        rank = 16
        assumed.note("lora_r", "16", "the recipe leaves it out")
    return Adapter(
        "lora",
        _targets(wanted, shapes),
        width,
        rank,
        dropout=bool(recipe.lora_dropout),
        dora=bool(recipe.use_dora) or method == "dora",
        saved=saved,
    )


def _learned_tokens(recipe: Recipe, method: str, width: int) -> Adapter:
    if method == "prefix":
        tokens = recipe.num_virtual_tokens or 20
        return Adapter("prefix", frozenset(), width, tokens=tokens, projected=bool(recipe.prefix_projection))
    return Adapter("prompt", frozenset(), width, tokens=recipe.num_virtual_tokens or 8)


def _targets(asked: str | tuple[str, ...], shapes: Architecture) -> frozenset[str]:
    names = {linear.name for layer, _ in shapes.kinds for linear in adaptable(layer)}
    asked = (asked,) if isinstance(asked, str) else asked
    if "all-linear" in asked:
        return frozenset(names)
    found = {name for name in names for one in asked if name == one or one.endswith("." + name)}
    if not found:
        raise InputFault(
            f"none of {', '.join(asked)} is a matrix of this model; it has {', '.join(sorted(names))}",
            key="lora_target_modules",
        )
    return frozenset(found)


def _saved(recipe: Recipe, shapes: Architecture) -> frozenset[str]:
    """Embedding and output matrix can be trained whole beside the adapter; other modules are not known by name."""
    modules = recipe.lora_modules_to_save or ()
    known = {
        "embed_tokens": "embedding",
        "wte": "embedding",
        "lm_head": "head",
        "output_layer": "head",
        "score": "head",
    }
    wrong = [name for name in modules if name not in known]
    if wrong:
        raise InputFault(
            f"the memory of {wrong[0]} trained whole is not known; embed_tokens and lm_head are",
            key="lora_modules_to_save",
        )
    return frozenset(known[name] for name in modules)


def adaptable(layer: Layer) -> tuple[Linear, ...]:
    """The matrices of a layer that an adapter can sit on. Stacked experts are no nn.Linear."""
    block = layer.feed_forward
    experts = block.linears if isinstance(block, Experts) and not block.stacked else ()
    return (*layer.linears, *experts)


def targeted(shapes: Architecture, adapter: Adapter) -> list[tuple[Linear, int]]:
    """The matrices that carry the adapter, and how many of each the model holds."""
    every = [(one, count * one.copies) for layer, count in shapes.kinds for one in adaptable(layer)]
    return [(one, count) for one, count in every if one.name in adapter.targets]


def layer_parameters(layer: Layer, adapter: Adapter) -> int:
    """Exact: r·(in + out) for each matrix, a magnitude for each output with DoRA; with (IA)³ one scale for each."""
    total = 0
    for linear in adaptable(layer):
        if linear.name not in adapter.targets:
            continue
        if adapter.kind == "ia3":
            each = linear.inputs if scales_input(linear, layer) else linear.outputs
        else:
            each = adapter.rank * (linear.inputs + linear.outputs) + (linear.outputs if adapter.dora else 0)
        total += linear.copies * each
    return total


def scales_input(linear: Linear, layer: Layer) -> bool:
    """(IA)³ scales the input of the matrix that closes the feed-forward block, and the output of all others."""
    block = layer.feed_forward
    if isinstance(block, FeedForward):
        return linear is block.down
    return isinstance(block, Experts) and linear.name == block.names[-1]


def parameters(shapes: Architecture, adapter: Adapter) -> int:
    """Weights of the adapter, exactly; modules that are trained whole are not counted."""
    if adapter.kind == "prompt":
        return adapter.tokens * (shapes.embedding_width or shapes.hidden)
    if adapter.kind == "prefix":
        return _prefix_parameters(shapes, adapter)
    return sum(count * layer_parameters(layer, adapter) for layer, count in shapes.kinds)


def _prefix_parameters(shapes: Architecture, adapter: Adapter) -> int:
    """peft/tuners/prefix_tuning/model.py: a key and a value for each layer, as wide as the cache's."""
    width = prefix_width(shapes)
    if not adapter.projected:
        return adapter.tokens * width
    token = max((layer.mixer.kv_width for layer in shapes.layers if isinstance(layer.mixer, Attention)), default=0)
    return adapter.tokens * token + token * token + token + token * width + width


def prefix_width(shapes: Architecture) -> int:
    """Elements of one learned position of a prefix."""
    mixers = [layer.mixer for layer in shapes.layers]
    return len(mixers) * 2 * max((mixer.kv_width for mixer in mixers if isinstance(mixer, Attention)), default=0)


def saved_parameters(shapes: Architecture, adapter: Adapter) -> int:
    """Weights of the modules that are trained whole beside the adapter."""
    sizes = {"embedding": shapes.embedding, "head": shapes.vocab * (shapes.embedding_width or shapes.hidden)}
    return sum(sizes[name] for name in adapter.saved)
