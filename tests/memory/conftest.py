"""Models and recipes for the tests of the memory room: configurations alone are enough."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Launch, Recipe

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 8192,
}


def model_of(config: dict[str, Any]) -> ModelInfo:
    return ModelInfo(
        ref="test", name="test", kind="hub", path=None, config=config, architecture=config["architectures"][0]
    )


def recipe_of(**changes: Any) -> Recipe:
    """A LoRA recipe for one GPU, changed."""
    values: dict[str, Any] = {
        "stage": "sft",
        "method": "lora",
        "dtype": "bfloat16",
        "bf16": True,
        "optim": "adamw_torch",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_length": 2048,
        "gradient_checkpointing": True,
        "attn_implementation": "flash_attention_2",
        "lora_r": 16,
        "lora_dropout": 0.0,
        "lora_target_modules": ("q_proj", "v_proj"),
    }
    if changes.get("method") in ("full", "freeze"):
        values = {key: value for key, value in values.items() if not key.startswith("lora_")}
    ranks = changes.pop("ranks", 1)
    if ranks > 1:
        changes["launch"] = Launch(processes=ranks, sharding=changes.pop("sharding", "fsdp"))
    changes.pop("sharding", None)
    return Recipe(**{**values, **changes})


@pytest.fixture(scope="session")
def llama() -> ModelInfo:
    """Llama-3-8B as its config.json describes it."""
    return model_of(LLAMA)


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    return recipe_of


@pytest.fixture(scope="session")
def make_model() -> Callable[[dict[str, Any]], ModelInfo]:
    return model_of


@pytest.fixture(scope="session")
def llama_config() -> dict[str, Any]:
    return dict(LLAMA)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices so small are not worth a second thread, which would only wait for the first."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
