"""Why the blogs disagree: the rules that people quote, for the model at hand, and how far each is from the plan.

Each rule is right under an assumption that it seldom states. Sources: Korthikanti et al. 2022 and the EleutherAI blog
"Transformer Math 101" (12·L·h², 2P, 16P and 18P, ×1.2), the ZeRO paper (Rajbhandari et al. 2020, 16Ψ and its parts),
the hardware table of LLaMA-Factory's README (full, LoRA and QLoRA of 7B), DeepSpeed's estimators.
"""

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tuiwb.base.errors import TuiwbError
from tuiwb.recipe import Launch, Recipe

if TYPE_CHECKING:
    from tuiwb.memory.planning import Plan

GB = 10**9
SEVEN = 7 * 10**9
MANY = 8  # GPUs that the ZeRO rules are shown for where the recipe has one


class Rule(Struct, frozen=True):
    """One rule.

    Attributes:
        says: bytes, or parameters where `counts` is set.
        assumes: under which it is right.
        beside: what it is held against; `planned` of it.
    """

    rule: str
    says: float
    assumes: str
    beside: str
    planned: float
    counts: bool = False

    @property
    def distance(self) -> float:
        """Share of what was planned by which the rule is above it."""
        return self.says / self.planned - 1

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "says_parameters" if self.counts else "says_bytes": round(self.says),
            "assumes": self.assumes,
            "beside": self.beside,
            "planned": round(self.planned),
            "distance": round(self.distance, 4),
        }


def rules(plan: "Plan") -> tuple[Rule, ...]:
    """The rules, those for loading and counting first."""
    shapes = plan.inputs.model
    count, layers, hidden, vocab = shapes.parameters, len(shapes.layers), shapes.hidden, shapes.vocab
    weights = plan.step.shards.weights.total
    found = [
        Rule(
            "12·L·h² parameters",
            12.0 * layers * hidden**2,
            "attention 4h², feed-forward 2 × 4h² without a gate, as many key as query heads, no embedding",
            "exact count",
            count,
            counts=True,
        ),
        Rule(
            "L·(12h² + 13h) + V·h parameters",
            layers * (12.0 * hidden**2 + 13 * hidden) + vocab * hidden,
            "GPT-2: biases, layer norms, one tied embedding",
            "exact count",
            count,
            counts=True,
        ),
        Rule("2P to load", 2.0 * count, "weights in 16 bits and nothing else", "this plan's weights", weights),
    ]
    answering = _answering(plan)
    if answering is not None:
        size = f"answering {answering.inputs.batch} × {answering.inputs.length} tokens"
        found.append(
            Rule("2P × 1.2 for inference", 2.4 * count, "cache and activations are a fifth of the weights", size,
                 answering.peak_bytes)
        )  # fmt: skip
    full = _with(plan, "full")
    if full is not None:
        found += _full(count, full)
    qlora = _with(plan, "qlora")
    if qlora is not None:
        found.append(
            Rule("4.5 GB for QLoRA of 7B", 4.5 * GB * count / SEVEN,
                 "half a byte a weight and 1 GB for all the rest: no embedding in 16 or 32 bits, short examples",
                 _named(qlora), qlora.peak_bytes)
        )  # fmt: skip
    if full is not None:
        found += _sharded(count, full)
    return tuple(found)


def _full(count: int, full: "Plan") -> list[Rule]:
    beside, planned = _named(full), full.peak_bytes
    known = (
        ("10P", 10.0, "all in 16 bits (2 weights, 2 gradients, 4 Adam) and Adam's copy of 2; activations below that"),
        ("12P", 12.0, "weights and gradients in 16 bits, Adam in 32, no float32 weights; no activations"),
        ("16P", 16.0, "all in float32, or 16-bit weights and gradients with float32 weights and Adam; no activations"),
        ("18P", 18.0, "mixed precision: 6 weights, 4 float32 gradients, 8 Adam; no activations"),
    )
    found = [Rule(f"{name} for full training", each * count, why, beside, planned) for name, each, why in known]
    quoted = (
        (112, "16P of 7B"),
        (70, "10P of 7B"),
        (60, "about 8P of 7B: 16-bit weights, gradients and Adam, a little for activations"),
    )
    for size, why in quoted:
        says = size * GB * count / SEVEN
        found.append(Rule(f"{size} GB for full training of 7B", says, why, beside, planned))
    return found


def _sharded(count: int, full: "Plan") -> list[Rule]:
    """The ZeRO paper's 4Ψ + 12Ψ/N, 2Ψ + 14Ψ/N and 16Ψ/N: 24, 16 and 8 GB are what they give for 4.5B on 9 GPUs."""
    ranks = full.inputs.ranks if full.inputs.ranks > 1 else MANY
    found = []
    says = {
        "zero1": 4.0 * count + 12.0 * count / ranks,
        "zero2": 2.0 * count + 14.0 * count / ranks,
        "zero3": 16.0 * count / ranks,
    }
    for (kind, value), quoted in zip(says.items(), (24, 16, 8), strict=True):
        launch = msgspec.structs.replace(full.recipe.launch or Launch(), nodes=1, processes=ranks, sharding=kind)
        shared = _try(full, msgspec.structs.replace(full.recipe, launch=launch))
        if shared is None:
            continue
        why = f"each GPU keeps its part of 16 bytes a parameter ({quoted} GB for 4.5B on 9); no buffers or activations"
        found.append(
            Rule(f"ZeRO-{kind[-1]} on {ranks} GPUs", value, why, f"{kind} on {ranks} GPUs planned", shared.peak_bytes)
        )
    return found


def _with(plan: "Plan", method: str) -> "Plan | None":
    """This plan where it is of that method, else the same recipe with the method changed."""
    inputs = plan.inputs
    if inputs.stage != "inference" and inputs.method == method:
        return plan
    changes: dict[str, Any] = {"method": method, "load_in_4bit": method == "qlora" or None, "use_dora": None}
    if method == "full":
        changes |= {"load_in_8bit": None}
    return _try(plan, msgspec.structs.replace(plan.recipe, **changes))


def _answering(plan: "Plan") -> "Plan | None":
    if plan.inputs.stage == "inference":
        return plan
    from tuiwb.memory.planning import plan as make

    try:
        return make(plan.recipe, plan.model, gpu=plan.gpu, answers=True)
    except TuiwbError:
        return None


def _try(plan: "Plan", recipe: Recipe) -> "Plan | None":
    """None where the model or the recipe does not go with it, such as full training of a quantized model."""
    from tuiwb.memory.planning import plan as make

    try:
        return make(recipe, plan.model, gpu=plan.gpu, assume=plan.stated)
    except TuiwbError:
        return None


def _named(plan: "Plan") -> str:
    return f"{plan.inputs.method}, {plan.inputs.batch} × {plan.inputs.length} tokens"
