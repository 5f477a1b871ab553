"""Which checkpoints of a run may go, and removing them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuiwb import rundir
from tuiwb.base.errors import EnvironmentFault, UsageFault, reason_of
from tuiwb.rundir import RunDir
from tuiwb.runs import listing
from tuiwb.runs.views import CheckpointView

_BROKEN = "broken-checkpoint-*"


@dataclass(frozen=True, slots=True)
class Removable:
    """A checkpoint that may go: why, and how many bytes it gives back."""

    path: Path
    why: str
    bytes: int


def removable(run: RunDir, *, keep: int = 1) -> list[Removable]:
    """What `prune` would remove: all but the newest whole ones, what came out of the run, and the one with the best
    loss of the evaluation. Of a live run those that are not known to be whole stay too: one of them is being written.

    Args:
        keep: so many of the newest whole checkpoints of each part stay.

    Raises:
        UsageFault: `keep` is less than 1: a run without any could not go on.
    """
    if keep < 1:
        raise UsageFault("at least one checkpoint is kept, so that the run can go on")
    view = listing.view(run)
    found = []
    for part in run.parts():
        ours = [each for each in view.checkpoints if each.part == part.number]
        kept = {each.path for each in _kept(ours, keep)}
        result = (rundir.read_result(part) or {}).get("checkpoint")
        if result:
            kept.add(str(run.path / str(result)))
        found += [
            Removable(Path(each.path), "older" if each.valid else each.problem or "broken", each.bytes)
            for each in ours
            if each.path not in kept and (each.valid or not view.active)
        ]
        found += [
            Removable(path, "broken", rundir.folder_bytes(path))
            for path in sorted(part.path.glob(_BROKEN))
            if path.is_dir()
        ]
    return found


def prune(run: RunDir, found: Sequence[Removable]) -> int:
    """Remove them for good.

    Returns:
        the bytes that were given back.

    Raises:
        EnvironmentFault: one cannot be removed; those before it are gone.
    """
    freed = 0
    for each in found:
        try:
            # Renamed first: what is left of a removal that was cut short is never taken for a checkpoint.
            gone = each.path.rename(each.path.with_name(f".removed-{each.path.name}"))
            shutil.rmtree(gone)
        except OSError as error:
            raise EnvironmentFault(f"cannot be removed ({reason_of(error)})", file=each.path) from error
        freed += each.bytes
    if found:
        names = [each.path.name for each in found]
        rundir.append_event(run, "pruned", by="user", checkpoints=names, bytes=freed)
    return freed


def _kept(checkpoints: Sequence[CheckpointView], keep: int) -> list[CheckpointView]:
    whole = [each for each in checkpoints if each.valid]
    resumable = [each for each in whole if each.resumable]
    measured = [each for each in whole if each.eval_loss is not None]
    best = min(measured, key=lambda each: each.eval_loss or 0.0, default=None)
    return [*whole[-keep:], *resumable[-keep:], *([best] if best else [])]
