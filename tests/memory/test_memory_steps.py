"""Peaks of real steps of this program's trainers against the plan."""

from pathlib import Path

import pytest
from tracked_steps import Case, make_model, planned, track

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

HALF, WIDE = ("dtype", "bfloat16"), ("bf16", True)  # weights in 16 bits; float32 weights, products in 16 bits
FOUR_BITS = (("load_in_4bit", True), ("lora_dropout", 0.1))
LIGHT = (
    Case("sft", "full", True, 96),
    Case("dpo", "lora", False, 96),
    Case("sft", "lora", False, 256, keys=(WIDE,)),
    Case("sft", "full", False, 96, keys=(HALF,)),
)
REST = (
    *(Case(stage, "full", False, 96) for stage in ("pretrain", "reward", "kto", "orpo")),
    Case("reward", "lora", True, 96),
    Case("ppo", "lora", False, 96),
    Case("sft", "lora", True, 96, "gpu", (("load_in_8bit", True),)),
    Case("sft", "lora", False, 256, keys=(("gradient_accumulation_steps", 2),)),
    Case("sft", "lora", True, 256, keys=(("lora_modules_to_save", ("embed_tokens", "lm_head")),)),
    *(Case("sft", "full", True, 256, keys=(("optim", "adafactor"), kind)) for kind in (HALF, WIDE)),
    Case("sft", "qlora", False, 256, keys=(FOUR_BITS[0], WIDE)),
    *(Case("sft", "qlora", True, 256, keys=(*FOUR_BITS, kind)) for kind in (HALF, WIDE)),
)


@pytest.mark.parametrize(
    "case", [*LIGHT, *(pytest.param(case, marks=pytest.mark.slow) for case in REST)], ids=lambda case: case.name
)
def test_the_peak_of_a_real_step_is_within_three_per_cent(case: Case, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    seen = track(case, model, tmp_path)
    assert planned(case, seen.length, model).peak_bytes == pytest.approx(seen.peak, rel=0.03)
