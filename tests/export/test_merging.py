"""One model of a base and an adapter: whole weights, added up in float32, known by other programs as before."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "chat"))
from adapter import make_adapter
from tiny import make_tiny_model

from tuiwb import chat, export, models, rundir, runs
from tuiwb.base.errors import EnvironmentFault, InputFault, RunFault, UsageFault
from tuiwb.rundir import RunDir

LAYER = "model.layers.0.self_attn.q_proj.weight"


def half_model(folder: Path, tiny_model: Path) -> Path:
    """The tiny model in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_model / name, folder / name)
    return folder


def merged(spec: export.Spec, folder: Path) -> dict[str, Any]:
    from tuiwb.workers.merge import merge

    run = RunDir(folder)
    run.path.mkdir()
    return merge(spec, run)


def learned(adapter: Path) -> Any:
    """What an adapter adds to the layer, float32."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    at = "base_model.model." + LAYER.removesuffix(".weight")
    return tensors[f"{at}.lora_B.weight"] @ tensors[f"{at}.lora_A.weight"]  # alpha is the rank


@pytest.mark.torch
@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_weights_are_added_up_in_float32_and_rounded_once(tmp_path: Path, tiny_model: Path, quantization: Any) -> None:
    import torch
    from safetensors.torch import load_file as load_torch

    base = half_model(tmp_path / "base", tiny_model)
    adapter = make_adapter(tmp_path / "adapter", base, scale=0.2)
    spec = export.spec_of(chat.target_of(str(adapter)).best, tmp_path / "out")
    assert spec.dtype == "bfloat16", "the base's own"
    found = merged(msgspec.structs.replace(spec, quantization=quantization), tmp_path / "run")
    whole, delta = load_torch(base / "model.safetensors")[LAYER], torch.tensor(learned(adapter))
    written = load_torch(tmp_path / "out" / "model.safetensors")[LAYER]
    # Whatever the base was held in, the whole one is what is added to. PEFT differs by rounding in float32 alone.
    wanted = (whole.float() + delta).bfloat16()
    assert (written != wanted).float().mean() < 0.02
    twice = whole + delta.bfloat16()
    assert (twice != wanted).float().mean() > 0.02, "rounded twice it is another one"
    assert found["kl"] < 1e-3
    if quantization is None:
        assert "quantized" not in found
    else:
        assert found["quantized"]["kl"] > 2 * found["kl"], "what it was trained on is said to be another"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.torch
def test_a_merged_model_is_known_as_before(tmp_path: Path, tiny_model: Path) -> None:
    """By its tokenizer's own files and by the ids of a text, from which converters tell which tokenizer it is."""
    from transformers import AutoTokenizer

    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    # As an author wrote it, which no library would write again.
    file = base / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=7))
    adapter = make_adapter(tmp_path / "adapter", base, scale=0.2)
    (adapter / "tokenizer.json").write_bytes(file.read_bytes())
    (adapter / "chat_template.jinja").write_text("{% for m in messages %}<{{ m['content'] }}>{% endfor %}")
    merged(export.spec_of(chat.target_of(str(adapter)).best, tmp_path / "out"), tmp_path / "run")
    out = tmp_path / "out"
    assert (out / "tokenizer.json").read_bytes() == file.read_bytes()
    text = "\n \n\n \t\t 🚀 (normal) 3 33 333 ''' ' 'll 're Äpfel ............!!!!!!"
    names = [
        hashlib.sha256(str(AutoTokenizer.from_pretrained(folder).encode(text)).encode()).hexdigest()
        for folder in (base, out)
    ]
    assert names[0] == names[1]
    opened = models.open_model(str(out))
    assert opened.adapter is None
    assert opened.dtype == "float32"
    assert models.load_tokenizer(opened).chat_template == (adapter / "chat_template.jinja").read_text()


@pytest.mark.torch
def test_what_does_not_compute_what_was_trained_is_not_kept(tmp_path: Path) -> None:
    """An adapter on an output layer that is tied: merged, it would change what tokens are read as, too."""
    base = make_tiny_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"target_modules": ["lm_head"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    sizes = json.loads((base / "config.json").read_text())
    random = np.random.default_rng(0)
    save_file(
        {
            "base_model.model.lm_head.lora_A.weight": random.standard_normal((4, sizes["hidden_size"])).astype("f4"),
            "base_model.model.lm_head.lora_B.weight": random.standard_normal((sizes["vocab_size"], 4)).astype("f4"),
        },
        str(adapter / "adapter_model.safetensors"),
    )
    with pytest.raises(RunFault, match="nats a token from the adapter on its base, so it was not kept"):
        merged(export.spec_of(chat.target_of(str(adapter)).best, tmp_path / "out"), tmp_path / "run")
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_the_verb_waits_for_a_run_of_its_own(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuiwb.cli.main import main

    adapter = make_adapter(tmp_path / "adapter", tiny_model, scale=0.2)
    assert main(["export", str(adapter), "--output", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["output"] == str(tmp_path / "out")
    assert told["kl"] < 1e-3
    (run,) = runs.run_dirs()
    assert rundir.read_job(run)["kind"] == "export"
    assert models.open_model(told["output"]).parameters == models.open_model(str(tiny_model)).parameters


def test_what_cannot_be_merged_is_said_before_there_is_a_run(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spec(adapter: Path, name: str = "out") -> export.Spec:
        return export.spec_of(chat.target_of(str(adapter)).best, tmp_path / name)

    with pytest.raises(InputFault, match="whole model already"):
        spec(tiny_model)
    adapter = make_adapter(tmp_path / "adapter", tiny_model)
    with pytest.raises(UsageFault, match="there is something already"):
        spec(adapter, "adapter")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault, match=r"the merged model takes .* and 0 B are free"):
        spec(adapter)
    monkeypatch.undo()
    settings = json.loads((adapter / "adapter_config.json").read_text())
    for change, words in [
        ({"peft_type": "PREFIX_TUNING"}, "positions before a text"),
        ({"task_type": "SEQ_CLS"}, "a reward model"),
    ]:
        (adapter / "adapter_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(InputFault, match=words):
            spec(adapter)
    small = tmp_path / "four-bits"
    shutil.copytree(tiny_model, small)
    config = json.loads((small / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputFault, match="bitsandbytes 4-bit nf4, in which what was learned would be rounded away"):
        spec(make_adapter(tmp_path / "other", small))
