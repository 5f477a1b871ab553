"""The plan against what PyTorch's own memory tracker sees on this CPU, with transformers as it is installed."""

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tuiwb.memory import plan
from tuiwb.memory.architecture import Linear
from tuiwb.memory.matrices import Matrices
from tuiwb.memory.path import Path
from tuiwb.memory.trace import Ledger, Tape, features
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Recipe

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(autouse=True)
def _own_attention() -> Iterator[None]:
    """transformers' own: a test of the workers may have put theirs in its place in this process."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    AttentionInterface.register("sdpa", sdpa_attention_forward)
    yield
    AttentionInterface.register("sdpa", before)


def measured(method: str, checkpointing: bool, length: int, dtype: str, dropout: float) -> tuple[int, dict[str, Any]]:
    """Peak of the second training step of a small Llama, and its configuration. The first runs before the tracker does:
    it makes the optimizer's states."""
    from peft import get_peft_model
    from torch.distributed._tools.mem_tracker import MemTracker
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=1024,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.train()
    if method != "full":
        model = get_peft_model(model, adapter(method, dropout))
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, foreach=True)
    ids = torch.randint(0, 1024, (2, length))

    def step() -> None:
        output = model(input_ids=ids, labels=ids)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    tracker = MemTracker()
    # Its hooks on modules cannot be put on frozen weights, and are not needed for the total.
    for hook in ("_pre_fw_hook", "_post_fw_hook", "_pre_bw_hook", "_post_bw_hook"):
        setattr(tracker, hook, lambda *args, **more: None)
    tracker.track_external(model, optimizer, ids)
    with tracker:
        step()
    (sizes,) = tracker.get_tracker_snapshot("peak").values()
    return sizes["Total"], json.loads(config.to_json_string())


def adapter(method: str, dropout: float) -> Any:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig

    common = {"task_type": "CAUSAL_LM"}
    if method == "ia3":
        return IA3Config(**common)
    if method == "prompt":
        return PromptTuningConfig(num_virtual_tokens=TOKENS, **common)
    if method == "prefix":
        return PrefixTuningConfig(num_virtual_tokens=TOKENS, **common)
    return LoraConfig(r=8, lora_dropout=dropout, target_modules="all-linear", **common)


TOKENS = 16  # learned positions of a prefix or a prompt


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("method", "checkpointing", "dropout"),
    [
        ("full", False, 0.0),
        ("full", True, 0.0),
        ("lora", False, 0.0),
        ("lora", False, 0.1),
        ("lora", True, 0.0),
        ("ia3", False, 0.0),
        ("ia3", True, 0.0),
        ("prompt", False, 0.0),
        ("prefix", False, 0.0),
    ],
)
@pytest.mark.parametrize("length", [64, 256])
def test_the_peak_is_within_three_per_cent(
    method: str, checkpointing: bool, dropout: float, length: int, dtype: str
) -> None:
    seen, config = measured(method, checkpointing, length, dtype, dropout)
    lora = method == "lora"
    recipe = Recipe(
        stage="sft",
        method=method,  # type: ignore[arg-type]
        dtype=dtype,  # type: ignore[arg-type]
        optim="adamw_torch",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
        max_length=length,
        gradient_checkpointing=checkpointing,
        attn_implementation="sdpa",
        lora_r=8 if lora else None,
        lora_dropout=dropout if lora else None,
        lora_target_modules="all-linear" if lora else None,
        num_virtual_tokens=TOKENS if method in ("prefix", "prompt") else None,
        use_cpu=True,
    )
    model = ModelInfo(ref="small", name="small", kind="hub", path=None, config=config, architecture="LlamaForCausalLM")
    made = plan(recipe, model, assume={"loss": "full_logits", "kernels": "transformers", "foreach": "true"})
    assert made.peak_bytes == pytest.approx(seen, rel=0.03)


@pytest.mark.parametrize("tokens", [64, 256])
def test_dora_keeps_of_one_matrix_what_the_tracker_sees(tokens: int) -> None:
    """Of one matrix only: inside the tracker DoRA's identity waits for Python's collector, outside it does not."""
    from peft import LoraConfig, get_peft_model
    from torch.distributed._tools.mem_tracker import MemTracker

    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = torch.nn.Linear(128, 384, bias=False)

        def forward(self, x: Any) -> Any:
            return self.q_proj(x)

    model = get_peft_model(One(), LoraConfig(r=8, target_modules=["q_proj"], use_dora=True))
    model.train()
    x = torch.randn(1, tokens, 128, requires_grad=True)
    tracker = MemTracker()
    for hook in ("_pre_fw_hook", "_post_fw_hook", "_pre_bw_hook", "_post_bw_hook"):
        setattr(tracker, hook, lambda *args, **more: None)
    tracker.track_external(model, x)

    def now() -> int:
        (sizes,) = tracker.get_tracker_snapshot("current").values()
        return int(sizes["Total"])

    with tracker:
        before = now()
        output = model(x)
        gc.collect()
        kept = now() - before
    del output

    ledger = Ledger()
    tape = Tape(ledger)
    path = Path(compute=4, weights=4, trained=False, adapted=frozenset({"q_proj"}), rank=8, magnitudes=True,
                dropout=False)  # fmt: skip
    traced = tape.graph_input(features(128), 4, requires_grad=True, tag="x")
    own = ledger.now().total.at(tokens, tokens)
    made = Matrices(tape, path).linear(traced, Linear("q_proj", 128, 384))
    assert ledger.now().total.at(tokens, tokens) - own == pytest.approx(kept, rel=0.03)
    del made
