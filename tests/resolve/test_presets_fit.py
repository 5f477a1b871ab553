"""Each preset fits the machine that it is for, by the plan."""

from typing import Any

import pytest
from machines import a_gpu, a_host

from tuiwb import memory, recipe
from tuiwb.models.info import ModelInfo
from tuiwb.resolve import resolve

SHARED = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "head_dim": 128}
SIZES: dict[str, dict[str, Any]] = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "tie_word_embeddings": False},
    "32B": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 152064, "hidden_size": 5120,
            "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8,
            "tie_word_embeddings": False},
    "70B": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
            "num_key_value_heads": 8, "tie_word_embeddings": False},
}  # fmt: skip
# The largest class of model that each preset is for, by the GPU's GiB; what is smaller fits all the more.
FOR: dict[str, tuple[tuple[str, int], ...]] = {
    "pretrain-full": (("1B", 40),),
    "pretrain-lora": (("1B", 16), ("8B", 40)),
    "sft-full": (("1B", 24), ),
    "sft-lora": (("1B", 16), ("8B", 24)),
    "sft-dora": (("1B", 16), ("8B", 40)),
    "sft-qlora": (("8B", 24), ("32B", 48)),
    "reward-lora": (("1B", 16), ("8B", 24)),
    "reward-qlora": (("8B", 16), ("32B", 48), ("70B", 80)),
    "dpo-lora": (("1B", 16), ("8B", 24)),
    "dpo-qlora": (("8B", 16), ("32B", 48), ("70B", 80)),
    "dpo-full": (("1B", 40),),
    "kto-lora": (("1B", 16), ("8B", 24)),
    "kto-qlora": (("8B", 16), ("32B", 48), ("70B", 80)),
    "orpo-lora": (("1B", 16), ("8B", 40)),
    "orpo-qlora": (("8B", 24), ("32B", 40), ("70B", 80)),
    "grpo-lora": (("1B", 16), ("8B", 24)),
    "grpo-qlora": (("8B", 24), ("32B", 40), ("70B", 80)),
    "rloo-lora": (("1B", 16), ("8B", 24)),
}  # fmt: skip


def model_of(size: str) -> ModelInfo:
    config = {"max_position_embeddings": 8192} | SHARED | SIZES[size]
    return ModelInfo(ref=size, name=size, kind="hub", path=None, config=config, architecture=config["architectures"][0])


@pytest.mark.parametrize("name", FOR)
def test_a_preset_fits_where_it_is_for(name: str) -> None:
    for size, gib in FOR[name]:
        model, gpu = model_of(size), a_gpu(gib=gib)
        resolved = resolve(recipe.load(name), model=model, host=a_host(), gpus=[gpu])
        planned = memory.plan(resolved.recipe, model, gpu=gpu)
        assert planned.fits is not None
        assert planned.fits.ok, f"{size} on {gib} GiB needs {planned.peak_bytes / 2**30:.1f} GiB"


def test_every_preset_of_a_stage_has_its_place_in_the_table() -> None:
    ours = {one.name for one in recipe.presets() if recipe.load(one.name).stage not in (None, "ppo")}
    assert ours - {"demo"} == set(FOR)
