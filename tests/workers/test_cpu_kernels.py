"""The operations of our own on a CPU against those that they stand in for."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch


def relative(found: Any, wanted: Any) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


@pytest.mark.parametrize(("heads", "key_heads", "length"), [(4, 4, 2), (6, 2, 37), (4, 1, 256)])
def test_gradients_of_attention_are_those_of_float32(heads: int, key_heads: int, length: int) -> None:
    import torch

    from tuiwb.workers.attention import attention_forward

    torch.manual_seed(1)
    shapes = [(3, length, count, 16) for count in (heads, key_heads, key_heads)]
    wide = [torch.randn(shape).transpose(1, 2).requires_grad_() for shape in shapes]
    short = [tensor.detach().bfloat16().requires_grad_() for tensor in wide]
    module = torch.nn.Module()
    module.num_key_value_groups = heads // key_heads
    outer = torch.randn(3, length, heads, 16)
    expected = torch.nn.functional.scaled_dot_product_attention(*wide, is_causal=True, scale=0.3, enable_gqa=True)
    expected = expected.transpose(1, 2)
    query, key, value = short
    output, weights = attention_forward(module, query, key, value, None, scaling=0.3)
    assert weights is None
    assert output.grad_fn is not None
    assert relative(output, expected) < 0.02
    theirs = torch.autograd.grad(expected, wide, outer)
    for found, wanted in zip(torch.autograd.grad(output, short, outer.bfloat16()), theirs, strict=True):
        assert found.dtype == torch.bfloat16
        assert relative(found, wanted) < 0.02


@pytest.mark.parametrize("why", ["float32", "mask", "long", "decoding"])
def test_what_attention_is_not_made_for_goes_to_transformers(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tuiwb.workers import attention

    asked: list[dict[str, Any]] = []

    def theirs(*args: Any, **more: Any) -> tuple[Any, None]:
        asked.append(more)
        return args[1], None

    monkeypatch.setattr(attention, "sdpa_attention_forward", theirs)
    kind = torch.float32 if why == "float32" else torch.bfloat16
    length = attention.LONGEST + 1 if why == "long" else 4
    query = torch.randn(1, 2, 1 if why == "decoding" else length, 8, dtype=kind, requires_grad=True)
    other = torch.randn(1, 2, length, 8, dtype=kind)
    mask = torch.ones(1, 1, length, length, dtype=torch.bool) if why == "mask" else None
    attention.attention_forward(torch.nn.Module(), query, other, other, mask, scaling=0.5)
    assert asked == [{"scaling": 0.5, "is_causal": None}]


def test_norms_compute_the_same(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    from tuiwb.workers.norms import fuse_norms

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).requires_grad_(False)
    norms = [layer for layer in model.modules() if isinstance(layer, LlamaRMSNorm)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    hidden = torch.randn(2, 5, norms[0].weight.numel(), dtype=torch.bfloat16, requires_grad=True)
    outer = torch.randn_like(hidden)
    before = norms[0](hidden)
    (theirs,) = torch.autograd.grad(before, hidden, outer)
    assert fuse_norms(model) == len(norms) > 0
    after = norms[0](hidden)
    (ours,) = torch.autograd.grad(after, hidden, outer)
    assert relative(after, before) < 0.005
    assert relative(ours, theirs) < 0.01
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    fresh = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert fuse_norms(fresh) == 0  # their weights are trained


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    import torch
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    from tuiwb.workers.norms import fuse_norms

    norm = GemmaRMSNorm(8, eps=1e-6).requires_grad_(False)
    torch.nn.init.ones_(norm.weight)
    assert fuse_norms(torch.nn.Sequential(norm)) == 0


def test_lora_on_a_bfloat16_base_computes_the_same(tiny_model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tuiwb.workers.lora import fuse_lora
    from tuiwb.workers.model import adapters_to_float32

    torch.manual_seed(2)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=12, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapters_to_float32(model)
    ids = torch.randint(5, 50, (2, 12))

    def run() -> tuple[Any, dict[str, Any]]:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(input_ids=ids, labels=ids)
        outputs.loss.backward()
        grads = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
        return outputs.logits.detach(), grads

    before, theirs = run()
    assert fuse_lora(model) == 14
    after, ours = run()
    assert relative(after, before) < 0.02
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        assert gradient.dtype == torch.float32
        assert relative(gradient, theirs[name]) < 0.05, name
