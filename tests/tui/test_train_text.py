"""What the Train screen says of memory, and before a launch."""

from pathlib import Path

from tuiwb import resolve
from tuiwb.recipe import Recipe
from tuiwb.resolve.whatif import Alternative
from tuiwb.tui.screens import train_text
from tuiwb.tui.screens.train_launch import Ready, sheet


def test_memory_is_told_in_the_unit_of_the_border() -> None:
    said = train_text.cost(Alternative("4", 949 << 20, 3 << 20, True)).plain
    assert "0.93 GiB at the peak, +3.0 MiB" in said
    assert "5.0 MiB at the peak" in train_text.cost(Alternative("4", 5 << 20, 0, None)).plain


def test_what_speaks_against_a_launch_comes_before_what_is_only_worth_knowing(tiny_model: Path) -> None:
    found = resolve.assess(Recipe(model_name_or_path=str(tiny_model), method="full", dtype="bfloat16"), gpus=[])
    said = train_text.findings(found).plain
    assert said.index("no dataset is named") < said.index("disk ")
    assert said.index("memory ") < said.index("no dataset is named")
    warned = [check for check in found.checks if check.level == "warning"]
    assert warned
    shown = sheet(Ready(found, None, "another run is at work"))
    assert "! another run is at work" in shown
    assert f"{warned[0].message} → {warned[0].fix}" in shown
