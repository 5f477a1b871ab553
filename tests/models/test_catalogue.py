"""The offline catalogue: complete, its names unique, its counts those of the classes that transformers builds."""

from typing import Any

import pytest

from tuiwb import models
from tuiwb.base.errors import InputFault

KINDS = {
    "grouped-query attention": lambda config: (
        config.get("num_key_value_heads", 0) < config.get("num_attention_heads", 0)
    ),
    "multi-head attention": lambda config: config.get("num_key_value_heads") == config.get("num_attention_heads", -1),
    "experts": lambda config: "num_experts_per_tok" in config,
    "latent attention": lambda config: "kv_lora_rank" in config,
    "sliding window": lambda config: config["model_type"] == "gemma2",
    "tied embeddings": lambda config: config["tie_word_embeddings"],
    "hybrid": lambda config: config["model_type"] in ("jamba", "qwen3_next"),
}


def test_it_holds_what_a_planner_needs() -> None:
    entries = models.catalogue()
    assert len({str(sorted(entry.config.items(), key=str)) for entry in entries}) >= 60
    assert len({entry.name for entry in entries}) == len(entries)
    assert len({entry.hub_id.casefold() for entry in entries}) == len(entries)
    for entry in entries:
        info = models.open_model(entry.name)
        assert info.parameters == entry.parameters > 0
        assert info.path is None
        assert info.architecture
        assert info.context_length
        assert info.vocab_size
        assert info.dtype in ("bfloat16", "float16", "float32")
        assert info.license
        assert entry.source
        assert entry.name == entry.name.casefold()
        assert isinstance(entry.config["tie_word_embeddings"], bool)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_there(kind: str) -> None:
    assert [entry for entry in models.catalogue() if KINDS[kind](entry.config)]


def test_entries_are_found_by_name_and_by_hub_id() -> None:
    entry = models.find_entry("Qwen/Qwen2.5-7B-Instruct")
    assert entry is not None
    assert entry == models.find_entry("QWEN2.5-7b-instruct")
    assert entry.name == "qwen2.5-7b-instruct"
    assert models.find_entry("qwen2.5") is None
    assert {found.name for found in models.matching("qwen2.5 7b")} == {"qwen2.5-7b", "qwen2.5-7b-instruct"}
    with pytest.raises(InputFault, match=r"did you mean `qwen2\.5-7b`"):
        models.open_model("qwen2.5-7bb")


def counted(config: dict[str, Any]) -> int:
    """The parameters of the class that transformers makes of a configuration; no weight is allocated."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {key: value for key, value in config.items() if key not in ("model_type", "dtype")}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **fields))
    model.tie_weights()
    return sum(weight.numel() for weight in model.parameters())


SOME = ("smollm2-135m-instruct", "gpt2", "qwen2.5-7b-instruct", "gemma-2-2b", "deepseek-v2-lite", "pythia-70m")


@pytest.mark.torch
@pytest.mark.parametrize("name", SOME)
def test_counts_are_those_of_transformers(name: str) -> None:
    entry = models.find_entry(name)
    assert entry is not None
    assert counted(dict(entry.config)) == entry.parameters


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", [entry.name for entry in models.catalogue() if entry.name not in SOME])
def test_all_counts_are_those_of_transformers(name: str) -> None:
    test_counts_are_those_of_transformers(name)
