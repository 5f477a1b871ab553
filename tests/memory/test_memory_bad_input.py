"""Configurations and recipes that cannot be: one sentence with the key, never a guess that nobody is told of."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.cli.main import main
from tuiwb.memory import plan
from tuiwb.memory.architecture import Architecture
from tuiwb.memory.families import architecture
from tuiwb.models import catalogue

ABSURD: tuple[Any, ...] = (0, -1, 1e12, 10**12, float("nan"), "4096", [1], {}, True)
ONE_OF_EACH = {str(entry.config["model_type"]): dict(entry.config) for entry in reversed(catalogue())}
# Said among the assumptions where they are left out; the others change the memory or are refused.
TOLD = ("num_key_value_heads", "n_shared_experts", "first_k_dense_replace", "tie_word_embeddings")
SHAPES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "n_embd", "n_layer", "n_head")


def read(config: dict[str, Any]) -> Architecture | str | None:
    """The shapes, or the key that is named."""
    try:
        return architecture(config)
    except InputFault as fault:
        return fault.key


@pytest.mark.parametrize("model_type", sorted(ONE_OF_EACH))
def test_no_value_and_no_gap_ends_in_anything_but_a_sentence_with_the_key(model_type: str) -> None:
    config = ONE_OF_EACH[model_type]
    for key in config:
        for value in ABSURD:
            assert read({**config, key: value}) is not None, (key, value)
        shapes = read({name: value for name, value in config.items() if name != key})
        if not isinstance(shapes, Architecture):
            assert shapes == key
        elif key in TOLD and shapes.parameters != architecture(config).parameters:
            assert any(key in note for note in shapes.notes)
        else:
            assert key not in SHAPES


@pytest.mark.parametrize("key", ["max_length", "per_device_train_batch_size", "lora_r", "gradient_accumulation_steps"])
def test_what_nobody_can_mean_is_refused_with_its_key(key: str, llama: Any, make_recipe: Any) -> None:
    with pytest.raises(InputFault) as caught:
        plan(make_recipe(**{key: 10**12}), llama)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("stored", "gpu", "key"),
    [
        ({"quant_method": "fp8"}, "T4", "quantization_config"),
        ({"quant_method": "magic"}, "T4", "quantization_config"),
        ({"quant_method": "gptq", "bits": "four"}, "T4", "quantization_config.bits"),
        ({"quant_method": "awq", "group_size": 0}, "T4", "quantization_config.group_size"),
    ],
)
def test_a_quantization_that_cannot_run_is_refused(
    stored: dict[str, Any], gpu: str, key: str, llama_config: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**llama_config, "quantization_config": stored}))
    assert main(["plan", "sft-lora", "--set", f"model_name_or_path={tmp_path}", "--gpu", gpu, "--json"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["key"] == key
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("keys", ["launch.processes", "launch.nodes"])
def test_more_gpus_than_there_are_is_one_sentence(keys: str, tiny_model: Path, capsys: Any) -> None:
    settings = [f"model_name_or_path={tiny_model}", f"{keys}={10**12}"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert main(["plan", "sft-lora", *arguments, "--gpu", "T4"]) == 3
    assert keys in capsys.readouterr().err
