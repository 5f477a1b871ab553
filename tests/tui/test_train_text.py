"""What the Train screen says of memory."""

from tuiwb.resolve.whatif import Alternative
from tuiwb.tui.screens import train_text


def test_memory_is_told_in_the_unit_of_the_border() -> None:
    said = train_text.cost(Alternative("4", 949 << 20, 3 << 20, True)).plain
    assert "0.93 GiB at the peak, +3.0 MiB" in said
    assert "5.0 MiB at the peak" in train_text.cost(Alternative("4", 5 << 20, 0, None)).plain
