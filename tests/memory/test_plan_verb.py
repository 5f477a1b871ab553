"""`tuiwb plan`: the document of the house plan, tables for people, and what is wrong in one sentence."""

import json
from pathlib import Path

import pytest

from tuiwb.cli.main import main

KEYS = {
    "parameters", "components", "phases", "steady_bytes", "peak_bytes", "device_bytes", "binding_phase", "ranks",
    "fits", "search", "remedies", "disk_bytes", "time_s", "assumptions",
}  # fmt: skip


def asked(model: Path, *more: str) -> list[str]:
    return ["plan", "sft-lora", "--set", f"model_name_or_path={model}", *more]


def test_the_document_has_the_keys_of_the_house_plan(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(tiny_model, "--gpu", "T4", "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == KEYS
    assert document["fits"]["ok"] is True
    assert document["search"]["min_gpus"] == 1
    assert document["device_bytes"]["low"] <= document["device_bytes"]["high"]
    assert document["peak_bytes"] == max(phase["bytes"] for phase in document["phases"])


def test_without_a_gpu_nothing_is_said_to_fit(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(tiny_model, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is None


def test_the_rules_are_held_against_this_plan(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(tiny_model, "--why", "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    rules = {rule["rule"]: rule for rule in document["rules"]}
    load = rules["2P to load"]
    assert load["says_bytes"] == 2 * document["parameters"]["total"]
    assert load["distance"] == pytest.approx(load["says_bytes"] / load["planned"] - 1, abs=1e-4)
    for quoted in ("10P", "12P", "16P", "18P"):
        assert rules[f"{quoted} for full training"]["assumes"]
    assert {"ZeRO-1 on 8 GPUs", "ZeRO-2 on 8 GPUs", "ZeRO-3 on 8 GPUs"} <= set(rules)


def test_answering_needs_weights_and_a_cache(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--set", "max_length=100", "--set", "max_completion_length=28", "--inference", "--json"]
    assert main(asked(tiny_model, *more)) == 0
    document = json.loads(capsys.readouterr().out)
    assert [phase["name"] for phase in document["phases"]] == ["reading the prompt", "writing the answer"]
    assert all("optimizer" not in phase["components"] for phase in document["phases"])
    assert document["parameters"]["trainable"] == 0
    changes = [remedy["change"] for remedy in document["remedies"]]
    assert changes
    assert not any("gradient" in change or "method" in change for change in changes), "nothing is trained"


def test_without_past_runs_the_history_is_empty(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(tiny_model, "--history", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": []}


@pytest.mark.parametrize("form", [[], ["--markdown"], ["--explain"], ["--why"]])
def test_people_get_tables(tiny_model: Path, form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(tiny_model, "--gpu-memory", "8", *form)) == 0
    text = capsys.readouterr().out
    for word in ("fits", "forward and loss", "optimizer step", "weights", "adapter_dtype"):
        assert word in text


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--gpu", "RTX-4091"], 2, "did you mean RTX-4090?"),
        (["--assume", "loss=magic"], 2, "loss: 'magic' is not one of"),
        (["--assume", "loss"], 2, "is not NAME=VALUE"),
        (["--gpu-memory", "-1"], 2, "not a possible size"),
        (["--set", "lora_target_modules=c_attn"], 3, "none of c_attn is a matrix of this model"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tiny_model: Path, more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked(tiny_model, *more)) == code
    assert said in capsys.readouterr().err
