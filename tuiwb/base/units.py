"""How quantities are written: sizes in GiB with the unit, counts with separators, times with theirs; and the values of
a recipe as YAML has them."""

from collections.abc import Mapping
from typing import Any

GIB = 1 << 30
MIB = 1 << 20


def size(count: float) -> str:
    """Bytes as people read them, binary units: `512 B`, `3.4 MiB`, `15.3 GiB`, `2.1 TiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1000:
            return f"{count:.1f} {unit}" if count < 100 else f"{count:.0f} {unit}"
    return f"{count / 1024:.1f} TiB"


def gib(count: float) -> str:
    """Bytes always in GiB, for columns that are compared: `0.25 GiB`, `15.3 GiB`."""
    value = count / GIB
    return f"{value:.2f} GiB" if abs(value) < 10 else f"{value:.1f} GiB"


def count(number: int) -> str:
    """`49,152`."""
    return f"{number:,}"


def unit_of(value: str, unit: str) -> str:
    """A unit as it goes with a number: 1 batch, 2 batches."""
    if value not in ("1", "1.0"):
        return unit
    return {"batches": "batch"}.get(unit, unit.removesuffix("s"))


def written(value: Any) -> str:
    """A value of a recipe or a setting as one types it: `true`, `1e-5`, `q_proj,v_proj`; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        mantissa, e, exponent = f"{value:g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if e else mantissa
    if isinstance(value, list | tuple):
        return ",".join(written(item) for item in value) if value else "[]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    return str(value)


def parameters(number: int) -> str:
    """A parameter count as model names write it: `135M`, `1.2B`, `70.6B`."""
    for unit, power in (("T", 12), ("B", 9), ("M", 6), ("K", 3)):
        # What would round up to 1000 of a unit is written as 1 of the next: 1B, not 1000M.
        if number >= 0.9995 * 10**power:
            value = number / 10**power
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"
    return str(number)


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"
