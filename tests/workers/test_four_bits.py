"""A 4-bit base on the CPU stays trainable after it was evaluated."""

from pathlib import Path

import pytest
from tiny import make_tiny_model

from tuiwb.recipe import Recipe

pytestmark = pytest.mark.torch


def test_gradients_flow_through_it_after_an_evaluation(tmp_path: Path) -> None:
    import torch

    from tuiwb.workers.model import load_base, make_trainable

    torch.manual_seed(3)
    # Wide enough for the packing that bitsandbytes does on CPUs with units for bfloat16.
    folder = make_tiny_model(tmp_path / "model", hidden=128)
    recipe = Recipe(
        stage="sft",
        method="qlora",
        load_in_4bit=True,
        model_name_or_path=str(folder),
        lora_r=4,
        lora_alpha=8,
        lora_target_modules="all-linear",
        dtype="float32",
    )
    model = make_trainable(load_base(recipe, device=torch.device("cpu")), recipe)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(3, 250, (2, 9))

    def gradients() -> tuple[float, dict[str, torch.Tensor]]:
        model.train()
        model.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        return float(loss), found

    loss, before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    again, after = gradients()
    assert again == pytest.approx(loss, abs=1e-6)
    first = next(name for name in before if "layers.0." in name and "q_proj.lora_B" in name)
    assert float(before[first].abs().sum()) > 0
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, msg=name)


@pytest.mark.parametrize("half", [False, True])
def test_adapters_are_in_float32_whatever_it_computes_in(tmp_path: Path, half: bool) -> None:
    import torch

    from tuiwb.workers.model import adapters_to_float32, load_base, make_trainable

    recipe = Recipe(
        method="qlora", load_in_4bit=True, model_name_or_path=str(make_tiny_model(tmp_path / "model", hidden=64)),
        lora_r=4, lora_alpha=8, lora_target_modules="all-linear", dtype="bfloat16" if half else "float32", bf16=half,
    )  # fmt: skip
    model = make_trainable(load_base(recipe, device=torch.device("cpu")), recipe)
    adapters_to_float32(model)
    computing = {layer.compute_dtype for layer in model.modules() if hasattr(layer, "compute_dtype")}
    assert computing == {torch.bfloat16 if half else torch.float32}
    kinds = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    assert kinds == {torch.float32}


@pytest.mark.parametrize("spare", [0.0, 0.05])
@pytest.mark.parametrize("half", [False, True])
def test_fused_layers_on_it_compute_the_same(
    tmp_path: Path, half: bool, spare: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tuiwb.workers import lora
    from tuiwb.workers.model import load_base, make_trainable

    monkeypatch.setattr(lora, "KEPT_SHARE", spare)
    kind = "bfloat16" if half else "float32"
    recipe = Recipe(
        method="qlora", load_in_4bit=True, model_name_or_path=str(make_tiny_model(tmp_path / "model", hidden=128)),
        lora_r=4, lora_alpha=8, lora_target_modules="all-linear", dtype=kind, bf16=half,
    )  # fmt: skip
    torch.manual_seed(3)
    model = make_trainable(load_base(recipe, device=torch.device("cpu")), recipe).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(3, 250, (2, 9))

    def step() -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        return float(loss), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    loss, theirs = step()
    assert lora.fuse_lora(model) == 14, "seven matrices in each of two layers"
    assert (lora.kept_bytes(model) > 0) == (spare > 0)
    again, ours = step()
    assert again == pytest.approx(loss, rel=5e-3 if half else 1e-6)
    for name, gradient in theirs.items():
        assert ours[name].dtype == gradient.dtype == torch.float32
        error = (ours[name] - gradient).norm() / gradient.norm()
        assert error < (0.05 if half else 1e-5), name
    assert not any("kept" in name for name in model.state_dict())
