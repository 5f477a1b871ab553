"""What the memory depends on and no recipe says: the code path. Each has a name, a default with a reason, a setting."""

from collections.abc import Mapping

from msgspec import Struct

from tuiwb.base.errors import UsageFault


class Question(Struct, frozen=True):
    """One assumption that can be made.

    Attributes:
        values: the valid words, the first of no meaning of its own.
        help: what it is about.
    """

    name: str
    values: tuple[str, ...]
    help: str


QUESTIONS = (
    Question("device", ("gpu", "cpu"), "a GPU keeps workspaces that a CPU does not have"),
    Question(
        "loss",
        ("chunked", "full_logits", "liger", "triton", "rows"),
        "how the loss is computed: TRL's fused output layer in chunks, all logits at once with a float32 copy, Liger's "
        "fused linear cross entropy, a Triton kernel on all logits (Unsloth), or some rows at a time (ours: on a CPU, "
        "and for PPO)",
    ),
    Question(
        "logits_held",
        ("true", "false"),
        "full logits only: whether whoever called the model still holds its output during the backward pass",
    ),
    Question(
        "kernels",
        ("transformers", "liger", "unsloth", "own"),
        "norm, rotary embedding and feed-forward kernels: plain PyTorch, Liger's, Unsloth's Triton kernels, or this "
        "program's own on a CPU, for norms that are not trained and for LoRA",
    ),
    Question(
        "kept_base",
        ("true", "false"),
        "this program's own kernels on a CPU: whether a base in 4 bits stands unpacked besides, instead of being "
        "unpacked in each pass",
    ),
    Question("adapter_dtype", ("fp32", "bf16"), "type of the adapter's weights; PEFT trains them in float32"),
    Question(
        "kbit_upcast",
        ("false", "norms", "true"),
        "what is cast to float32 before training on a quantized base: nothing, the norms (older TRL), or embedding, "
        "output matrix and norms (PEFT prepare_model_for_kbit_training)",
    ),
    Question("foreach", ("true", "false"), "whether the optimizer updates all weights in one go, with a copy as large"),
    Question(
        "transformers",
        ("5", "4.48", "4.44"),
        "whose modelling code runs: 5; 4.48 copies the shifted logits; up to 4.44 repeats keys and values for flash "
        "attention in Mistral and its relatives",
    ),
    Question(
        "padding",
        ("true", "false"),
        "whether a batch is padded; torch's fused attention then gets a mask, and repeated keys and values",
    ),
    Question(
        "sampler", ("transformers", "vllm"), "what samples the answers of GRPO and RLOO; vLLM takes its own share"
    ),
    Question("engine", ("transformers", "llama.cpp", "vllm"), "what answers, and how it keeps keys and values"),
    Question("fsdp", ("1", "2"), "version of fully sharded data parallel; this program trains with 2"),
    Question(
        "offload_inputs",
        ("false", "true"),
        "whether the inputs of the layers wait in host memory for the backward pass (Unsloth's checkpointing does it)",
    ),
    Question("reentrant", ("true", "false"), "kind of gradient checkpointing (use_reentrant)"),
)
_BY_NAME = {question.name: question for question in QUESTIONS}
_WORDS = {
    "yes": "true", "no": "false", "on": "true", "off": "false", "float32": "fp32", "bfloat16": "bf16", "True": "true",
    "False": "false",
}  # fmt: skip


class Assumption(Struct, frozen=True):
    """One that was made. `set` says that the user made it."""

    name: str
    value: str
    reason: str
    set: bool = False

    def to_json(self) -> dict[str, object]:
        question = _BY_NAME.get(self.name)
        return {
            "name": self.name,
            "value": self.value,
            "reason": self.reason,
            "set": self.set,
            "values": list(question.values) if question else [],
        }


class Assumptions:
    """Collects what was assumed, in the order in which it was asked."""

    def __init__(self, stated: Mapping[str, str]) -> None:
        self._stated = check(stated)
        self.made: dict[str, Assumption] = {}

    def choose(self, name: str, default: str, reason: str) -> str:
        """The user's value, or `default` with its reason."""
        if name not in self.made:
            value = self._stated.get(name)
            self.made[name] = (
                Assumption(name, default, reason) if value is None else Assumption(name, value, "you set it", set=True)
            )
        return self.made[name].value

    def note(self, name: str, value: str, reason: str) -> None:
        """State something that cannot be set here, but belongs to the plan."""
        self.made.setdefault(name, Assumption(name, value, reason))

    @property
    def all(self) -> tuple[Assumption, ...]:
        return tuple(self.made.values())


def check(stated: Mapping[str, str]) -> dict[str, str]:
    """The settings as words that are known.

    Raises:
        UsageFault: no such assumption, or not one of its values.
    """
    import difflib

    found = {}
    for name, value in stated.items():
        question = _BY_NAME.get(name)
        if question is None:
            near = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_BY_NAME)}"
            raise UsageFault(f"no such assumption: {hint}", key=name)
        word = _WORDS.get(str(value), str(value))
        if word not in question.values:
            raise UsageFault(f"{value!r} is not one of {', '.join(question.values)}", key=name)
        found[name] = word
    return found
