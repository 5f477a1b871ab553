"""The loss over labelled tokens and the fused LoRA layers: the same numbers as transformers and PEFT, gradients too."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_tiny_model

pytestmark = pytest.mark.torch


def load(folder: Path, **config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, **config).train()


def batch() -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    ids = torch.randint(3, 250, (3, 17))
    labels = ids.clone()
    labels[:, :5] = -100
    labels[1, 9:] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def gradients(model: Any) -> dict[str, Any]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(one: dict[str, Any], other: dict[str, Any]) -> None:
    import torch

    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("tie", [True, False])
def test_loss_and_gradients_are_those_of_transformers(tmp_path: Path, tie: bool) -> None:
    from tuiwb.workers.loss import LabelledLoss

    model = load(make_tiny_model(tmp_path / "model", tie=tie))
    inputs = batch()
    expected = model(**inputs).loss
    expected.backward()
    theirs = gradients(model)
    model.zero_grad()
    labelled = LabelledLoss(model)
    for _ in range(2):  # the first batch also looks at what the model does to its logits
        model.zero_grad()
        total, count = labelled(model, inputs)
        assert int(count) == int((inputs["labels"][:, 1:] != -100).sum())
        (total / count).backward()
        assert float(total / count) == pytest.approx(float(expected), abs=1e-5)
        assert_same_gradients(theirs, gradients(model))
    labelled.close()
    assert model(input_ids=inputs["input_ids"]).logits.shape == (3, 17, model.config.vocab_size)


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_in_bfloat16_too(tmp_path: Path, weights: str) -> None:
    import torch

    from tuiwb.workers.loss import LabelledLoss

    model = load(make_tiny_model(tmp_path / "model"), dtype=getattr(torch, weights))
    inputs = batch()
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(**inputs).loss
    expected.backward()
    theirs = gradients(model)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        total, count = LabelledLoss(model)(model, inputs)
    (total / count).backward()
    assert float(total / count) == pytest.approx(float(expected), rel=2e-3)
    for name, gradient in gradients(model).items():
        assert gradient.dtype == theirs[name].dtype
        error = (gradient - theirs[name]).float().norm() / theirs[name].float().norm()
        assert error < 0.03, name


def test_where_autocast_ends_with_the_model(tmp_path: Path) -> None:
    """As accelerate has it: the model computes in bfloat16, its outputs are float32, and around the loss there is no
    autocast. The logits are not made whole there either, and the head's product is one in bfloat16."""
    import torch
    from accelerate.utils import convert_outputs_to_fp32

    from tuiwb.workers.loss import LabelledLoss

    model = load(make_tiny_model(tmp_path / "model"))
    inputs = batch()
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(**inputs).loss
    labelled = LabelledLoss(model)
    model.forward = convert_outputs_to_fp32(torch.autocast("cpu", torch.bfloat16)(model.forward))
    found = labelled._states(model, inputs)
    assert found.logits is None
    assert (found.hidden.dtype, found.kind) == (torch.float32, torch.bfloat16)
    total, count = labelled(model, inputs)
    assert float(total / count) == pytest.approx(float(expected), rel=2e-3)


def test_a_model_that_changes_its_logits_is_noticed(tmp_path: Path) -> None:
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from tuiwb.workers.loss import LabelledLoss

    torch.manual_seed(1)
    config = Gemma2Config(
        vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5, attn_implementation="eager",
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).train()
    inputs = batch()
    expected = model(**inputs).loss
    expected.backward()
    theirs = gradients(model)
    model.zero_grad()
    total, count = LabelledLoss(model)(model, inputs)
    (total / count).backward()
    assert float(total / count) == pytest.approx(float(expected), abs=1e-5)
    assert_same_gradients(theirs, gradients(model))


def test_an_adapter_on_the_output_layer_is_trained(tiny_model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from tuiwb.workers.loss import LabelledLoss

    model = get_peft_model(load(tiny_model), LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    inputs = batch()
    expected = model(**inputs).loss
    total, count = LabelledLoss(model)(model, inputs)
    (total / count).backward()
    assert float(total / count) == pytest.approx(float(expected), abs=1e-5)
    assert any("lm_head" in name for name in gradients(model))


def test_an_output_layer_trained_whole_beside_the_adapter_is_a_plain_matrix(tiny_model: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from tuiwb.workers.loss import LabelledLoss

    model = get_peft_model(load(tiny_model), LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    inputs = batch()
    expected = model(**inputs).loss
    expected.backward()
    theirs = gradients(model)
    model.zero_grad()
    labelled = LabelledLoss(model)
    total, count = labelled(model, inputs)
    (total / count).backward()
    assert labelled._states._plain
    assert float(total / count) == pytest.approx(float(expected), abs=1e-5)
    assert_same_gradients(theirs, gradients(model))


def test_fused_lora_layers_compute_the_same(tiny_model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from tuiwb.workers.lora import fuse_lora

    model = get_peft_model(load(tiny_model), LoraConfig(r=4, lora_alpha=12, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    inputs = batch()
    before = model(**inputs)
    before.loss.backward()
    theirs = gradients(model)
    model.zero_grad()
    assert fuse_lora(model) == 14
    after = model(**inputs)
    after.loss.backward()
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
    assert_same_gradients(theirs, gradients(model))
    with model.disable_adapter():
        base = model(**inputs).logits
    assert not torch.allclose(base, after.logits, atol=1e-3)
    torch.testing.assert_close(base, load(tiny_model)(**inputs).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_is_not_plain_is_left_to_peft(tiny_model: Path, settings: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    from tuiwb.workers.lora import fuse_lora

    assert fuse_lora(get_peft_model(load(tiny_model), LoraConfig(target_modules="all-linear", **settings))) == 0


def test_batches_are_padded_by_length_though_pad_is_eos(tmp_path: Path, tiny_model: Path) -> None:
    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings, prepare
    from tuiwb.workers.batches import Collator, evaluation_batches

    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "Q", "completion": "A" * (3 + number)} for number in range(5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = models.load_tokenizer(tiny_model)
    prepared = prepare([file], tokenizer, None, PrepareSettings())
    collate = Collator(prepared, 2)
    made = collate([{"row": 0}, {"row": 4}])
    lengths = prepared.lengths()[[0, 4]].tolist()
    assert made["attention_mask"].sum(1).tolist() == lengths
    assert int(made["tokens"]) == sum(lengths)
    # The eos of the short row is trained although the padding after it is the same token.
    assert made["labels"][0, lengths[0] - 1] == 2
    assert (made["labels"][0, lengths[0] :] == -100).all()
    assert (made["input_ids"][0, lengths[0] :] == 2).all()
    batches = evaluation_batches(prepared, np.arange(5), 2, 0, 1)
    assert sorted(item["row"] for batch, _ in batches for item in batch) == [0, 1, 2, 3, 4]
    shared = [evaluation_batches(prepared, np.arange(5), 2, rank, 2) for rank in (0, 1)]
    assert sorted(item["row"] for batches in shared for batch, _ in batches for item in batch) == [0, 1, 2, 3, 4]


def test_freezing_leaves_the_last_layers(tiny_model: Path) -> None:
    from tuiwb.base.errors import InputFault
    from tuiwb.recipe import Recipe
    from tuiwb.workers.model import count_parameters, make_trainable

    model = make_trainable(load(tiny_model), Recipe(method="freeze", freeze_layers=1))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(name.startswith(("model.layers.1.", "model.norm", "lm_head")) for name in trained)
    assert count_parameters(model)[0] < count_parameters(model)[1]
    with pytest.raises(InputFault, match="from 0 to 1 can be frozen"):
        make_trainable(load(tiny_model), Recipe(method="freeze", freeze_layers=2))


def test_wrong_targets_are_a_sentence(tiny_model: Path) -> None:
    from tuiwb.base.errors import InputFault
    from tuiwb.recipe import Recipe
    from tuiwb.workers.model import make_trainable

    with pytest.raises(InputFault, match="no such adapter can be put on this model"):
        make_trainable(load(tiny_model), Recipe(method="lora", lora_target_modules=("nowhere",)))
    with pytest.raises(InputFault, match="is no adapter folder"):
        make_trainable(load(tiny_model), Recipe(adapter_name_or_path=str(tiny_model)))


def test_stop_ids_are_found_in_the_answers(tmp_path: Path, tiny_model: Path) -> None:
    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings, prepare
    from tuiwb.workers.checkpoint import stop_ids

    shutil.copytree(tiny_model, tmp_path / "base")
    config = json.loads((tmp_path / "base/tokenizer_config.json").read_text()) | {"eos_token": "<|endoftext|>"}
    (tmp_path / "base/tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = models.load_tokenizer(tmp_path / "base")
    file = tmp_path / "rows.jsonl"
    file.write_text(
        json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}) + "\n"
    )
    template = tokenizer.template()
    prepared = prepare([file], tokenizer, template, PrepareSettings())
    assert stop_ids(prepared, tokenizer, template) == [0, 2]  # the tokenizer's own, and the template's <|im_end|>


def test_rows_without_padding_keep_their_examples_apart(tmp_path: Path, tiny_model: Path) -> None:
    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings, prepare
    from tuiwb.workers.batches import Collator, FlatCollator
    from tuiwb.workers.loss import LabelledLoss

    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "Q" * number, "completion": f"A{number}" * (3 + number)} for number in range(1, 6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare([file], models.load_tokenizer(tiny_model), None, PrepareSettings())
    model = load(tiny_model)
    labelled = LabelledLoss(model)
    padded = Collator(prepared, 2)([{"row": row} for row in range(5)])
    packed = FlatCollator(prepared)([{"rows": [3, 0]}, {"row": 4}, {"rows": [1, 2]}])
    assert int(packed.pop("tokens")) == int(padded.pop("tokens")) == packed["input_ids"].shape[1]
    assert (packed["position_ids"] == 0).sum() == 5
    found = []
    for inputs in (padded, packed):
        model.zero_grad()
        total, count = labelled(model, inputs)
        total.backward()
        found.append((float(total.detach()), int(count), gradients(model)))
    assert found[1][:2] == (pytest.approx(found[0][0], rel=1e-5), found[0][1])
    for name, gradient in found[0][2].items():
        assert np.allclose(gradient, found[1][2][name], atol=1e-4), name


def test_examples_are_packed_into_few_rows(tmp_path: Path) -> None:
    from tuiwb.workers.batches import pack

    lengths = [7, 2, 5, 3, 9, 1, 4, 6, 10, 3]
    packs = pack(lengths, 10)
    assert sorted(place for places in packs for place in places) == list(range(10))
    sums = [sum(lengths[place] for place in places) for places in packs]
    assert max(sums) <= 10
    assert len(packs) == 5, "50 tokens fill five rows of ten"
