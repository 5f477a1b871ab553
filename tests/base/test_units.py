"""Quantities as people read them."""

import pytest

from tuiwb.base import units


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (12_345, "12.3K"),
        (134_515_008, "135M"),
        (999_885_952, "1B"),
        (1_235_814_400, "1.24B"),
        (70_553_706_496, "70.6B"),
        (671_026_404_352, "671B"),
    ],
)
def test_parameter_counts(number: int, text: str) -> None:
    assert units.parameters(number) == text
