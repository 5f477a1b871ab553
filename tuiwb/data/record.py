"""Which rows a run learned from and was measured on: written into its directory, so that they can be shown again.

A folder with `data.json` (the sources of each set, as the recipe names them, and a fingerprint of each) and for each
set `<name>.npy`, int64 `(examples, 2)`: the number of the source and of the row in it, in the order of an epoch.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.opening import open_view
from tuiwb.recipe import DatasetEntry

if TYPE_CHECKING:
    import numpy as np

    from tuiwb.data.rows import Row
    from tuiwb.data.view import View

    Rows = np.ndarray[Any, np.dtype[np.int64]]

FOLDER = "data"
TRAINING = "training"
_HEADER = "data.json"


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows of a run: `rows` `(examples, 2)`, number of the entry and of the row in it; `fingerprints`, one an entry."""

    name: str
    entries: tuple[DatasetEntry, ...]
    fingerprints: tuple[str, ...]
    rows: "Rows"


def write(part: Path, sets: Sequence[RowSet]) -> None:
    """Keep what a part of a run learns from.

    Raises:
        OSError: it cannot be written.
    """
    import numpy as np

    folder = part / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in sets:
        with atomic.replacing(folder / f"{each.name}.npy") as file:
            np.save(file, np.ascontiguousarray(each.rows, np.int64))
    document = [
        {"name": each.name, "entries": msgspec.to_builtins(each.entries), "fingerprints": each.fingerprints}
        for each in sets
    ]
    atomic.write_json(folder / _HEADER, {"sets": document}, indent=1)


def read(part: Path) -> tuple[RowSet, ...]:
    """What `write` kept.

    Raises:
        EnvironmentFault: it is not there, or damaged.
    """
    import numpy as np

    folder = part / FOLDER
    try:
        document = json.loads((folder / _HEADER).read_bytes())
        return tuple(
            RowSet(
                str(each["name"]),
                tuple(msgspec.convert(entry, DatasetEntry) for entry in each["entries"]),
                tuple(each["fingerprints"]),
                np.load(folder / f"{Path(each['name']).name}.npy", mmap_mode="r", allow_pickle=False),
            )
            for each in document["sets"]
        )
    except FileNotFoundError:
        raise EnvironmentFault(
            "the run has not prepared its data yet, or is of an older version", file=folder
        ) from None
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=folder) from error
    except (ValueError, KeyError, TypeError, EOFError, msgspec.ValidationError) as error:
        raise EnvironmentFault("the record of the rows is damaged", file=folder) from error


def opened(what: RowSet, source: int, task: Task | None = None) -> "View":
    """One of the sources of a run's rows, as the run saw it.

    Raises:
        InputFault: it is gone, or is not what it was.
    """
    entry = what.entries[source]
    view = open_view(entry, task=task or Task())
    if view.fingerprint != what.fingerprints[source]:
        view.close()
        raise InputFault("has changed since the run: these are not the rows that it saw", file=entry.path)
    return view


def rows_of(what: RowSet, task: Task | None = None) -> Iterator[tuple[DatasetEntry, "Row"]]:
    """The rows themselves, in the order of an epoch, as training saw them.

    Raises:
        InputFault: a source is gone, or is not what it was.
    """
    views: list[View] = []
    try:
        for source in range(len(what.entries)):
            views.append(opened(what, source, task))
        for source, number in what.rows.tolist():
            yield what.entries[source], views[source].as_changed(views[source].row(number))
    finally:
        for view in views:
            view.close()
