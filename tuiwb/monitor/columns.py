"""Metrics as columns in a file of the cache, so that a run of a million points is opened again without parsing it.

The file may be lost at any time: metrics.jsonl has everything. It holds a line of JSON, then the arrays one after the
other as they are in memory (doubles of this machine's byte order). It counts only while metrics.jsonl still has, before
the offset up to which it was read, the bytes that it had then.
"""

import contextlib
import json
import os
import sys
from array import array
from pathlib import Path
from typing import Any

from tuiwb.base import paths
from tuiwb.monitor.series import AXES, PartMetrics, Series
from tuiwb.rundir import PartDir

_VERSION = 1
_GUARD = 256


def save(metrics: PartMetrics, offset: int, folder: Path) -> bool:
    """Write the columns of a part.

    Args:
        offset: bytes of its metrics.jsonl that they were read from.
        folder: of such files.

    Returns:
        False if they could not be written; nobody needs them.
    """
    head = {
        "version": _VERSION,
        "byteorder": sys.byteorder,
        "offset": offset,
        "guard": _guard(metrics.part.metrics_file, offset).hex(),
        "start": metrics.start,
        "step": metrics.step,
        "tokens": metrics.tokens,
        "last": metrics.last,
        "series": [{"name": each.name, "count": len(each.values), "odd": each.odd} for each in metrics.series.values()],
    }
    path = _path(metrics.part, folder)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        paths.private_folder(folder)
        with temporary.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            for each in metrics.series.values():
                for column in (*(each.xs[axis] for axis in AXES), each.values):
                    column.tofile(file)
        temporary.replace(path)
    except (OSError, ValueError, TypeError):
        with contextlib.suppress(OSError):
            temporary.unlink()
        return False
    return True


def load(part: PartDir, folder: Path) -> tuple[PartMetrics, int] | None:
    """The columns of a part and the offset up to which they reach; None where there are none that count."""
    try:
        with _path(part, folder).open("rb") as file:
            head: dict[str, Any] = json.loads(file.readline())
            if head["version"] != _VERSION or head["byteorder"] != sys.byteorder:
                return None
            offset = int(head["offset"])
            if _guard(part.metrics_file, offset).hex() != head["guard"]:
                return None
            metrics = PartMetrics(
                part, last=head["last"], start=head["start"], step=head["step"], tokens=head["tokens"]
            )
            for told in head["series"]:
                series = Series(str(told["name"]), odd=[(step, value) for step, value in told["odd"]], version=1)
                columns = [array("d") for _ in range(len(AXES) + 1)]
                for column in columns:
                    column.fromfile(file, int(told["count"]))
                series.xs = dict(zip(AXES, columns, strict=False))
                series.values = columns[-1]
                metrics.series[series.name] = series
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    return metrics, offset


def _path(part: PartDir, folder: Path) -> Path:
    run = part.path.parent.parent.name
    return folder / f"{run}-{part.path.name}.columns"


def _guard(path: Path, offset: int) -> bytes:
    """The bytes just before the offset; other than before, or fewer, when the file is another."""
    if offset < _GUARD:
        raise ValueError("too little to be worth a cache")
    with path.open("rb") as file:
        file.seek(offset - _GUARD)
        return file.read(_GUARD)
