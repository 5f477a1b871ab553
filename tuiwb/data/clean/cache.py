"""What cleaning found, kept in the cache: the same rows and steps are judged once, whoever asks and how often."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, TuiwbError, reason_of
from tuiwb.base.settings import cache_root
from tuiwb.base.tasks import Task
from tuiwb.data.clean.compare import CompareStep
from tuiwb.data.clean.lists import plain
from tuiwb.data.clean.rules import Terms
from tuiwb.data.clean.run import Cleaned, Outcome, Removal, clean
from tuiwb.data.clean.steps import Step

if TYPE_CHECKING:
    from tuiwb.data.view import View

_VERSION = 2
"""Raised when the same steps would judge differently, so that nothing kept is used again."""

_KEPT = 64


def cleaned(view: "View", steps: Sequence[Step], task: Task | None = None) -> Cleaned:
    """What the steps make of the view, from the cache where it is there; errors as `run.clean`."""
    view.index(task)
    view.require_format()
    path = cache_root() / "cleaned" / f"{fingerprint(view, steps)}.json"
    known = _load(path, tuple(steps))
    if known is not None:
        return known
    found = clean(view, steps, task)
    _save(path, found)
    return found


def fingerprint(view: "View", steps: Sequence[Step]) -> str:
    """Changes with the rows, with the steps, and with the files that steps read."""
    files = {file: _digest(Path(file)) for step in steps for file in _files(step)}
    models = {name: _model(name) for step in steps if (name := getattr(step, "model", None))}
    how = [_VERSION, view.source_fingerprint, plain(steps), files, *([models] if models else [])]
    return hashlib.blake2b(json.dumps(how, sort_keys=True).encode(), digest_size=16).hexdigest()


def _model(name: str) -> str:
    """Changes with the model that a step names; what is wrong with it the step itself says."""
    from tuiwb import models
    from tuiwb.data.clean.embed import stamp

    try:
        path = models.open_model(name, config_only=True).path
        return "" if path is None else stamp(path if path.is_dir() else path.parent)
    except TuiwbError:
        return ""


def _files(step: Step) -> tuple[str, ...]:
    if isinstance(step, CompareStep):
        return step.against
    return (step.file,) if isinstance(step, Terms) else ()


def _digest(path: Path) -> str:
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return hashlib.blake2b("".join(map(_digest, files)).encode(), digest_size=16).hexdigest()
        with path.expanduser().open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except FileNotFoundError:
        return ""  # the step itself says so, or finds it elsewhere
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=path) from error


def _save(path: Path, found: Cleaned) -> None:
    """Keep it; a cache that cannot be written is no error."""
    document = {
        "rows": found.rows,
        "removals": [_row(removal) for removal in found.removals.values()],
        "outcomes": [
            {
                "looked": one.looked,
                "removed": one.removed,
                "changed": one.changed,
                "samples": [_row(removal) for removal in one.samples],
                "near": [_row(removal) for removal in one.near],
                "altered": one.altered,
            }
            for one in found.outcomes
        ],
    }
    try:
        paths.private_folder(path.parent)
        atomic.write_bytes(path, orjson.dumps(document))
        kept = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[_KEPT:]:
            old.unlink(missing_ok=True)
    except (OSError, TuiwbError):
        return


def _load(path: Path, steps: tuple[Step, ...]) -> Cleaned | None:
    try:
        document = orjson.loads(path.read_bytes())
        removals = {row[0]: Removal(*row) for row in document["removals"]}
        outcomes = tuple(
            Outcome(
                step,
                one["looked"],
                one["removed"],
                one["changed"],
                tuple(Removal(*row) for row in one["samples"]),
                tuple(Removal(*row) for row in one["near"]),
                tuple(one["altered"]),
            )
            for step, one in zip(steps, document["outcomes"], strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Cleaned(steps, document["rows"], removals, outcomes)


def _row(removal: Removal) -> list[Any]:
    return [removal.row, removal.step, removal.why, removal.twin, removal.file, removal.likeness]
