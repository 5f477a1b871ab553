"""What is on this machine: models under the models folder, and snapshots in the hub's cache.

The hub's cache is read as huggingface_hub lays it out (`models--ORG--NAME/{refs,snapshots,blobs}`), without importing
that package: opening a model must not take a third of a second.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from tuiwb.base import settings
from tuiwb.base.errors import EnvironmentFault, InputFault, TuiwbError, UsageFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.models.info import ModelInfo


def installed() -> list[ModelInfo]:
    """Every whole model on this machine, by name; what is unfinished or broken is not one."""
    found = []
    for path in own_paths():
        info = _try_open(path, path.name)
        if info is not None:
            found.append(info)
    for hub_id in cached_ids():
        info = open_cached(hub_id, ref=hub_id)
        if info is not None:
            found.append(info)
    return sorted(found, key=lambda info: info.name.casefold())


def own_path(name: str) -> Path | None:
    """The folder or file of a model under the models folder; None when there is none of this name."""
    return next((path for path in own_paths() if path.name == name), None)


def delete(name: str) -> int:
    """Delete a model that was brought here, from the models folder or from the hub's cache.

    Returns:
        the bytes that were freed.

    Raises:
        UsageFault: the name is a path; files of the user's own are not deleted from here.
        InputFault: there is no such model.
        EnvironmentFault: it could not be deleted.
    """
    path = own_path(name)
    if path is None:
        repository = cached_repository(name)
        if repository is None:
            if Path(name).expanduser().exists():
                raise UsageFault("is a path, not a model that was brought here; delete it yourself", file=name)
            raise InputFault(f"there is no model named {name!r} here; see `tuiwb models list`")
        path = repository
    freed = bytes_of(path)
    try:
        if path.is_dir() and not path.is_symlink():
            # Renamed first, so that what a kill leaves behind is not taken for a model.
            doomed = path.with_name(f".deleted-{path.name}")
            path.rename(doomed)
            shutil.rmtree(doomed)
        else:
            path.unlink()
    except OSError as error:
        raise EnvironmentFault(f"cannot be deleted ({reason_of(error)})", file=path) from error
    return freed


def bytes_of(path: Path) -> int:
    """What a file or folder takes on disk, links not followed."""
    if path.is_dir() and not path.is_symlink():
        return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir() or file.is_symlink())
    return path.lstat().st_size


# --- the hub's cache ------------------------------------------------------------------------------------------------


def hub_cache() -> Path:
    """Where huggingface_hub keeps its snapshots (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME)."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface" / "hub"


def cached_ids() -> Iterator[str]:
    """Hub ids that the cache has at least a part of."""
    try:
        names = sorted(path.name for path in hub_cache().iterdir() if path.name.startswith("models--"))
    except OSError:
        return
    for name in names:
        yield name.removeprefix("models--").replace("--", "/", 1)


def cached_repository(hub_id: str) -> Path | None:
    """The cache's folder of a repository, if it is there."""
    if "/" not in hub_id:
        return None
    folder = hub_cache() / f"models--{hub_id.replace('/', '--')}"
    return folder if folder.is_dir() else None


def cached_snapshot(hub_id: str, revision: str = "main") -> Path | None:
    """The cached snapshot that a branch points to; it may be incomplete."""
    repository = cached_repository(hub_id)
    if repository is None:
        return None
    try:
        commit = (repository / "refs" / revision).read_text().strip()
    except OSError:
        return None
    snapshot = repository / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def open_cached(hub_id: str, *, ref: str) -> ModelInfo | None:
    """A whole model in the hub's cache; None where weights or tokenizer are missing or broken."""
    snapshot = cached_snapshot(hub_id)
    info = None if snapshot is None else _try_open(snapshot, ref)
    if info is None or not (info.has_tokenizer or info.adapter):
        return None
    return replace(info, kind="hub", name=hub_id.rpartition("/")[2], hub_id=hub_id)


def own_paths() -> list[Path]:
    """Folders and GGUF files under the models folder."""
    root = settings.models_root()
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return []
    # A leading dot marks what is being brought or deleted.
    return [path for path in entries if not path.name.startswith(".") and (path.is_dir() or path.suffix == ".gguf")]


def open_path(path: Path, *, ref: str, config_only: bool = False, task: Task | None = None) -> ModelInfo:
    """A folder or a GGUF file; how each is read is loaded when one of its kind is met.

    Raises:
        InputFault, EnvironmentFault: as `open_folder` and `open_gguf`.
    """
    if path.is_dir():
        from tuiwb.models.folder import open_folder

        return open_folder(path, ref=ref, config_only=config_only, task=task)
    from tuiwb.models.gguf_model import open_gguf

    return open_gguf(path, ref=ref)


def _try_open(path: Path, ref: str) -> ModelInfo | None:
    try:
        return open_path(path, ref=ref)
    except TuiwbError:
        return None
